"""A service whose jobs show too little of their mark to say who asked for them: Together, in memory, over a socket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.datasets import chat, say, write
from support.fault_server import FaultServer, answer, drop_after, honest
from support.vendors.storage import storage_of
from support.vendors.together import MODEL, FakeTogether

JOBS = "/fine-tunes"
TRAINING: dict[str, Any] = {"model": MODEL, "training_file": "file-1"}
"""What to train: on a file that the service has already."""

SERVICE: dict[str, Any] = {"dialect": "together", "settle": 0.2}
"""The arguments of a client, but for the address."""


@contextmanager
def serving() -> Iterator[FaultServer]:
    """The service, whose jobs never end."""
    service = FakeTogether(looks_until_cancelled=0)
    service.add_file(id="file-1")
    with FaultServer(service) as server, storage_of(service):
        yield server


def lose_the_create(server: FaultServer) -> None:
    """The next create is taken in, its reply is lost, and the list refuses to say what came of it, once."""
    server.fault(drop_after(), "POST", JOBS)
    server.fault(honest(), "GET", JOBS)
    server.fault(answer({"error": {"message": "not you"}}, 401), "GET", JOBS)


def rows_for_together(path: Path) -> Path:
    """Rows with the keys that it takes, and no other."""
    return write(path, [chat(say("user", f"{number}?"), say("assistant", "!")) for number in range(12)])


def statuses(server: FaultServer) -> list[str]:
    """How each job is; one that is asked to stop counts as cancelled."""
    return [job["status"].replace("cancel_requested", "cancelled") for job in server.service.jobs]
