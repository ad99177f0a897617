"""One job per intent where the client chooses the names: what goes wrong, and what others do meanwhile."""

from __future__ import annotations

import re
from typing import Any

import pytest
from support.fake_service import refuse
from support.named_service import CANCELLING
from support.stage import name_of
from support.virtual_driver import Crashed, lost_after

from tuneway import DPO, JobSpec, Supervised, progress
from tuneway.errors import ConnectionLost, Forbidden, LookupFailed, ServerError
from tuneway.flows import CONTENT, KEY, ORIGIN, cancel_made_by, cancel_marked, made_by, marks_in_name
from tuneway.requester import Requester

LIST = "GET /fine_tuning/jobs"
CREATE = "POST /fine_tuning/jobs"
NIGHTLY = Requester(key="nightly")


# --- names ---


def test_a_name_is_what_fireworks_takes_and_says_who_asked_and_for_what(named_stage):
    job = named_stage.submit()
    assert re.fullmatch(r"[a-z][a-z0-9-]{0,62}", name_of(99))
    assert marks_in_name(job.id) == {KEY: job.metadata[KEY][:24], CONTENT: job.metadata[CONTENT]}
    assert made_by(job, NIGHTLY)
    assert not made_by(job, Requester(key="weekly"))


@pytest.mark.parametrize("name", ["ftjob-1", "tw-1", "my-tw-" + "a" * 24 + "-" + "b" * 32 + "-0"])
def test_a_name_of_somebody_else_says_nothing(name):
    assert marks_in_name(name) == {}


def test_each_kind_of_job_has_names_of_its_own(named_stage):
    spec = JobSpec(model="base", training_file="file-1", method=DPO())
    job = named_stage.submit(spec=spec)
    assert job.id.startswith("dpoJobs/tw-")
    assert marks_in_name(job.id)
    assert named_stage.submit(spec=spec).id == job.id
    assert named_stage.submit(spec=JobSpec(model="base", training_file="file-1", method=Supervised())).id[:3] == "tw-"


def test_another_key_gets_a_job_of_its_own(named_stage):
    assert named_stage.submit(key="monday").id != named_stage.submit(key="tuesday").id


def test_a_service_that_chooses_another_name_is_told_of(named_stage):
    named_stage.driver.trouble[CREATE] = [lambda request, _: named_stage.service.handle(_unnamed(request))]
    job = named_stage.submit()
    assert [news.job.id for news in named_stage.heard(progress.KeyNotKept)] == [job.id]


def _unnamed(request: Any) -> Any:
    from dataclasses import replace

    return replace(request, name="ftjob-theirs")


# --- generations ---


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_dead_job_makes_room_for_the_next_generation(status, named_stage):
    for number in range(12):
        job = named_stage.submit()
        assert job.id == name_of(number)
        named_stage.service.finish(job.id, status)


def test_deleted_generations_below_a_dead_one_are_not_used_again(named_stage):
    for number in range(3):
        named_stage.service.add_job(id=name_of(number), status="failed")
    named_stage.service.delete(name_of(0))
    named_stage.service.delete(name_of(1))
    assert named_stage.submit().id == name_of(3)


def test_deleted_generations_below_a_live_one_are_not_used_again(named_stage):
    named_stage.service.add_job(id=name_of(2))
    assert named_stage.submit().id == name_of(2)


@pytest.mark.parametrize("hidden", [0, 1, 2])
def test_a_job_that_the_list_does_not_show_yet_is_found_by_its_name(hidden, named_stage):
    """The generations before it were deleted, so neither list nor gap tells of it."""
    named_stage.service.add_job(id=name_of(hidden))
    named_stage.service.visible = lambda job: False
    assert named_stage.submit().id == name_of(hidden)
    assert len(named_stage.service.jobs) == 1


def test_a_job_that_is_deleted_after_it_was_listed_stays_counted(named_stage):
    named_stage.service.add_job(id=name_of(0), status="failed")

    def deleted(request: Any, exchange: Any) -> Any:
        named_stage.service.delete(name_of(0))
        return exchange(request)

    named_stage.driver.trouble[f"{LIST}/{name_of(0)}"] = [deleted]
    assert named_stage.submit().id == name_of(1)


