"""A reader of the docs: follows a page in a terminal, and expects to see what it says."""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from support.pages import Block, read

from tuneway import Client

SECONDS = 300
KEPT = ("OPENAI_", "TUNEWAY_", "AIRFLOW_", "PREFECT_", "DAGSTER_")
_SHELL = 'set -euo pipefail; source "$1"; env -0 > "$2"'


class Reader:
    """Follows one page.

    Args:
        folder: Where its terminal is.
        port: What stands for 8765, the local service's own port, which may be taken here.
        export: Sets an environment variable, as long as the page lasts.
    """

    def __init__(self, folder: Path, port: int, export: Callable[[str, str], None]) -> None:
        self.folder = folder
        self.port = port
        self.export = export
        self.session: dict[str, object] = {"__name__": "__main__"}
        self.printed = ""
        self._service: subprocess.Popen[str] | None = None

    def follow(self, block: Block) -> None:
        """Do what a block says; raises when it doesn't work, or shows something else."""
        code = block.code.replace("8765", str(self.port))
        if block.title is not None:
            path = self.folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code, encoding="utf-8")
        elif block.language == "text":
            self._expect(block, code)
        elif block.language == "bash":
            self.printed = self._terminal(block, code)
        elif block.engine is not None:
            program = self.folder / f"block_{block.line}.py"
            program.write_text(code, encoding="utf-8")
            # an engine's log goes to standard error, between the lines that the page is about
            self.printed = self._run(block, [sys.executable, "-W", "ignore", program.name], stderr=subprocess.PIPE)
        elif block.language == "python":
            self.printed = self._python(block, code)
        else:
            read(block)

    def leave(self) -> None:
        """Close the terminal: what it left running or open ends, also after a page that doesn't work."""
        for value in self.session.values():
            if isinstance(value, Client):
                value.close()
        self._end_service()

    def _python(self, block: Block, code: str) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * block.line + code, block.page, "exec"), self.session)
        return printed.getvalue()

    def _terminal(self, block: Block, code: str) -> str:
        """Run the lines of a block; a service that one of them starts stays, and the next go on beside it."""
        printed, lines = "", ""
        for line in code.splitlines(keepends=True):
            if line.startswith("tuneway serve"):
                printed += self._shell(block, lines)
                lines = ""
                printed += self._serve(line)
            else:
                lines += line
        return printed + self._shell(block, lines)

    def _shell(self, block: Block, lines: str) -> str:
        if not lines.strip():
            return ""
        script, kept = self.folder / ".block.sh", self.folder / ".environment"
        script.write_text(lines, encoding="utf-8")
        printed = self._run(block, ["bash", "-c", _SHELL, "-", str(script), str(kept)])
        for pair in kept.read_text().split("\0"):
            name, equals, value = pair.partition("=")
            if equals and name.startswith(KEPT):
                self.export(name, value)
        return printed

    def _serve(self, line: str) -> str:
        """A service stays, in a terminal of its own, until the page ends or starts another; go on when it is ready."""
        self._end_service()
        command = line.partition("#")[0].strip()
        if "--port" not in command:
            command += f" --port {self.port}"
        service = self._service = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=self.folder, env=self._environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert service.stdout is not None
        address = service.stdout.readline()
        assert address.startswith("http://"), f"this didn't start: {line}"
        return address

    def _end_service(self) -> None:
        service, self._service = self._service, None
        if service is not None and service.stdout is not None:
            service.terminate()
            service.wait(timeout=30)
            service.stdout.close()

    def _run(self, block: Block, command: list[str], stderr: int = subprocess.STDOUT) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment(), text=True, timeout=SECONDS, check=False,
            stdout=subprocess.PIPE, stderr=stderr,
        )  # fmt: skip
        assert done.returncode == 0, f"{block.place} ended with {done.returncode}:\n{done.stdout}{done.stderr or ''}"
        return done.stdout

    def _environment(self) -> dict[str, str]:
        """This one, where `python` and `tuneway` are those that run these tests."""
        return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def _expect(self, block: Block, wanted: str) -> None:
        options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        same = doctest.OutputChecker().check_output(wanted, self.printed, options)
        assert same, f"{block.place} shows what isn't printed.\nShown:\n{wanted}\nPrinted:\n{self.printed}"
