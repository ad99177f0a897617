"""A real PostgreSQL of a test's own: data in a temporary folder, on a free loopback port, without a password.

Needs Debian's `postgresql` package, or `initdb` on the path; the tests skip where neither is.
"""

from __future__ import annotations

import importlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from support.service import until
from support.stack import free_port

READY_SECONDS = 60.0


def programs() -> Path | None:
    """Where PostgreSQL's programs are, the newest of them; None when there are none."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    return installed[-1].parent if installed else None


def _somebody() -> dict[str, Any]:
    """Who runs it: PostgreSQL refuses to be run by root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    person = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": person.pw_uid, "group": person.pw_gid, "extra_groups": []}


@contextmanager
def running_postgres(programs: Path) -> Iterator[str]:
    """Run it; gives its address (host, port and database, as in a URL). Nothing of it is left when the block ends."""
    home = Path(tempfile.mkdtemp(prefix="tuneway-postgres-"))
    somebody = _somebody()
    if somebody:
        os.chown(home, somebody["user"], somebody["group"])
    port = free_port()
    make: list[Path | str] = [programs / "initdb", "--pgdata", home / "data", "--username", "test", "--no-sync"]
    serve: list[Path | str] = [programs / "postgres", "-D", home / "data", "-k", home, "-h", "127.0.0.1"]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(home)}
    where: dict[str, Any] = {"cwd": home, "env": environment, **somebody}
    try:
        subprocess.run([*make, "--auth", "trust", "--encoding", "UTF8"], check=True, capture_output=True, **where)
        with (home / "log").open("ab") as log:
            process = subprocess.Popen([*serve, "-p", str(port), "-c", "fsync=off"], stdout=log, stderr=log, **where)
        try:
            _until_it_answers(process, port, home / "log")
            yield f"test@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGINT)  # at once, whoever is connected
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)
            process.kill()
            process.wait()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def new_database(place: str, name: str) -> str:
    """Make an empty database; gives its address. Needs the driver psycopg."""
    psycopg = importlib.import_module("psycopg")
    with psycopg.connect(f"postgresql://{place}", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{place.rsplit('/', 1)[0]}/{name}"


def _until_it_answers(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    def answers() -> bool:
        assert process.poll() is None, f"PostgreSQL didn't start:\n{log.read_text()}"
        if "ready to accept connections" in log.read_text():
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
                return True
        return False

    until(answers, seconds=READY_SECONDS, every=0.1, told=log.read_text)
