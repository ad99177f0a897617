"""One job, wherever the line is cut: every reply of a submission, after every byte, headers included."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.fault_server import Fault, FaultServer, Line, cut, reset_after
from support.operations import SPEC

from tuneway import Job
from tuneway.errors import TunewayError
from tuneway.flows import Retry

QUICK = {"settle": 0, "retry": Retry(first=0.0001), "timeout": 5.0}

LOOKS_AT_FILE = ("GET", "/files/file-1")
LOOKS_FOR_JOB = ("GET", "/fine_tuning/jobs")
CREATES = ("POST", "/fine_tuning/jobs")


def start_over(server: FaultServer) -> None:
    server.forget()
    server.service.jobs.clear()
    server.service.files.clear()
    server.service.add_file()


def attempt(step: Callable[[], Job]) -> Job | None:
    """What an engine does: a step that fails is tried again if that can help."""
    try:
        return step()
    except TunewayError as error:
        return None if error.retryable else pytest.fail(f"not to be tried again: {error!r}")


def length_of_reply(server: FaultServer, connect, method: str, path: str) -> int:
    """How long the honest reply to this step is, measured on the wire."""
    start_over(server)
    lengths: list[int] = []

    async def measured(line: Line) -> None:
        reply = line.act()
        lengths.append(len(reply))
        await line.write(reply)

    server.fault(Fault(measured), method, path)
    with connect(base_url=server.base_url, **QUICK) as client:
        client.submit(SPEC, key="nightly")
    return lengths[0]


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
def test_a_create_cut_after_any_byte_leaves_one_job(every, connect, server):
    length = length_of_reply(server, connect, *CREATES)
    assert length > 300
    with connect(base_url=server.base_url, **QUICK) as client:
        for offset in range(0, length, every):
            start_over(server)
            server.fault(cut(offset), *CREATES)
            job = client.submit(SPEC, key="nightly")
            assert [made["id"] for made in server.service.jobs] == [job.id], f"cut after {offset} bytes"
            assert len(server.asked(*CREATES)) == 1, f"cut after {offset} bytes"


SOME_OR_ALL = pytest.mark.parametrize("every", [13, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])


@SOME_OR_ALL
@pytest.mark.parametrize("step", [LOOKS_AT_FILE, LOOKS_FOR_JOB], ids=["file", "list"])
def test_a_look_cut_after_any_byte_leaves_one_job(step, every, connect, server):
    length = length_of_reply(server, connect, *step)
    with connect(base_url=server.base_url, **QUICK) as client:
        for offset in range(0, length, every):
            start_over(server)
            server.fault(cut(offset), *step)
            job = client.submit(SPEC, key="nightly")
            assert [made["id"] for made in server.service.jobs] == [job.id], f"cut after {offset} bytes"


def test_every_reply_cut_at_once_and_a_second_try_leave_one_job(connect, server):
    """The worst day: each reply is cut somewhere, the step fails, and the engine tries again."""
    with connect(base_url=server.base_url, **(QUICK | {"retry": Retry(attempts=1)})) as client:
        for offset in range(0, 450, 15):
            start_over(server)
            for step in (LOOKS_AT_FILE, LOOKS_FOR_JOB, CREATES):
                server.fault(cut(offset), *step)
            tries = [attempt(lambda: client.submit(SPEC, key="nightly")) for _ in range(4)]
            job = next(job for job in tries if job is not None)
            assert [made["id"] for made in server.service.jobs] == [job.id], f"cut after {offset} bytes"


def test_a_create_that_is_reset_leaves_one_job(connect, server):
    start_over(server)
    server.fault(reset_after(), *CREATES)
    with connect(base_url=server.base_url, **QUICK) as client:
        job = client.submit(SPEC, key="nightly")
    assert [made["id"] for made in server.service.jobs] == [job.id]


@SOME_OR_ALL
def test_an_upload_cut_after_any_byte_leaves_one_file(every, connect, server, tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_bytes(b'{"prompt": "a", "completion": "b"}\n')
    with connect(base_url=server.base_url, **QUICK) as client:
        for offset in range(0, 360, every):
            server.forget()
            server.service.files.clear()
            server.fault(cut(offset), "POST", "/files")
            file = client.upload(path, validate=False)
            assert [kept["id"] for kept in server.service.files] == [file.id], f"cut after {offset} bytes"
            assert len(server.asked("POST", "/files")) == 1, f"cut after {offset} bytes"