def test_a_generation_that_another_process_makes_meanwhile_is_adopted(named_stage):
    named_stage.service.add_job(id=name_of(0), status="failed")

    def another_is_faster(request: Any, exchange: Any) -> Any:
        named_stage.service.add_job(id=name_of(1))
        return exchange(request)

    named_stage.driver.trouble[CREATE] = [another_is_faster]
    assert named_stage.submit().id == name_of(1)
    assert [job["id"] for job in named_stage.service.alive] == [name_of(1)]


def test_a_job_that_dies_while_its_reply_is_lost_is_the_job_of_this_try(named_stage):
    """It isn't made again: what failed at once would fail, and cost, again."""

    def fails_at_once(request: Any, exchange: Any) -> Any:
        exchange(request)
        named_stage.service.finish(name_of(0), "failed")
        raise ConnectionLost("gone")

    named_stage.driver.trouble[CREATE] = [fails_at_once]
    assert named_stage.submit().status == "failed"
    assert len(named_stage.service.jobs) == 1


def test_a_create_that_arrives_after_its_repetition_changes_nothing(named_stage):
    late: list[Any] = []

    def lost_on_the_way(request: Any, exchange: Any) -> Any:
        late.append(lambda: exchange(request))
        raise ConnectionLost("gone")

    named_stage.driver.trouble[CREATE] = [lost_on_the_way]
    job = named_stage.submit()
    assert late.pop()().status == 409
    assert [made["id"] for made in named_stage.service.jobs] == [job.id]


def test_a_crash_at_any_effect_leaves_one_job(named_stage):
    for effect in range(1, 100):
        try:
            named_stage.submit(key=f"task {effect}", dies_at=effect)
        except Crashed:
            survivor = named_stage.submit(key=f"task {effect}")
            mine = [job for job in named_stage.service.alive if job["metadata"][KEY] == survivor.metadata[KEY][:24]]
            assert [job["id"] for job in mine] == [survivor.id]
        else:
            assert effect > 10  # all effects were tried
            return
    pytest.fail("the flow never came to its end")


# --- the same content ---


def test_the_same_content_is_found_whoever_made_it(named_stage):
    first = named_stage.submit(key="monday")
    assert named_stage.submit(key="tuesday", reuse="content").id == first.id
    assert not made_by(first, Requester(key="tuesday"))


def test_content_is_shared_by_whoever_asks_for_it(named_stage):
    first = named_stage.submit(key=None)
    assert named_stage.submit(key="monday", reuse="content").id == first.id
    assert named_stage.submit(key="monday").id != first.id


def test_a_job_of_ones_own_comes_before_an_older_one_of_somebody_else(named_stage):
    """Somebody waits for each of them, so none is cancelled."""
    own = named_stage.submit(reuse="content")
    other = named_stage.submit(key="monday")
    named_stage.service.job(other.id)["created_at"] = 1
    assert named_stage.submit(key="tuesday", reuse="content").id == own.id
    assert len(named_stage.service.alive) == 2


def test_of_several_with_the_same_content_the_oldest_is_adopted_and_none_is_cancelled(named_stage):
    jobs = [named_stage.submit(key=day).id for day in ("monday", "tuesday", "wednesday")]
    for age, job_id in enumerate(jobs):
        named_stage.service.job(job_id)["created_at"] = -age
    assert named_stage.submit(key="friday", reuse="content").id == jobs[-1]
    assert len(named_stage.service.alive) == 3


@pytest.mark.parametrize("status", ["failed", CANCELLING])
def test_content_that_is_dead_or_dying_elsewhere_is_made_anew(status, named_stage):
    first = named_stage.submit(key="monday")
    named_stage.service.job(first.id)["status"] = status
    assert named_stage.submit(key="tuesday", reuse="content").id == name_of(0, reuse="content")


@pytest.mark.parametrize("end", ["deleted", CANCELLING])
def test_content_that_ends_after_it_was_listed_is_made_anew(end, named_stage):
    first = named_stage.submit(key="monday")

    def ends(request: Any, exchange: Any) -> Any:
        if end == "deleted":
            named_stage.service.delete(first.id)
        else:
            named_stage.service.job(first.id)["status"] = end
        return exchange(request)

    named_stage.driver.trouble[f"{LIST}/{first.id}"] = [ends]
    assert named_stage.submit(key="tuesday", reuse="content").id == name_of(0, reuse="content")


