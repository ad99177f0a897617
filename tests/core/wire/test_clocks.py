"""Time: a total time-out for blocking requests, and a clock that nobody sets."""

from __future__ import annotations

import time

import httpcore
import httpx
import pytest
from support import fault_server as faults

from tuneway import Client, WaitTimeout
from tuneway.drivers._backend import _Backend, enforce_total_timeout
from tuneway.drivers._clock import steady_clock
from tuneway.drivers._deadline import total_timeout
from tuneway.flows import Poll

PROXIED = {"https://": httpx.HTTPTransport(proxy="http://127.0.0.1:9"), "all://other": httpx.HTTPTransport()}


@pytest.mark.parametrize(
    "options",
    [{}, {"proxy": "http://127.0.0.1:9"}, {"mounts": PROXIED}],
    ids=["no options", "proxy", "mounts"],
)
def test_the_private_names_that_hold_the_deadline_are_where_they_were(options):
    """httpx offers no way to hand it a network backend. When this fails, look at drivers/_backend.py."""
    with httpx.Client(**options) as http:
        enforce_total_timeout(http)
        transports = [http._transport, *filter(None, http._mounts.values())]
        assert len(transports) == 1 + len(options and http._mounts)
        for transport in transports:
            assert isinstance(transport, httpx.HTTPTransport)
            assert isinstance(transport._pool, httpcore.ConnectionPool)
            assert isinstance(transport._pool._network_backend, _Backend)
        first = http._transport._pool._network_backend  # type: ignore[attr-defined]
        enforce_total_timeout(http)
        assert http._transport._pool._network_backend is first, "once is enough"  # type: ignore[attr-defined]


def test_connections_are_made_by_the_backend_that_knows_the_deadline(server):
    server.fault(faults.drip(every=0.05))
    with httpx.Client(timeout=60) as http:
        enforce_total_timeout(http)
        began = time.monotonic()
        with pytest.raises(httpx.ReadTimeout), total_timeout(0.2):
            http.get(f"{server.base_url}/models")
        assert time.monotonic() - began < 2


def test_another_transport_is_left_alone():
    with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200))) as http:
        enforce_total_timeout(http)
        assert http.get("http://localhost").status_code == 200


def test_without_a_deadline_httpx_keeps_its_own_time_outs(server):
    with httpx.Client(timeout=5) as http:
        enforce_total_timeout(http)
        assert http.get(f"{server.base_url}/models").json()["data"]


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch):
    """Sets the wall's clock, as daylight saving, NTP and people do."""
    honest = time.time

    def jump(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: honest() + seconds)

    return jump


@pytest.mark.parametrize("seconds", [86_400.0, -86_400.0])
def test_a_steady_clock_does_not_jump(seconds, wall):
    clock = steady_clock()
    before = clock()
    assert abs(before - time.time()) < 0.1
    wall(seconds)
    assert 0 <= clock() - before < 1
    assert abs(steady_clock()() - before - seconds) < 1, "a new one starts from what the wall says"


@pytest.mark.parametrize("seconds", [86_400.0, -86_400.0])
def test_a_wait_neither_ends_early_nor_goes_on_for_ever_when_the_clock_is_set(seconds, connect, server, wall):
    server.service.add_job()

    def jump_once(line: faults.Line):
        wall(seconds)
        return line.write(line.act())

    server.fault(faults.Fault(jump_once, stays=True), "GET", "/fine_tuning/jobs/ftjob-1")
    with connect(base_url=server.base_url, poll=Poll(minimum=0.02, maximum=0.03)) as client:
        began = time.monotonic()
        with pytest.raises(WaitTimeout):
            client.wait("ftjob-1", timeout=0.3)
        assert 0.25 < time.monotonic() - began < 3
    assert len(server.arrived) > 3


def test_a_request_keeps_its_time_when_the_clock_is_set(server, wall):
    server.service.add_job()
    server.fault(faults.late(0.1))
    with Client(base_url=server.base_url, timeout=2) as client:
        wall(86_400.0)
        assert client.jobs.retrieve("ftjob-1").id == "ftjob-1"
