"""`.ci/run` installs system packages where it may: in CI, and where somebody at a terminal says so."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parents[3] / ".ci" / "packages"

pytestmark = pytest.mark.skipif(not PACKAGES.exists(), reason="the source distribution has no .ci")


@pytest.fixture
def machine(tmp_path):
    """A machine that has bash, an `apt-get` that writes down what it is asked for, and nothing else."""
    log = tmp_path / "apt.log"
    log.touch()
    for name, does in (("apt-get", f'echo "$@" >>{log}'), ("sudo", '[ "$1" = -n ] && shift; exec "$@"')):
        (tmp_path / name).write_text(f"#!{shutil.which('sh')}\n{does}\n")
        (tmp_path / name).chmod(0o755)

    def run(*, ci: str | None = None, stdin: int = subprocess.DEVNULL) -> tuple[str, list[str]]:
        """What it says, and what `apt-get` was told to install."""
        done = subprocess.run(
            [shutil.which("bash") or "bash", PACKAGES],
            env={"PATH": str(tmp_path)} | ({"CI": ci} if ci else {}),
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        installed = [line.split()[-1] for line in log.read_text().splitlines() if "install" in line]
        return done.stdout + done.stderr, installed

    return run


@pytest.fixture
def terminal():
    """The two ends of a terminal: what somebody types, and what the program reads."""
    ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


def test_ci_installs_what_is_missing(machine):
    said, installed = machine(ci="true")
    assert {"strace", "chromium"} <= set(installed)
    assert "strace isn't here; tests left out without it: processes killed" in said


def test_where_nobody_can_be_asked_nothing_is_installed_and_what_is_missing_is_said(machine):
    said, installed = machine()
    assert installed == []
    assert "strace isn't here; tests left out without it" in said
    assert "chromium isn't here; tests left out without it" in said
    assert "Nothing is installed" in said


@pytest.mark.parametrize(("answer", "yes"), [(b"y\n", True), (b"n\n", False), (b"\n", False)])
def test_somebody_at_a_terminal_is_asked(machine, terminal, answer, yes):
    typed, read = terminal
    os.write(typed, answer)
    said, installed = machine(stdin=read)
    assert "with apt-get? [y/N]" in said
    assert bool(installed) == yes


def test_what_is_here_is_not_installed(machine, tmp_path):
    (tmp_path / "strace").write_text("#!/bin/sh\n")
    (tmp_path / "strace").chmod(0o755)
    said, installed = machine(ci="true")
    assert "strace" not in installed
    assert "strace" not in said