def test_nothing_is_reused_when_that_is_asked_for(named_stage):
    first = named_stage.submit(reuse="never", nonce="1")
    assert named_stage.submit(reuse="never", nonce="2").id != first.id
    assert named_stage.submit(reuse="never", nonce="1").id == first.id


# --- cancelled meanwhile ---


def test_a_job_that_is_being_cancelled_ends_before_the_next_one_is_created(named_stage):
    named_stage.service.add_job(id=name_of(0), status=CANCELLING)
    named_stage.driver.at[named_stage.driver.now + 4] = lambda: named_stage.service.finish(name_of(0), "cancelled")
    assert named_stage.submit().id == name_of(1)
    assert sum(named_stage.driver.slept) >= 4


def test_a_job_that_is_deleted_while_it_is_being_cancelled_stays_counted(named_stage):
    named_stage.service.add_job(id=name_of(0), status=CANCELLING)
    named_stage.service.visible = lambda job: False
    named_stage.driver.at[named_stage.driver.now + 4] = lambda: named_stage.service.delete(name_of(0))
    assert named_stage.submit().id == name_of(1)


def test_nothing_is_created_beside_a_job_that_is_being_cancelled_for_ever(named_stage):
    named_stage.service.add_job(id=name_of(0), status=CANCELLING)
    with pytest.raises(LookupFailed, match="still being cancelled") as caught:
        named_stage.submit()
    assert caught.value.retryable
    assert len(named_stage.service.jobs) == 1


@pytest.mark.parametrize("by", [NIGHTLY, NIGHTLY.origin], ids=["requester", "origin"])
def test_a_cancel_finds_a_job_that_is_created_while_it_looks(by, named_stage):
    late: list[Any] = []

    def dies_with_the_create_on_its_way(request: Any, exchange: Any) -> Any:
        late.append(lambda: exchange(request))
        raise Crashed

    named_stage.driver.trouble[CREATE] = [dies_with_the_create_on_its_way]
    with pytest.raises(Crashed):
        named_stage.submit()
    other = named_stage.submit(key="weekly")
    named_stage.driver.at[named_stage.driver.now + 9] = late.pop()
    cancelled = named_stage.driver.run(cancel_made_by(named_stage.account, by))
    assert [job.id for job in cancelled] == [name_of(0)]
    assert [job["id"] for job in named_stage.service.alive] == [other.id]


@pytest.mark.parametrize("method", [None, DPO()])
def test_a_mark_that_was_told_before_the_create_cancels_the_job(method, named_stage):
    job = named_stage.submit(spec=JobSpec(model="base", training_file="file-1", method=method))
    other = named_stage.submit(key="weekly")
    (planned, _) = named_stage.heard(progress.CreatePlanned)
    assert made_by(job, Requester(), mark=planned.mark)
    cancelled = named_stage.driver.run(cancel_marked(named_stage.account, planned.mark))
    assert [gone.id for gone in cancelled] == [job.id]
    assert [alive["id"] for alive in named_stage.service.alive] == [other.id]


def test_news_of_a_job_have_its_whole_marks(named_stage):
    made = named_stage.submit()
    named_stage.submit()
    (created,), (adopted,) = named_stage.heard(progress.JobCreated), named_stage.heard(progress.JobAdopted)
    assert created.job.metadata[KEY] == adopted.job.metadata[KEY] == made.metadata[KEY]
    assert len(made.metadata[KEY]) == 32


@pytest.mark.parametrize("length", [63, 64, 500])
def test_a_cancel_finds_a_long_origin_too(length, named_stage):
    mark = "m" * length
    job = named_stage.submit(key=None, mark=mark)
    assert len(job.metadata[ORIGIN]) <= 63
    assert made_by(job, Requester(mark=mark))
    assert named_stage.driver.run(cancel_made_by(named_stage.account, mark[:-1] + "x")) == []
    assert [gone.id for gone in named_stage.driver.run(cancel_made_by(named_stage.account, mark))] == [job.id]


# --- two, because a dead generation was deleted while the next was created ---


def two_run(stage: Any, **younger: Any) -> None:
    stage.service.add_job(id=name_of(0), created_at=2, **younger)
    stage.service.add_job(id=name_of(1), created_at=1)


def test_of_two_the_older_is_kept(named_stage):
    two_run(named_stage)
    assert named_stage.submit().id == name_of(1)
    assert [job["id"] for job in named_stage.service.alive] == [name_of(1)]
    assert [news.job_id for news in named_stage.heard(progress.RivalCancelled)] == [name_of(0)]


