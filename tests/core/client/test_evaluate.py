"""Both clients ask the questions of an evaluation at once."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
from typing import Any

import pytest
from support.fake_service import refuse
from support.fault_server import Fault, FaultServer, serialise

from tuneway import AsyncClient, progress
from tuneway.calls import Request, Response
from tuneway.client._evaluate import ask_what_is_left
from tuneway.errors import BadRequest, InvalidSpec, ServerError, Unauthorized
from tuneway.flows import Account, Flow, Notify, Now, Retry, Send, Sleep
from tuneway.registry.evaluate import EvaluationRun

ROWS = [
    {"messages": [{"role": "user", "content": str(number)}, {"role": "assistant", "content": f"tuned {number}"}]}
    for number in range(20)
]


def asked_of(body: dict[str, Any]) -> tuple[str, str]:
    """The model and the question of a request."""
    return body["model"], body["messages"][-1]["content"]


def reply(body: dict[str, Any]) -> Response:
    """The model's name and the question."""
    said = {"choices": [{"message": {"role": "assistant", "content": " ".join(asked_of(body))}}]}
    return Response(200, {"content-type": "application/json"}, json.dumps(said).encode())


def serve(server: FaultServer, act=None) -> list[tuple[str, str]]:
    """Let a server answer questions; gives what it is asked."""
    asked: list[tuple[str, str]] = []

    async def exchange(line) -> None:
        body = line.arrival.json
        asked.append(asked_of(body))
        refusal = await act(asked_of(body)) if act else None
        await line.write(serialise(refusal or reply(body)))

    server.fault(Fault(exchange, stays=True), "POST", "/chat/completions", times=10_000)
    return asked


def test_as_many_questions_are_asked_at_once_as_allowed(connect, server):
    together, most = asyncio.Barrier(5), [0]

    async def act(_asked):
        most[0] = max(most[0], together.n_waiting + 1)
        await asyncio.wait_for(together.wait(), 30)  # answers when five have arrived

    serve(server, act)
    told: list[progress.News] = []
    with connect(base_url=server.base_url) as client:
        result = client.evaluate(ROWS, base="base", tuned="tuned", concurrency=5, samples=20, on_event=told.append)
    assert most == [5]
    assert (result.tuned.score, result.base.score, result.better) == (1, 0, 20)
    assert [(sample.question, sample.base) for sample in result.samples] == [(str(n), f"base {n}") for n in range(20)]
    assert str(told[-1]) == "40 of 40 answers"


def test_an_error_ends_the_evaluation_and_names_its_line(connect, server, tmp_path):
    path = tmp_path / "held-out.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))

    async def act(asked):
        return refuse(400, "this can't be answered") if asked == ("tuned", "2") else None

    asked = serve(server, act)
    with (
        connect(base_url=server.base_url) as client,
        pytest.raises(BadRequest, match=r"held-out\.jsonl, line 3, asked of tuned: this can't be answered"),
    ):
        client.evaluate(path, base="base", tuned="tuned", concurrency=2)
    assert len(asked) < 20


def test_an_error_ends_a_question_that_sleeps_before_it_is_sent_again(connect, server):
    both = asyncio.Barrier(2)

    async def act(asked):
        await asyncio.wait_for(both.wait(), 30)
        if asked[0] == "base":
            return refuse(503, "busy", **{"retry-after": "3000"})
        return refuse(401, "no such key")

    asked = serve(server, act)
    told: list[progress.News] = []
    retry = Retry(patience=10_000)
    with connect(base_url=server.base_url, retry=retry) as client, pytest.raises(Unauthorized, match="no such key"):
        client.evaluate(ROWS[:1], base="base", tuned="tuned", on_event=told.append)
    assert sorted(asked) == [("base", "0"), ("tuned", "0")]


@pytest.mark.parametrize("status", [429, 503])
def test_a_question_that_is_refused_for_a_moment_is_asked_again(status, connect, server):
    refused = set()

    async def act(asked):
        if asked in refused:
            return None
        refused.add(asked)
        return refuse(status, "busy", **{"retry-after": "0"})

    asked = serve(server, act)
    with connect(base_url=server.base_url, retry=Retry(first=0.001)) as client:
        result = client.evaluate(ROWS[:1], base="base", tuned="tuned")
    assert (result.tuned.score, len(asked)) == (1, 4)


