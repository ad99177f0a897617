"""Faults made on purpose: each kind strikes as it says, on the side that it says, and the same seed repeats."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import httpx
import pytest
from support.in_process import served_here
from support.openai_jobs import chats
from support.service import running_service

from tuneway.errors import InvalidSpec
from tuneway_service.faults import Fault, Faults, parse
from tuneway_service.settings import Settings

FAR = 30.0

HUNG_UP = "hung up"
"""How a client tells it depends on what of its request the service had read by then: one word for all."""


def struck(
    data_dir: Path, faults: str, requests: int = 1, *, timeout: float = FAR, seed: int = 0
) -> tuple[list[int | str], int]:
    """What that many creates of an upload met, and how many uploads the service then has."""
    outcomes: list[int | str] = []
    with served_here(Settings(data_dir=data_dir, faults=faults, fault_seed=seed)) as base_url:
        for _ in range(requests):
            try:
                reply = httpx.post(
                    f"{base_url}/uploads",
                    json={"bytes": 10, "filename": "a", "mime_type": "b", "purpose": "batch"},
                    timeout=timeout,
                    verify=False,  # to read certificates takes longer than all the rest
                )
                outcomes.append(reply.status_code)
            except (httpx.RemoteProtocolError, httpx.NetworkError):
                outcomes.append(HUNG_UP)
            except httpx.HTTPError as error:
                outcomes.append(type(error).__name__)
    return outcomes, uploads(data_dir)


def uploads(data_dir):
    import sqlite3

    connection = sqlite3.connect(data_dir / "tuneway.db")
    count = connection.execute("SELECT COUNT(*) FROM uploads").fetchone()[0]
    connection.close()
    return count


@pytest.mark.parametrize(
    ("faults", "outcome", "processed"),
    [
        ("drop-before=1", HUNG_UP, 0),
        ("drop-after=1", HUNG_UP, 1),
        ("truncate=1", HUNG_UP, 1),
        ("503-before=1", 503, 0),
        ("503-after=1", 503, 1),
        ("500-after=1", 500, 1),
        ("429=1", 429, 0),
        ("quota=1", 429, 0),
        ("late=1:0.5", "ReadTimeout", 1),
        ("late-before=1:0.5", "ReadTimeout", 1),
        ("stuck=1", 200, 1),
    ],
)
def test_a_fault_strikes_as_it_says(tmp_path, faults, outcome, processed):
    outcomes, count = struck(tmp_path, faults, timeout=0.25 if "late" in faults else FAR)
    assert outcomes == [outcome]
    assert count == processed


def test_a_late_reply_comes_in_the_end(tmp_path):
    outcomes, _ = struck(tmp_path, "late=1:0.2")
    assert outcomes == [200]


def test_faults_come_in_their_shares_and_repeat_by_seed(tmp_path):
    shares = "drop=0.3,503=0.3,truncate=0.2"
    first = struck(tmp_path / "first", shares, requests=40, seed=5)
    assert first == struck(tmp_path / "again", shares, requests=40, seed=5)
    counts = Counter(first[0])
    assert counts[503] > 4
    assert counts[HUNG_UP] > 8
    assert counts[200] > 2
    assert 10 < first[1] < 38
    assert first[0][:10] != struck(tmp_path / "other", shares, requests=10, seed=6)[0]


@pytest.mark.slow
def test_the_service_lives_on_and_its_log_is_quiet():
    with running_service(faults="drop=0.4,truncate=0.4", fault_seed=1, models={"base": "bytes"}) as service:
        content = chats(20)
        for _ in range(20):
            try:
                httpx.post(
                    f"{service.base_url}/files",
                    files={"file": ("a.jsonl", content)},
                    data={"purpose": "fine-tune"},
                    verify=False,
                )
            except httpx.HTTPError:
                continue
        assert httpx.get(service.base_url.removesuffix("/v1") + "/healthz").status_code == 200
        assert "Traceback" not in service.log
        assert "level=error" not in service.log
        assert "level=warning" not in service.log
        whole = {path.read_bytes() for path in (service.data_dir / "files").iterdir()}
        assert whole == {content}


@pytest.mark.slow
def test_health_is_never_struck():
    with running_service(faults="drop=1") as service:
        assert httpx.get(service.base_url.removesuffix("/v1") + "/healthz").status_code == 200


async def nothing(*_) -> None:
    """An application that does nothing."""


def test_shares_are_as_asked():
    faults = Faults(nothing, faults=parse("drop=0.1,late=0.05:20,503=0.1,429=0.2,truncate=0.05"), seed=1)
    drawn = Counter(fault.kind if (fault := faults._draw()) else None for _ in range(20_000))
    for kind, share in {"drop": 0.1, "late": 0.05, "503": 0.1, "429": 0.2, "truncate": 0.05, None: 0.5}.items():
        assert drawn[kind] / 20_000 == pytest.approx(share, abs=0.02)


def test_a_setting_is_read_as_it_is_written():
    assert parse("") == []
    assert parse(" drop-after=0.1 , late=0.05:20,503=1e-2") == [
        Fault("drop", 0.1, "after"),
        Fault("late", 0.05, None, 20.0),
        Fault("503", 0.01),
    ]


@pytest.mark.parametrize(
    "text",
    ["drop", "drop=", "drop=x", "drop=2", "drop=-0.1", "drop=nan", "flood=0.1", "404=0.1", "600=0.1", "429-after=0.1",
     "truncate-before=0.1", "drop-sideways=0.1", "drop=0.1:5", "drop=0.6,503=0.6", "stuck-after=0.1"],
)  # fmt: skip
def test_a_setting_that_makes_no_sense_is_refused(text):
    with pytest.raises(InvalidSpec) as caught:
        parse(text)
    assert caught.value.field == "fault"
