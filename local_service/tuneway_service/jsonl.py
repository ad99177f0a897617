"""Whether a file is JSONL. Another process checks a large file, from when it grows large and while it is written.

So the service answers other requests meanwhile, and an upload doesn't wait at its end for the whole file to be read.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic_core import SchemaValidator, ValidationError, core_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

SMALL = 4 * 2**20
# ten images of 10 MB, in base64
LINE_LIMIT = 160 * 2**20
BLOCK = 1 << 18
# an upload over a slow line takes hours: only so many at once have a process that waits for what comes next
FOLLOWERS = threading.BoundedSemaphore(os.cpu_count() or 1)

# it parses an object without making Python's objects of it
OBJECT = SchemaValidator(core_schema.typed_dict_schema({}, extra_behavior="ignore"))


class RowCheck:
    """The check of one file. `grew` and `problem` block, so they are for threads.

    Args:
        path: The file. It needn't exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process: subprocess.Popen[bytes] | None = None
        self._tried = self._follows = False

    def grew(self, size: int) -> None:
        """The file has this size now, and what was written of it won't change."""
        if not self._tried and size > SMALL:
            self._tried = True
            self._follows = FOLLOWERS.acquire(blocking=False)
            if self._follows:
                self._process = self._start()
        if self._process is not None and self._process.stdin is not None:
            with suppress(BrokenPipeError):  # it has found a line that is wrong
                self._process.stdin.write(b".")

    def problem(self) -> str | None:
        """What is wrong with the file, which is whole now, with the line; None if nothing is."""
        if self._process is None:
            if self.path.stat().st_size <= SMALL:
                with self.path.open("rb") as file:
                    return problem_in(file)
            self._process = self._start()
        answer, _ = self._process.communicate()
        if self._process.returncode:
            raise RuntimeError(f"the process that checks the rows ended with status {self._process.returncode}")
        found = json.loads(answer)
        assert found is None or isinstance(found, str)
        return found

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tuneway_service.jsonl", str(self.path)]
        return subprocess.Popen(  # noqa: S603 - our own program
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def close(self) -> None:
        """End the process, if it still runs."""
        if self._process is not None:
            self._process.kill()
            with self._process:
                pass
            self._process = None
        if self._follows:
            self._follows = False
            FOLLOWERS.release()


def problem_in(file: BinaryIO, more: Callable[[], bool] = lambda: False) -> str | None:
    """What is wrong with the rows of a file that may still grow: `more` waits, and says whether it did."""
    number = 0
    for lines in _lines(file, more):
        wrong = _first_wrong(lines)
        if wrong is not None:
            start = lines[wrong][:40].decode(errors="replace")
            return (
                "Expected file to have JSONL format, where every line is a valid JSON dictionary."
                f' Line {number + wrong + 1} is not a dictionary (HINT: line starts with: "{start}...").'
            )
        number += len(lines)
    return None if number else "The file is empty: expected JSONL, one JSON dictionary a line."


def _lines(file: BinaryIO, more: Callable[[], bool]) -> Iterator[list[bytes]]:
    """The lines of a file, many at a time. One that is too long is cut."""
    started: list[bytes] = []
    growing = True
    while True:
        block = file.read(BLOCK)
        if not block:
            if not growing:
                break
            growing = more()
            continue
        head, newline, tail = block.rpartition(b"\n")
        if newline:
            yield b"".join((*started, head)).split(b"\n")
            started = []
        started.append(tail)
        if sum(map(len, started)) > LINE_LIMIT:
            yield [b"".join(started)]
            started = []
    if any(started):
        yield [b"".join(started)]


def _first_wrong(lines: list[bytes]) -> int | None:
    """The index of the first line that is neither blank nor a JSON object."""
    parse = OBJECT.validate_json
    for index, line in enumerate(lines):
        try:
            parse(line)
        except ValidationError:
            # Python's own parser decides: it takes a few lines more, such as those with half a surrogate pair
            if line.strip() and not _is_object(line):
                return index
    return None


def _is_object(line: bytes) -> bool:
    try:
        return len(line) <= LINE_LIMIT and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def main(path: str) -> None:
    """The other process: its input says that the file has grown, and ends when the file is whole."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the service ends it if necessary
    with Path(path).open("rb", buffering=0) as file:
        print(json.dumps(problem_in(file, lambda: bool(os.read(0, 1 << 16)))))  # noqa: T201 - its reply


if __name__ == "__main__":
    main(sys.argv[1])