def test_of_two_one_that_succeeds_while_it_is_cancelled_is_kept(named_stage):
    two_run(named_stage)

    def ends_first(request: Any, exchange: Any) -> Any:
        named_stage.service.finish(name_of(0), "succeeded")
        return exchange(request)

    named_stage.driver.trouble[f"POST /fine_tuning/jobs/{name_of(0)}/cancel"] = [ends_first]
    assert named_stage.submit().id == name_of(0)
    assert [job["id"] for job in named_stage.service.alive] == [name_of(0)]


def test_a_second_one_shows_right_after_the_create(named_stage):
    """The other process saw generation 0 dead; then it was deleted, so this one creates it anew."""

    def the_other_creates_the_next(request: Any, exchange: Any) -> Any:
        named_stage.service.add_job(id=name_of(1), created_at=1)
        return exchange(request)

    named_stage.driver.trouble[CREATE] = [the_other_creates_the_next]
    assert named_stage.submit().id == name_of(1)
    assert [job["id"] for job in named_stage.service.alive] == [name_of(1)]


def test_a_younger_one_is_kept_when_the_older_has_died_before_it(named_stage):
    """The reply to the create of generation 0 comes so late that it has died, and generation 1 was created."""

    def meanwhile(request: Any, exchange: Any) -> Any:
        named_stage.service.finish(name_of(0), "cancelled")
        named_stage.service.add_job(id=name_of(1))
        return exchange(request)

    named_stage.driver.trouble[f"{LIST}/{name_of(1)}"] = [None, meanwhile]
    assert named_stage.submit().id == name_of(1)
    assert [job["id"] for job in named_stage.service.alive] == [name_of(1)]
    assert named_stage.heard(progress.RivalCancelled) == []


def test_two_that_are_deleted_while_they_are_read_are_worth_another_try(named_stage):
    two_run(named_stage)

    def deleted(request: Any, exchange: Any) -> Any:
        named_stage.service.jobs.clear()
        return exchange(request)

    named_stage.driver.trouble[f"{LIST}/{name_of(1)}"] = [None, deleted]
    with pytest.raises(LookupFailed, match="were deleted") as caught:
        named_stage.submit()
    assert caught.value.retryable


@pytest.mark.parametrize("reply", [refuse(404, "gone"), refuse(403, "not yours"), refuse(503, "in trouble")])
def test_a_second_one_that_cannot_be_cancelled_is_told(reply, named_stage):
    two_run(named_stage)
    named_stage.driver.trouble[f"POST /fine_tuning/jobs/{name_of(0)}/cancel"] = [reply] * 3
    if reply.status == 503:
        with pytest.raises(ServerError):
            named_stage.submit()
    else:
        assert named_stage.submit().id == name_of(1)
        left = [type(news.error) for news in named_stage.heard(progress.RivalLeft)]
        assert left == [Forbidden] * (reply.status == 403)


# --- long lists ---


def test_a_long_list_is_read_to_its_end(named_stage):
    named_stage.service.page_cap = 2
    named_stage.service.add_job(id=name_of(7))
    for number in range(9):
        named_stage.service.add_job(id=name_of(0, key=f"other {number}"))
    assert named_stage.submit().id == name_of(7)


def test_a_list_that_is_too_long_creates_nothing(named_stage):
    from dataclasses import replace

    named_stage.service.page_cap = 1
    named_stage.account = replace(named_stage.account, lookup_pages=2)
    for number in range(9):
        named_stage.service.add_job(id=name_of(0, key=f"other {number}"))
    with pytest.raises(LookupFailed, match="more than 2 pages"):
        named_stage.submit()


def test_a_list_without_end_creates_nothing(named_stage):
    from support.fake_service import reply

    named_stage.driver.trouble[LIST] = [reply({"data": [], "has_more": True})]
    with pytest.raises(LookupFailed, match="doesn't list them"):
        named_stage.submit()
    assert named_stage.service.jobs == []


# --- the origin ---


def test_a_lost_reply_keeps_the_origin(named_stage):
    named_stage.driver.trouble[CREATE] = [lost_after(ConnectionLost("gone"))]
    assert named_stage.submit().metadata[ORIGIN] == NIGHTLY.origin
