"""Effects: what a flow asks its driver for."""

from __future__ import annotations

from support.fake_service import FakeService
from support.virtual_driver import VirtualDriver

from tuneway.calls import Request
from tuneway.errors import ConnectionLost
from tuneway.flows import Sleep, send, sleep, until, work


def test_blocking_work_is_done_by_the_driver_and_its_result_comes_back():
    assert VirtualDriver(FakeService()).run(work(callable)) is True


def test_a_flow_that_is_not_ended_has_its_result():
    assert VirtualDriver(FakeService()).run(until(lambda: False, work(callable))) is True


def test_a_flow_is_ended_before_its_next_effect():
    closed = []

    def flow():
        try:
            yield from sleep(1)
            yield from send(Request("GET", "/models"))
        finally:
            closed.append(1)

    ended = iter([False, True])
    running = until(lambda: next(ended), flow())
    assert next(running) == Sleep(1, wakeable=True)
    assert list(running) == []
    assert closed == [1]


def test_an_error_of_the_connection_reaches_a_flow_that_may_be_ended():
    def flow():
        try:
            yield from send(Request("GET", "/models"))
        except ConnectionLost as error:
            return error.message

    assert VirtualDriver(FakeService(), [ConnectionLost("gone")]).run(until(lambda: False, flow())) == "gone"
