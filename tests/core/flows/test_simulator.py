"""Schedules of crashes, races and lost replies: what must hold, holds; and the simulator would notice if not.

The second half breaks the flows on purpose, each in one place, and expects a broken promise. `SHARP` are
schedules with nothing but crashes in them, where a single missing step of the protocol shows.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.sim_faults import WINDOW
from support.simulator import check_noticed, first_broken, main, play, play_all, simulate

from tuneway import calls
from tuneway.errors import LookupFailed, TunewayError
from tuneway.flows import KEY, Account, Flow, Pager, _marks
from tuneway.flows._identity import Intent
from tuneway.flows._memory import Memory
from tuneway.flows._request import settling, unreadable
from tuneway.flows._token import WaitToken
from tuneway.models import Job

# `flows` gives its functions the names of their modules.
submit = importlib.import_module("tuneway.flows.submit")
wait = importlib.import_module("tuneway.flows.wait")
watch = importlib.import_module("tuneway.flows.watch")

TESTS = Path(__file__).parents[2]

SHARP = {
    "clients": 1, "reuse": ("run",), "crash": 0.3, "crashes": 4, "trouble_on_create": 0.0, "trouble_on_look": 0.0,
    "pause": 0.0, "late": WINDOW, "lag": 0.0, "fate": "succeeds", "page_cap": 100, "honours_idempotency": False,
}  # fmt: skip


def test_hundreds_of_schedules_keep_every_promise():
    findings = play_all(range(200))
    assert findings.broken == {}
    assert findings.schedules == 200
    trouble = findings.counts
    for kind in ("crashes", "Retrying", "JobAdopted", "RivalCancelled", "LookupFailed", "WaitTimeout", "Logged"):
        assert trouble[kind] > 10, f"{kind}: the schedules are too tame to prove anything"
    assert trouble["within the guarantee"] > 100


@pytest.mark.parametrize("carrier", ["suffix", "key in suffix", "dropped"])
def test_where_metadata_is_dropped_hundreds_of_schedules_keep_every_promise(carrier):
    findings = play_all(range(100), carrier)
    assert findings.broken == {}
    for kind in ("Retrying", "JobAdopted", "JobRecognised" if carrier == "dropped" else "crashes"):
        assert findings.counts[kind] > 10, f"{kind}: the schedules are too tame to prove anything"
    assert findings.counts["within the guarantee"] > 50


@pytest.mark.parametrize("carrier", ["metadata", pytest.param("key in suffix", marks=pytest.mark.slow)])
def test_crashes_alone_keep_every_promise(carrier):
    assert first_broken(range(300), **SHARP, carrier=carrier) is None


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("carrier", ["metadata", "suffix", "key in suffix", "dropped"])
def test_thousands_of_schedules_keep_every_promise(carrier):
    schedules = 60_000 if carrier == "metadata" else 10_000
    findings = None
    for findings in simulate(schedules, jobs=2, carrier=carrier):
        again = f"python -m support.simulator --carrier '{carrier}' --replay SEED"
        assert findings.broken == {}, f"replay it: cd tests && {again}"
    assert findings is not None
    assert findings.schedules == schedules


# --- the command ---


def test_a_schedule_follows_from_its_seed_alone():
    """In another process too, where sets have another order."""
    outputs = [
        subprocess.run(
            [sys.executable, "-m", "support.simulator", "--replay", "17"],
            cwd=TESTS, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert outputs[0] == outputs[1]
    assert outputs[0].count("\n") > 40
    steps: list[str] = []
    play(17, steps.append)
    assert outputs[0].startswith("\n".join(steps))


def test_a_run_says_what_was_played(capsys):
    assert main(["--schedules", "20", "--seed", "5"]) == 0
    told = capsys.readouterr().out
    assert "creates sent" in told
    assert "20 schedules in" in told
    assert "0 broken" in told


def test_a_broken_promise_is_shown_with_its_seed_and_can_be_replayed(capsys, monkeypatch):
    monkeypatch.setattr(submit._Submission, "_cancel", _no_cancel)
    assert main(["--schedules", "60"]) == 1
    told = capsys.readouterr().out
    seed = int(told.rpartition("--replay ")[2])
    assert f"seed {seed}: Broken: " in told
    assert main(["--replay", str(seed)]) == 1
    assert "jobs live for one intent" in capsys.readouterr().out.splitlines()[-1]


# --- flows with one thing missing ---


def _blind_look(self) -> Flow[Any]:
    return submit.SubmitResult.NOTHING
    yield


def _no_cancel(self, rival: Job) -> Flow[Any]:
    return
    yield


def _no_sleep(seconds: float, **_: object) -> Flow[Any]:
    return
    yield


def _half_sleep(seconds: float, **_: object) -> Flow[Any]:
    yield from _sleep(seconds / 2)


_sleep = submit.sleep
_find = submit.find


def _find_or_nothing(account: Account, intent: Intent) -> Flow[Any]:
    try:
        return (yield from _find(account, intent))
    except LookupFailed:
        return []


def _find_on_one_page(account: Account, intent: Intent) -> Flow[Any]:
    pager = Pager(account, lambda after: calls.jobs.listing(metadata={intent.label: intent.value}, limit=100))
    try:
        page = yield from pager.next()
    except TunewayError as error:
        raise unreadable("it", error) from error
    return [job for job in page if (job.metadata or {}).get(intent.label) == intent.value]


def _find_believing_the_filter(account: Account, intent: Intent) -> Flow[Any]:
    pager = Pager(account, lambda after: calls.jobs.listing(metadata={intent.label: intent.value}, after=after))
    found: list[Job] = []
    while not pager.done:
        found += yield from pager.next()
    return found


def _settle_until_ours_shows(self) -> Flow[Any]:
    """A look right after the create, until the new job is on the list; not one when the window is over."""
    mine = self._accepted

    def look() -> Flow[Any]:
        shown = yield from self._find()
        return mine.id in shown if mine else bool(self.current)

    yield from settling(self.account, look)
    return submit.SubmitResult.SOMETHING if self.current else submit.SubmitResult.NOTHING


def _resolve_for_oneself(self) -> Flow[Any]:
    self._survivor = self._accepted or self.current[0]
    for rival in self.current:
        if rival.id != self.survivor.id and not rival.done and rival.metadata[KEY] == self.intent.key:
            yield from self._cancel(rival)
    return submit.SubmitResult.ONE


def _resolve_against_everybody(self) -> Flow[Any]:
    self._survivor, *rivals = self.current
    for rival in rivals:
        if not rival.done:
            yield from self._cancel(rival)
    return submit.SubmitResult.ONE


_create = calls.jobs.create


def _repeatable_create(body: dict[str, Any], **options: str) -> calls.Call[Job]:
    call = _create(body, **options)
    return replace(call, request=replace(call.request, repeatable=True))


def without_the_look_before_a_create(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(submit._Submission, "look", _blind_look)


def without_the_window(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(submit, "sleep", _no_sleep)


def with_half_the_window(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(submit, "sleep", _half_sleep)


def with_a_look_before_the_window_is_over(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(submit._Submission, "settle", _settle_until_ours_shows)


def adopting_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(submit.TRANSITIONS[submit.SubmitState.LOOK], submit.SubmitResult.ALIVE, submit.SubmitState.RESOLVE)


def never_cancelling_doubles(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(submit._Submission, "_cancel", _no_cancel)


def each_for_oneself(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(submit._Submission, "resolve", _resolve_for_oneself)


def cancelling_what_others_made(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(submit._Submission, "resolve", _resolve_against_everybody)


def taking_unreadable_for_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(submit, "find", _find_or_nothing)


def reading_one_page(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(submit, "find", _find_on_one_page)


def believing_the_filter(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(submit, "find", _find_believing_the_filter)


def repeating_creates_blindly(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(calls.jobs, "create", _repeatable_create)


def forgetting_whose_double_it_is(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Intent, "made", lambda self, job: False)


def overlooking_the_mark_in_the_suffix(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_marks, "_moved", lambda carrier, job: job)


def taking_any_mark_for_ours(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Intent, "suits", lambda self, job: bool(job.metadata))


def _nothing_recognised(*_: object, **__: object) -> Flow[Any]:
    return
    yield


def _none_known(*_: object, **__: object) -> Flow[Any]:
    return []
    yield


def never_recognising_a_job_without_marks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(submit, "recognised", _nothing_recognised)


def forgetting_its_jobs_without_marks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(submit, "known_unmarked", _none_known)


def recognising_jobs_of_any_age(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Memory, "lost_since", lambda self, key: 0.0 if key in self._lost else None)


def taking_failed_for_succeeded(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(wait.TRANSITIONS[wait.WaitState.WATCHING], wait.PollResult.FAILED, wait.WaitState.SUCCEEDED)


def taking_alive_for_cancelled(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(wait.TRANSITIONS[wait.WaitState.WATCHING], wait.PollResult.ALIVE, wait.WaitState.CANCELLED)


def losing_the_place_in_the_log(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WaitToken, "model_copy", lambda self, update: self)


def telling_an_old_view_of_the_log_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(watch, "_is_after_last_told", lambda event, token: True)


MUTANTS: list[tuple[Callable[[pytest.MonkeyPatch], None], dict[str, object], str]] = [
    (without_the_look_before_a_create, {}, "creates without having seen that there is nothing"),
    (without_the_window, SHARP, "2 jobs live for one intent"),
    (with_half_the_window, SHARP, "2 jobs live for one intent"),
    (with_a_look_before_the_window_is_over, SHARP, "2 jobs live for one intent"),
    (adopting_at_once, SHARP, "2 jobs live for one intent"),
    (never_cancelling_doubles, {}, "jobs live for one intent"),
    (each_for_oneself, {"fate": "succeeds"}, "no job lives, though nobody but clients ended any"),
    (cancelling_what_others_made, {}, "which was made for another intent"),
    (taking_unreadable_for_nothing, {"trouble_on_look": 0.8}, "without having seen that there is nothing|doesn't list"),
    (reading_one_page, {"page_cap": 2, "filters_metadata": False}, "for one intent|doesn't list|quiet submission"),
    (believing_the_filter, {"filters_metadata": False}, "which isn't what it asked for"),
    (repeating_creates_blindly, {}, "creates without having seen that there is nothing"),
    (forgetting_whose_double_it_is, {"fate": "succeeds"}, "jobs live for one intent|after a quiet submission"),
    (overlooking_the_mark_in_the_suffix, {"carrier": "suffix"}, "jobs live for one intent|doesn't list the job"),
    (taking_any_mark_for_ours, {"carrier": "key in suffix"}, "which isn't what it asked for"),
    (never_recognising_a_job_without_marks, {"carrier": "dropped"}, "jobs live for one intent"),
    (forgetting_its_jobs_without_marks, {"carrier": "dropped"}, "jobs live for one intent"),
    (recognising_jobs_of_any_age, {"carrier": "dropped"}, "which isn't what it asked for"),
    (taking_failed_for_succeeded, {"fate": "fails"}, "which is failed"),
    (taking_alive_for_cancelled, {}, "is cancelled; it is"),
    (losing_the_place_in_the_log, {"follows": True}, "twice"),
    (telling_an_old_view_of_the_log_again, {"follows": True, "lag": WINDOW, "trouble_on_look": 0.0}, "twice"),
]


@pytest.mark.parametrize(("mutate", "scenario", "told"), MUTANTS, ids=[mutant[0].__name__ for mutant in MUTANTS])
@pytest.mark.slow
def test_it_notices_a_flow(mutate, scenario, told, monkeypatch):
    mutate(monkeypatch)
    check_noticed(scenario, told, monkeypatch.undo)