def test_a_bad_row_is_refused_before_anything_is_asked(connect, server):
    asked = serve(server)
    with connect(base_url=server.base_url) as client:
        for rows, options in (([*ROWS, {}], {}), (ROWS, {"score": "fuzzy"}), (ROWS, {"concurrency": 0})):
            with pytest.raises(InvalidSpec):
                client.evaluate(rows, base="base", tuned="tuned", **options)
    assert asked == []


async def test_a_cancelled_evaluation_asks_nothing_more(server):
    arrived, gone = asyncio.Event(), []

    async def act(_asked):
        arrived_loop.call_soon_threadsafe(arrived.set)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            gone.append(1)
            raise

    arrived_loop = asyncio.get_running_loop()
    asked = serve(server, act)
    async with AsyncClient(base_url=server.base_url) as client:
        task = asyncio.create_task(client.evaluate(ROWS, base="base", tuned="tuned", concurrency=3))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [one for one in asyncio.all_tasks() if one is not asyncio.current_task()] == []
    assert len(asked) <= 3


# --- on a virtual clock


def in_virtual_time(flows: list[Flow[None]], answering) -> float:
    """Run flows at once; gives the seconds until all have ended. `answering` gives a reply and its seconds."""
    order, now = itertools.count(), 0.0
    waiting: list[tuple[float, int, Flow[None], Any]] = [(0.0, next(order), flow, None) for flow in flows]
    while waiting:
        now, _, flow, value = heapq.heappop(waiting)
        try:
            effect = flow.send(value)
            while isinstance(effect, Now | Notify):
                effect = flow.send(now if isinstance(effect, Now) else None)
        except StopIteration:
            continue
        if isinstance(effect, Sleep):
            heapq.heappush(waiting, (now + effect.seconds, next(order), flow, None))
        else:
            assert isinstance(effect, Send)
            response, seconds = answering(effect.request)
            heapq.heappush(waiting, (now + seconds, next(order), flow, response))
    return now


def evaluated(answering, concurrency: int, account: Account | None = None) -> tuple[EvaluationRun, float]:
    run = EvaluationRun(ROWS, base="base", tuned="tuned", concurrency=concurrency, samples=20)
    flows = [ask_what_is_left(account or Account(), run) for _ in range(run.at_once)]
    return run, in_virtual_time(flows, answering)


@pytest.mark.parametrize(("concurrency", "seconds"), [(1, 40), (4, 10), (8, 5), (100, 1)])
def test_eight_at_once_take_an_eighth_of_the_time(concurrency, seconds):
    run, took = evaluated(lambda request: (reply(request.json), 1.0), concurrency)
    assert took == seconds
    assert run.evaluation().tuned.score == 1


def test_a_slow_answer_holds_up_no_other_and_the_order_stays():
    def slow_first(request: Request) -> tuple[Response, float]:
        return reply(request.json), 30.0 if asked_of(request.json) == ("base", "0") else 1.0

    run, took = evaluated(slow_first, 2)
    assert took == 35  # 30 of the other 39 are answered meanwhile, and 9 by two afterwards
    samples = run.evaluation().samples
    assert [sample.base for sample in samples] == [f"base {number}" for number in range(20)]


def test_a_busy_service_is_asked_again_after_the_pause_that_it_names():
    refusals = iter([refuse(503, "busy", **{"retry-after": "7"})] * 8)

    def busy_first(request: Request) -> tuple[Response, float]:
        return next(refusals, None) or reply(request.json), 1.0

    run, took = evaluated(busy_first, 8)
    assert took == 1 + 7 + 5
    assert run.evaluation().tuned.score == 1


def test_a_service_that_stays_busy_ends_the_evaluation():
    with pytest.raises(ServerError, match="asked of base: busy"):
        evaluated(lambda request: (refuse(503, "busy", **{"retry-after": "7"}), 1.0), 8)
