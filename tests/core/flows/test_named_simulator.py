"""Schedules where clients choose the names of jobs: what must hold, holds; and the simulator would notice if not."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
from support.sim_faults import WINDOW
from support.simulator import check_noticed, first_broken, main, play, play_all, simulate

from tuneway.errors import LookupFailed
from tuneway.flows import Flow
from tuneway.models import Job

named = importlib.import_module("tuneway.flows.named")
Submission = named._NamedSubmission

DYING: dict[str, Any] = {
    "carrier": "named", "clients": 3, "reuse": ("run", "run", "run"), "fate": "is cancelled",
    "deletes": "when it is quiet", "crash": 0.0, "crashes": 1, "apart": 400.0, "resumes": False, "ends_slowly": False,
}  # fmt: skip
LAGGING = {"lag": WINDOW, "apart": 60.0, "late": 1.0, "pause": 0.0, "trouble_on_create": 0.0, "trouble_on_look": 0.0}


def test_hundreds_of_schedules_never_have_two_jobs_at_any_moment():
    findings = play_all(range(100), "named")
    assert findings.broken == {}
    trouble = findings.counts
    for kind in ("crashes", "Retrying", "JobAdopted", "LookupFailed", "JobCancelled", "deleted"):
        assert trouble[kind] > 10, f"{kind}: the schedules are too tame to prove anything"
    assert trouble["within the guarantee"] > 50


def test_jobs_that_die_and_are_deleted_keep_the_promise():
    assert first_broken(range(100), **DYING) is None


def test_jobs_that_are_deleted_at_any_time_leave_one(monkeypatch):
    """There may be two for a moment, which shows that the strict promise is checked where it holds."""
    findings = [play(seed, **DYING | {"deletes": "at any time", "ends_slowly": False}) for seed in range(80)]
    assert sum(counts["deleted"] for counts in findings) > 50


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_thousands_of_schedules_keep_every_promise():
    findings = None
    for findings in simulate(30_000, jobs=2, carrier="named"):
        assert findings.broken == {}, "replay it: cd tests && python -m support.simulator --carrier named --replay SEED"
    assert findings is not None
    assert findings.schedules == 30_000


@pytest.mark.slow
def test_a_replay_says_how_it_was_played(capsys, monkeypatch):
    monkeypatch.setattr(Submission, "_let_it_end", _not_waiting)
    assert main(["--carrier", "named", "--schedules", "150"]) == 1
    seed = capsys.readouterr().out.rpartition("--carrier 'named' --replay ")[2].strip()
    assert main(["--carrier", "named", "--replay", seed]) == 1
    assert "BROKEN" in capsys.readouterr().out.splitlines()[-1]


# --- flows with one thing missing ---


_read = Submission._read
_check = Submission.check


def _unreadable_is_absent(self, name: str) -> Flow[Job | None]:
    try:
        return (yield from _read(self, name))
    except LookupFailed:
        return None


def _not_waiting(self, name: str) -> Flow[None]:
    if self.jobs[name].ending:
        self.jobs.pop(name)
    return
    yield


def _first_free(self) -> Flow[Any]:
    """Read generation after generation until one is absent, without a list."""
    while (job := (yield from _read(self, self.names.name(self.generation)))) is not None:
        self.jobs[job.id] = job
        if not job.phase.dead:
            return named.NamedResult.SOMETHING
        self.past.add(job.id)
        self.generation += 1
    return named.NamedResult.NOTHING


def _next_after_a_doubt(self) -> Flow[Any]:
    if self._accepted is None:
        self.generation += 1
        return named.NamedResult.NOTHING
    return (yield from _check(self))


def _all_rivals(self) -> list[Job]:
    return [job for job in self.current[1:] if not job.done]


def not_reading_ahead(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(named, "AHEAD", 0)


def filling_the_gaps(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Submission, "look", _first_free)


def taking_unreadable_for_absent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Submission, "_read", _unreadable_is_absent)


def not_waiting_for_the_end_of_a_cancel(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Submission, "_let_it_end", _not_waiting)


def taking_another_name_after_a_doubt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Submission, "check", _next_after_a_doubt)


def cancelling_what_others_made(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Submission, "_rivals", _all_rivals)


TWO = "jobs live at one moment"
MUTANTS: list[tuple[Callable[[pytest.MonkeyPatch], None], dict[str, object], str]] = [
    (not_reading_ahead, DYING | LAGGING, TWO),
    (filling_the_gaps, DYING, "creates without having seen that there is nothing|jobs live at one moment"),
    (taking_unreadable_for_absent, DYING | {"trouble_on_look": 0.8, "deletes": "never"}, f"{TWO}|creates"),
    (not_waiting_for_the_end_of_a_cancel, DYING | {"ends_slowly": True}, TWO),
    (taking_another_name_after_a_doubt, {"carrier": "named", "trouble_on_create": 0.8}, f"{TWO}|creates"),
    (cancelling_what_others_made, {"carrier": "named", "reuse": ("content",) * 3}, "which was made for another intent"),
]


@pytest.mark.parametrize(("mutate", "scenario", "told"), MUTANTS, ids=[mutant[0].__name__ for mutant in MUTANTS])
@pytest.mark.slow
def test_it_notices_a_flow(mutate, scenario, told, monkeypatch):
    mutate(monkeypatch)
    check_noticed(scenario, told, monkeypatch.undo)
