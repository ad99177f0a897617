"""Many waits, one poll: threads that share a client, tasks that share an asyncio client, and who ends whose wait."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from blockbuster import blockbuster_ctx
from support import fault_server as faults
from support.fault_server import FaultServer, answer

from tuneway import AsyncClient, Client, InvalidSpec, JobCancelled, JobFailed, JobSpec, WaitTimeout, WaitToken
from tuneway.errors import InvalidInput, NotFound
from tuneway.flows import Poll
from tuneway.progress import Finished, JobChanged, Logged, News

POLL = Poll(minimum=0.02, maximum=0.03)
JOBS = "/fine_tuning/jobs(/[^/]*)?"


def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait for what another thread does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.001)


async def auntil(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - it happens in the server's thread
            await asyncio.sleep(0.001)


class Waiter(threading.Thread):
    """A thread that waits for a job, and keeps what came of it."""

    def __init__(self, client: Client, job_id: str, listener: Callable[[News], object] | None = None, **options: Any):
        super().__init__(daemon=True)
        self.client, self.job_id, self.listener, self.options = client, job_id, listener, options
        self.result: Any = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.client.wait(self.job_id, on_event=self.listener, **self.options)
        except BaseException as error:  # noqa: BLE001 - what came of it
            self.result = error

    def end(self) -> Any:
        self.join(10)
        assert not self.is_alive()
        return self.result


@pytest.fixture
def client(server: FaultServer):
    with Client(base_url=server.base_url, poll=POLL) as client:
        yield client


# --- What a wait gives. ---


def test_a_wait_gives_the_succeeded_job(connect, server):
    server.service.add_job()
    server.fault(faults.honest(), "GET")
    server.service.finish("ftjob-1", "succeeded")
    with connect(base_url=server.base_url, poll=POLL) as client:
        assert client.wait("ftjob-1").fine_tuned_model == "ft:base:org::ftjob-1"
        job = client.jobs.retrieve("ftjob-1")
        assert client.wait(job) == client.wait(WaitToken(job_id="ftjob-1")) == job


def test_a_failed_job_fails_its_wait_with_the_services_reason(connect, server):
    server.service.add_job()
    server.service.finish("ftjob-1", "failed", error={"code": "invalid_training_file", "message": "line 7 is odd"})
    with (
        connect(base_url=server.base_url, poll=POLL) as client,
        pytest.raises(JobFailed, match="line 7 is odd") as caught,
    ):
        client.wait("ftjob-1")
    assert (caught.value.code, caught.value.job_id, caught.value.job and caught.value.job.status) == (
        "invalid_training_file", "ftjob-1", "failed",
    )  # fmt: skip


def test_a_cancelled_job_and_a_passed_deadline_have_their_own_errors(connect, server):
    server.service.add_job()
    with connect(base_url=server.base_url, poll=POLL) as client:
        with pytest.raises(WaitTimeout, match="The job goes on"):
            client.wait("ftjob-1", timeout=0.1)
        server.service.finish("ftjob-1", "cancelled")
        with pytest.raises(JobCancelled):
            client.wait("ftjob-1", timeout=0.1)


def test_a_job_that_is_not_there_ends_its_wait_after_some_looks(connect, server):
    poll = Poll(minimum=0.001, maximum=0.002, tolerance=4)
    with connect(base_url=server.base_url, poll=poll) as client, pytest.raises(NotFound) as caught:
        client.wait("ftjob-9")
    assert caught.value.job_id == "ftjob-9"
    assert len(server.arrived) == 4


def test_the_log_is_told_once_and_in_order_while_the_job_runs(connect, server):
    server.service.add_job()
    for number in range(3):
        server.service.add_event("ftjob-1", f"step {number}")
    told: list[News] = []

    def listen(news: News) -> None:
        told.append(news)
        if isinstance(news, Logged) and news.event.message == "step 2":
            server.service.add_event("ftjob-1", "step 3")
            server.service.finish("ftjob-1", "succeeded")

    with connect(base_url=server.base_url, poll=POLL) as client:
        client.wait("ftjob-1", on_event=listen)
    assert [news.event.message for news in told if isinstance(news, Logged)] == [f"step {n}" for n in range(4)]
    assert [news.job.status for news in told if isinstance(news, JobChanged)] == ["running", "succeeded"]
    assert isinstance(told[-1], Finished)


def test_wait_all_gives_jobs_in_the_order_asked_and_raises_when_all_have_ended(connect, server):
    for _ in range(4):
        server.service.add_job()
    server.service.finish("ftjob-1", "failed", error={})
    told: list[str] = []

    def listen(news: News) -> None:
        if isinstance(news, JobChanged) and news.job.id == "ftjob-2":
            for job_id in ("ftjob-4", "ftjob-3", "ftjob-2"):
                server.service.finish(job_id, "succeeded")
        if isinstance(news, Finished):
            told.append(news.job_id)

    with connect(base_url=server.base_url, poll=POLL) as client:
        with pytest.raises(JobFailed, match="ftjob-1 failed: the service gives no reason"):
            client.wait_all([f"ftjob-{n}" for n in (4, 1, 2, 3)], on_event=listen)
        assert sorted(told) == ["ftjob-1", "ftjob-2", "ftjob-3", "ftjob-4"]
        assert [job.id for job in client.wait_all(["ftjob-4", "ftjob-2", "ftjob-4"])] == [
            "ftjob-4",
            "ftjob-2",
            "ftjob-4",
        ]
        assert client.wait_all([]) == []


@pytest.mark.parametrize("job", ["", None, 5, object(), JobSpec(model="m", training_file="f")])
def test_what_is_no_job_is_refused(job, connect, server):
    with connect(base_url=server.base_url) as client:
        for wait in (lambda: client.wait(job), lambda: client.wait_all(["ftjob-1", job])):
            with pytest.raises(InvalidSpec, match="neither a job nor a job's id"):
                wait()
    assert server.arrived == []


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_a_time_out_that_makes_no_sense_is_refused(seconds, connect, server):
    with connect(base_url=server.base_url) as client, pytest.raises(InvalidInput, match="timeout can't be"):
        client.wait("ftjob-1", timeout=seconds)


# --- Threads. ---


def test_threads_that_share_a_client_share_one_poll(client, server):
    for _ in range(30):
        server.service.add_job()
    waiters = [Waiter(client, f"ftjob-{n}") for n in range(1, 31)]
    until(lambda: len(client._watcher._board.waits) == 30)
    server.forget()
    began = time.monotonic()
    until(lambda: len(server.asked("GET", JOBS)) >= 10)
    rounds = (time.monotonic() - began) / POLL.minimum + 1
    assert len(server.asked("GET", JOBS)) <= 2 * rounds, "each round is about one list, not thirty looks"
    for number in range(1, 31):
        server.service.finish(f"ftjob-{number}", "succeeded")
    assert {waiter.end().id for waiter in waiters} == {f"ftjob-{n}" for n in range(1, 31)}


def test_the_lead_passes_on_when_the_leaders_job_has_ended(client, server):
    for _ in range(4):
        server.service.add_job()
    waiters = [Waiter(client, f"ftjob-{n}") for n in range(1, 5)]
    until(lambda: len(client._watcher._groups) == 4)
    for _ in range(4):
        leader = client._watcher._groups[0]
        server.service.finish(leader.waits[0].token.job_id, "succeeded")
        until(lambda leader=leader: leader not in client._watcher._groups)  # type: ignore[misc]
    assert all(waiter.end().status == "succeeded" for waiter in waiters)
    assert client._watcher._board.waits == client._watcher._groups == []


def test_a_listener_is_called_in_the_thread_that_waits(client, server):
    for number in range(1, 5):
        server.service.add_job()
        server.service.add_event(f"ftjob-{number}", "hello")
    heard: dict[str, set[threading.Thread]] = {}

    def listener(job_id: str) -> Callable[[News], object]:
        return lambda news: heard.setdefault(job_id, set()).add(threading.current_thread())

    waiters = {f"ftjob-{n}": Waiter(client, f"ftjob-{n}", listener(f"ftjob-{n}")) for n in range(1, 5)}
    until(lambda: len(heard) == 4)
    for job_id in waiters:
        server.service.finish(job_id, "succeeded")
    for waiter in waiters.values():
        waiter.end()
    assert heard == {job_id: {waiter} for job_id, waiter in waiters.items()}


@pytest.mark.parametrize("who", ["leader", "follower"])
@pytest.mark.parametrize("error", [RuntimeError("my own"), KeyboardInterrupt()])
def test_a_listener_that_raises_ends_its_own_wait_alone(who, error, client, server):
    for _ in range(3):
        server.service.add_job()
    started: list[Waiter] = []
    broken = 0 if who == "leader" else 1

    def listen(news: News) -> None:
        raise error

    for number in range(3):
        started.append(Waiter(client, f"ftjob-{number + 1}", listen if number == broken else None))
        if number == 0 and broken:
            until(lambda: client._watcher._groups)
    assert started[broken].end() is error
    for number in range(3):
        server.service.finish(f"ftjob-{number + 1}", "succeeded")
    others = [waiter.end() for number, waiter in enumerate(started) if number != broken]
    assert [getattr(job, "status", job) for job in others] == ["succeeded", "succeeded"]
    assert client._watcher._board.waits == client._watcher._groups == []


def test_an_interrupt_in_a_nap_leaves_the_other_waits_alive(server):
    for _ in range(2):
        server.service.add_job()
    interrupted: list[Any] = []

    class Interrupting(Client):
        def nap(self, seconds: float) -> None:
            if not interrupted:
                interrupted.append(threading.current_thread())
                raise KeyboardInterrupt
            time.sleep(min(seconds, 0.01))

    with Interrupting(base_url=server.base_url, poll=POLL) as client:
        client._watcher._nap = client.nap
        waiters = [Waiter(client, "ftjob-1"), Waiter(client, "ftjob-2")]
        until(lambda: interrupted)
        victim = waiters.index(interrupted[0])
        assert isinstance(waiters[victim].end(), KeyboardInterrupt)
        for number in (1, 2):
            server.service.finish(f"ftjob-{number}", "succeeded")
        assert waiters[1 - victim].end().status == "succeeded"


def test_a_client_closed_meanwhile_ends_the_waits_of_its_threads(server):
    for _ in range(2):
        server.service.add_job()
    client = Client(base_url=server.base_url, poll=POLL)
    waiters = [Waiter(client, "ftjob-1"), Waiter(client, "ftjob-2")]
    until(lambda: len(server.asked("GET", JOBS)) >= 2)
    client.close()
    assert [type(waiter.end()) for waiter in waiters] == [InvalidInput, InvalidInput]


def test_a_wait_that_starts_while_another_sleeps_is_looked_at_at_once(server):
    server.service.add_job()
    server.service.add_job()
    with Client(base_url=server.base_url, poll=Poll(minimum=30, maximum=60)) as client:
        first = Waiter(client, "ftjob-1", timeout=20)
        until(lambda: server.asked("GET", JOBS))
        server.service.finish("ftjob-2", "succeeded")
        began = time.monotonic()
        assert client.wait("ftjob-2").status == "succeeded"
        assert time.monotonic() - began < 5
        server.service.finish("ftjob-1", "succeeded")
        # the lead is asleep for half a minute; another wait wakes it
        assert client.wait("ftjob-1").status == "succeeded"
        assert first.end().status == "succeeded"


# --- Tasks. ---


@pytest.fixture
def unblocked():
    """Whatever blocks the loop fails the test."""
    with blockbuster_ctx() as guard:
        yield guard


@pytest.fixture
async def aclient(server: FaultServer):
    async with AsyncClient(base_url=server.base_url, poll=POLL) as client:
        yield client


async def test_tasks_share_one_poll(aclient, server, unblocked):
    for _ in range(50):
        server.service.add_job()
    tasks = [asyncio.create_task(aclient.wait(f"ftjob-{n}")) for n in range(1, 51)]
    await auntil(lambda: len(server.asked("GET", JOBS)) >= 3)
    assert len(server.asked("GET", "/fine_tuning/jobs/.*")) <= 3
    server.forget()
    for number in range(1, 51):
        server.service.finish(f"ftjob-{number}", "succeeded")
    jobs = await asyncio.gather(*tasks)
    assert [job.id for job in jobs] == [f"ftjob-{n}" for n in range(1, 51)]
    assert len(server.asked("GET", JOBS)) <= 3


async def test_a_cancelled_wait_leaves_the_others(aclient, server, unblocked):
    for _ in range(3):
        server.service.add_job()
    tasks = [asyncio.create_task(aclient.wait(f"ftjob-{n}")) for n in range(1, 4)]
    await auntil(lambda: len(server.asked("GET", JOBS)) >= 2)
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    for number in (1, 2, 3):
        server.service.finish(f"ftjob-{number}", "succeeded")
    assert [job.id for job in await asyncio.gather(*tasks[1:])] == ["ftjob-2", "ftjob-3"]
    assert server.service.job("ftjob-1")["status"] == "succeeded"
    assert not server.asked("POST"), "nobody cancelled a job"


async def test_when_the_last_wait_is_cancelled_the_polling_ends(aclient, server, unblocked):
    server.service.add_job()
    task = asyncio.create_task(aclient.wait("ftjob-1"))
    await auntil(lambda: server.asked("GET", JOBS))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await auntil(aclient._watcher._task.done)
    seen = len(server.arrived)
    await asyncio.sleep(POLL.maximum * 3)
    assert len(server.arrived) == seen
    server.service.finish("ftjob-1", "succeeded")
    assert (await aclient.wait("ftjob-1")).status == "succeeded"  # and begins again


async def test_a_listener_that_raises_ends_its_own_task_alone(aclient, server, unblocked):
    for _ in range(3):
        server.service.add_job()
    mine = RuntimeError("my own")

    def listen(_news: News) -> None:
        raise mine

    tasks = [asyncio.create_task(aclient.wait(f"ftjob-{n}", on_event=listen if n == 2 else None)) for n in (1, 2, 3)]
    with pytest.raises(RuntimeError, match="my own"):
        await tasks[1]
    for number in (1, 2, 3):
        server.service.finish(f"ftjob-{number}", "succeeded")
    assert [job.id for job in await asyncio.gather(tasks[0], tasks[2])] == ["ftjob-1", "ftjob-3"]


async def test_a_listener_that_raises_ends_all_of_its_wait_all(aclient, server, unblocked):
    for _ in range(3):
        server.service.add_job()

    def listen(news: News) -> None:
        if isinstance(news, JobChanged) and news.job.id == "ftjob-2":
            raise RuntimeError("my own")

    with pytest.raises(RuntimeError, match="my own"):
        await aclient.wait_all(["ftjob-1", "ftjob-2", "ftjob-3"], on_event=listen)
    await auntil(lambda: not aclient._watcher._board.waits)


async def test_two_tasks_may_wait_for_one_job(aclient, server, unblocked):
    server.service.add_job()
    tasks = [asyncio.create_task(aclient.wait("ftjob-1", timeout=t)) for t in (0.05, None)]
    with pytest.raises(WaitTimeout):
        await tasks[0]
    server.service.finish("ftjob-1", "succeeded")
    assert (await tasks[1]).status == "succeeded"


async def test_an_asyncio_client_closed_meanwhile_tells_its_waits(server):
    server.service.add_job()
    client = AsyncClient(base_url=server.base_url, poll=POLL)
    task = asyncio.create_task(client.wait("ftjob-1"))
    await auntil(lambda: server.asked("GET", JOBS))
    await client.aclose()
    with pytest.raises(InvalidInput, match="is closed"):
        await task


async def test_a_closed_client_leaves_no_task_behind(server):
    server.service.add_job()
    before = asyncio.all_tasks()
    async with AsyncClient(base_url=server.base_url, poll=POLL) as client:
        with pytest.raises(WaitTimeout):
            await client.wait("ftjob-1", timeout=0.05)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    gc.collect()  # an exception that nobody fetched would be told now


async def test_a_task_group_may_wait_and_be_cancelled_as_one(aclient, server, unblocked):
    for _ in range(3):
        server.service.add_job()
    server.fault(answer({"id": "ftjob-2", "status": "failed"}), "GET", "/fine_tuning/jobs/ftjob-2", times=9)
    server.fault(answer({"error": {"message": "no lists here"}}, 403), "GET", "/fine_tuning/jobs", times=9)

    async def wait_for_three() -> None:
        async with asyncio.TaskGroup() as group:
            for number in (1, 2, 3):
                group.create_task(aclient.wait(f"ftjob-{number}"))

    with pytest.raises(ExceptionGroup) as caught:
        await wait_for_three()
    assert [type(error) for error in caught.value.exceptions] == [JobFailed]
    await auntil(lambda: not aclient._watcher._board.waits)
