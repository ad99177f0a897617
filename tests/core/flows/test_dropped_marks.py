"""Services and gateways that drop the metadata of a job, where its marks are."""

from __future__ import annotations

from dataclasses import replace
from email.utils import formatdate

import pytest
from support.fake_service import FakeService, refuse
from support.stage import Stage
from support.virtual_driver import lost_after

from tuneway import JobSpec, flows, progress
from tuneway.calls import Response
from tuneway.errors import ConnectionLost, InvalidSpec, LookupFailed
from tuneway.flows import Account, Marks
from tuneway.flows._memory import MOST_REMEMBERED, Memory
from tuneway.models import DPO, Hyperparameters, Supervised

LIST = "GET /fine_tuning/jobs"
CREATE = "POST /fine_tuning/jobs"
LOST = ConnectionLost("gone")
START = 1_000_000


@pytest.fixture
def service(service: FakeService) -> FakeService:
    service.keeps_metadata = False
    service.add_file(filename="train.jsonl")
    return service


def spec(**fields) -> JobSpec:
    return JobSpec(**{"model": "base", "training_file": "file-1"} | fields)


def lose_the_create(stage: Stage, count: int = 1) -> None:
    """The creates never arrive."""
    stage.driver.trouble[CREATE] = [LOST] * count


def lose_the_reply(stage: Stage) -> None:
    stage.driver.trouble[CREATE] = [lost_after(LOST)]


def another_process(stage: Stage) -> None:
    stage.account = Account()


# --- the job of a lost create ---


def test_the_job_of_a_lost_reply_is_recognised_and_adopted(stage):
    lose_the_reply(stage)
    job = stage.submit()
    assert [made["id"] for made in stage.service.jobs] == [job.id]
    assert stage.trail == [LIST, CREATE, "sleep 10", LIST, LIST, "JobRecognised", "JobAdopted"]
    (news,) = stage.heard(progress.JobRecognised)
    assert str(news).startswith(f"{job.id} has no mark, but its files, settings and time are those")


def test_an_ordinary_look_is_always_filtered(stage):
    stage.submit()
    another_process(stage)
    stage.submit(key="another")
    looks = stage.service.requests("GET", ".*/jobs")
    assert len(looks) == 4
    assert all(any(name.startswith("metadata[") for name, _ in request.query) for request in looks)


def test_after_a_lost_reply_one_page_is_read_without_a_filter(stage):
    for _ in range(150):
        stage.service.add_job(created_at=1)
    lose_the_create(stage)
    stage.submit()
    looks = [dict(request.query) for request in stage.service.requests("GET", ".*/jobs")]
    assert [look for look in looks if look.keys() == {"limit"}] == [{"limit": "100"}]


def test_a_service_that_has_shown_a_mark_is_not_asked_for_jobs_without(stage):
    stage.service.keeps_metadata = True
    stage.submit()
    stage.service.add_job(training_file="file-1", metadata=None)
    lose_the_create(stage)
    job = stage.submit(key="another")
    assert job.id == "ftjob-3"


JUST_THEN = {"training_file": "file-1", "created_at": START + 5, "metadata": None}


@pytest.mark.parametrize(
    "other",
    [
        {"created_at": START - 121},
        {"created_at": None},
        {"training_file": "file-2"},
        {"training_file": None},
        {"validation_file": "file-2"},
        {"model": "another"},
        {"model": "base-mini"},
        {"model": "base-mini-2024-07-18"},
        {"model": None},
        {"seed": 8},
        {"suffix": "another"},
        {"user_provided_suffix": "another"},
        {"method": {"type": "dpo"}},
        {"hyperparameters": {"n_epochs": 4}},
        {"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 4}}}},
        {"metadata": {"tuneway_key": "f" * 32}},
        {"metadata": {"tuneway_content": "f" * 32}},
    ],
    ids=str,
)
def test_a_job_that_may_be_another_is_not_taken_for_it(stage, other):
    method = Supervised(hyperparameters=Hyperparameters(n_epochs=3))
    stage.service.add_job(**JUST_THEN | other)
    lose_the_create(stage)
    job = stage.submit(spec=spec(seed=7, suffix="mine", method=method))
    assert job.id == "ftjob-2"
    assert stage.heard(progress.JobRecognised) == []


@pytest.mark.parametrize(
    "shown",
    [
        {},
        {"created_at": START - 119},
        {"model": "base-2024-07-18"},
        {"seed": 7, "suffix": "mine"},
        {"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3, "batch_size": 8}}}},
        {"hyperparameters": {"n_epochs": 3, "batch_size": 8}},
        {"metadata": {"team": "search"}},
    ],
    ids=str,
)
def test_what_a_service_does_not_show_is_no_difference(stage, shown):
    method = Supervised(hyperparameters=Hyperparameters(n_epochs=3, batch_size="auto"))
    stage.service.add_job(**JUST_THEN | shown)
    lose_the_create(stage)
    assert stage.submit(spec=spec(seed=7, suffix="mine", method=method)).id == "ftjob-1"


@pytest.mark.parametrize("other", [{"suffix": "f" * 32}, {"method": {"type": "dpo"}}], ids=str)
def test_what_was_not_asked_for_is_a_difference(stage, other):
    """A suffix may be the mark of another process, and a create without a method asks for a supervised training."""
    stage.service.add_job(**JUST_THEN | other)
    lose_the_create(stage)
    assert stage.submit().id == "ftjob-2"


def test_the_validation_file_has_to_be_the_same_as_well(stage):
    stage.service.add_job(**JUST_THEN)
    right = stage.service.add_job(**JUST_THEN | {"validation_file": "file-2", "method": {"type": "dpo"}})
    lose_the_create(stage)
    assert stage.submit(spec=spec(validation_file="file-2", method=DPO())).id == right["id"]


def test_settings_in_the_deprecated_field_are_compared(stage):
    stage.service.add_job(**JUST_THEN | {"hyperparameters": {"n_epochs": 4}})
    right = stage.service.add_job(**JUST_THEN | {"hyperparameters": {"n_epochs": 3}})
    lose_the_create(stage)
    assert stage.submit(spec=spec(hyperparameters={"n_epochs": 3})).id == right["id"]


def test_of_several_the_oldest_is_adopted_and_none_is_cancelled(stage):
    """The others may be somebody else's."""
    stage.service.add_job(id="ftjob-young", **JUST_THEN | {"created_at": START + 7})
    stage.service.add_job(id="ftjob-old", **JUST_THEN)
    lose_the_create(stage)
    assert stage.submit().id == "ftjob-old"
    assert len(stage.service.alive) == 2


@pytest.mark.parametrize(("ahead", "created_at", "recognised"), [(3600, START + 3601, True), (3600, START, False)])
def test_the_services_own_clock_counts(stage, ahead, created_at, recognised):
    honest = stage.service.handle

    def dated(request):
        answer = honest(request)
        return Response(answer.status, answer.headers | {"date": formatdate(stage.driver.now + ahead)}, answer.content)

    stage.service.handle = dated
    stage.service.add_job(**JUST_THEN | {"created_at": created_at})
    lose_the_create(stage)
    assert (stage.submit().id == "ftjob-1") is recognised


def test_a_date_that_cannot_be_read_is_none(stage):
    honest = stage.service.handle
    stage.service.handle = lambda request: replace(honest(request), headers={"date": "yesterday"})
    lose_the_reply(stage)
    assert stage.submit().id == "ftjob-1"
    assert len(stage.service.jobs) == 1


def test_a_page_that_cannot_be_read_ends_the_submission_before_a_second_create(stage):
    lose_the_reply(stage)
    stage.driver.trouble[LIST] = [None, None, refuse(403, "no")]
    with pytest.raises(LookupFailed, match="whether the lost create has made a job"):
        stage.submit()
    assert len(stage.service.jobs) == 1
    assert stage.submit().id == "ftjob-1"  # the create isn't forgotten in this process


def test_a_lost_create_of_an_earlier_submission_is_looked_for_by_the_next_in_this_process(stage):
    lose_the_reply(stage)
    stage.driver.trouble[LIST] = [None, refuse(403, "no")]
    with pytest.raises(LookupFailed):
        stage.submit()
    assert stage.submit().id == "ftjob-1"
    assert len(stage.service.jobs) == 1


def test_a_lost_create_that_shows_beside_an_accepted_one_is_kept_and_ours_is_cancelled(stage):
    """The first submission's create arrives only when the second has created its job."""

    def arrives_later(request, exchange):
        stage.driver.at[stage.driver.now + 15] = lambda: exchange(request)
        raise LOST

    stage.driver.trouble[CREATE] = [arrives_later]
    stage.driver.trouble[LIST] = [None, refuse(403, "no")]
    with pytest.raises(LookupFailed):
        stage.submit()
    assert stage.submit().id == "ftjob-2"
    assert [job["id"] for job in stage.service.alive] == ["ftjob-2"]


def test_a_recognised_job_that_has_ended_since_is_the_result_of_the_create(stage):
    lose_the_reply(stage)
    stage.driver.at[stage.driver.now + 5] = lambda: stage.service.finish("ftjob-1", "failed")
    job = stage.submit()
    assert (job.id, job.status) == ("ftjob-1", "failed")


def test_after_a_failed_job_without_a_mark_a_lost_create_is_not_taken_for_it(stage):
    first = stage.submit()
    stage.service.finish(first.id, "failed")
    lose_the_reply(stage)
    second = stage.submit()
    assert second.id == "ftjob-2"
    assert [job["id"] for job in stage.service.jobs] == [first.id, second.id]


def test_a_job_that_this_process_made_for_another_key_is_not_adopted(stage):
    monday = stage.submit(key="monday")
    stage.account.memory.drops_suffix = True
    lose_the_create(stage)
    assert stage.submit(key="tuesday").id != monday.id


def test_a_recognised_job_is_not_cancelled_by_the_mark(stage):
    """It may be somebody else's."""
    lose_the_reply(stage)
    stage.submit()
    (planned,) = stage.heard(progress.CreatePlanned)
    assert stage.driver.run(flows.cancel_marked(stage.account, planned.mark)) == []
    assert len(stage.service.alive) == 1


# --- jobs of this process ---


def test_two_submissions_of_one_process_that_race_leave_one_job(stage):
    def another_is_faster(request, exchange):
        stage.submit()
        return exchange(request)

    stage.driver.trouble[CREATE] = [another_is_faster]
    assert stage.submit().id == "ftjob-1"
    assert [job["id"] for job in stage.service.alive] == ["ftjob-1"]


def test_a_job_without_a_mark_is_adopted_again_by_the_process_that_made_it(stage):
    first = stage.submit()
    assert stage.submit().id == first.id
    assert len(stage.service.jobs) == 1


def test_a_job_without_a_mark_is_known_also_if_the_list_could_not_be_read_after_its_create(stage):
    stage.driver.trouble[LIST] = [None, refuse(403, "no")]
    with pytest.raises(LookupFailed) as caught:
        stage.submit()
    assert stage.submit().id == caught.value.job_id
    assert len(stage.service.jobs) == 1


def test_each_new_attempt_has_a_generation_of_its_own(stage):
    for _ in range(3):
        stage.service.finish(stage.submit().id, "failed")
    stage.submit()
    sent = [request.headers["idempotency-key"][-2:] for request in stage.service.requests("POST", ".*/jobs")]
    assert sorted(sent) == ["-0", "-1", "-2", "-3"]


def test_a_job_without_a_mark_that_was_deleted_makes_room_for_a_new_one(stage):
    stage.submit()
    stage.service.jobs.clear()
    stage.submit()
    assert len(stage.service.jobs) == 1


def test_a_job_without_a_mark_that_cannot_be_read_ends_the_submission(stage):
    first = stage.submit()
    stage.driver.trouble[f"{LIST}/{first.id}"] = [refuse(403, "no")]
    with pytest.raises(LookupFailed, match=f"what became of {first.id}"):
        stage.submit()
    assert len(stage.service.jobs) == 1


def test_a_job_without_a_mark_is_cancelled_by_the_mark_in_the_process_that_made_it(stage):
    first = stage.submit()
    (planned,) = stage.heard(progress.CreatePlanned)
    gone = stage.driver.run(flows.cancel_marked(stage.account, planned.mark))
    assert [(job.id, job.status) for job in gone] == [(first.id, "cancelled")]


def test_little_is_remembered():
    memory = Memory()
    for number in range(MOST_REMEMBERED + 1):
        memory.lose(f"key {number}", 1.0)
        memory.note_unmarked(f"key {number}", "ftjob-1", created=True)
    assert memory.lost_since("key 0") is None
    assert memory.unmarked("key 0") == []
    assert memory.lost_since(f"key {MOST_REMEMBERED}") is not None
    assert memory.unmarked(f"key {MOST_REMEMBERED}") == ["ftjob-1"]


# --- from then on, the suffix ---


def test_after_a_create_whose_reply_has_no_marks_the_suffix_has_them(stage):
    stage.submit()
    (news,) = stage.heard(progress.KeyNotKept)
    assert 'set service_options={"mark": "suffix"}' in str(news)
    assert "From now on this client" in str(news)
    second = stage.submit(key="another", spec=spec(suffix="release"))
    assert stage.service.jobs[1]["suffix"].startswith("release-")
    assert second.suffix == "release"
    stage.account = replace(stage.account, memory=Memory(), carrier=flows.Suffix())
    assert stage.submit(key="another", spec=spec(suffix="release")).id == second.id
    assert len(stage.heard(progress.KeyNotKept)) == 1


def test_a_long_suffix_is_refused_from_then_on(stage):
    stage.submit(spec=spec(suffix="x" * 64))
    with pytest.raises(InvalidSpec, match="64 characters leave no room"):
        stage.submit(key="another", spec=spec(suffix="x" * 64))
    assert len(stage.service.jobs) == 1


def test_who_insists_on_metadata_keeps_it_and_is_told_what_to_set(stage):
    stage.account = Account(carrier=Marks(only=True))
    stage.submit()
    (news,) = stage.heard(progress.KeyNotKept)
    assert 'set service_options={"mark": "suffix"}' in str(news)
    assert "From now on" not in str(news)
    stage.submit(key="another")
    assert "suffix" not in stage.service.jobs[1]


def test_a_service_that_does_not_show_the_users_suffix_is_not_sent_the_mark_there(stage):
    def shows_none(request, exchange):
        exchange(request)
        stage.service.jobs[-1].pop("suffix")
        return stage.service.handle(replace(request, method="GET", path="/fine_tuning/jobs/ftjob-1"))

    stage.driver.trouble[CREATE] = [shows_none]
    stage.submit(spec=spec(suffix="release"))
    (news,) = stage.heard(progress.KeyNotKept)
    assert "doesn't show the suffix of a job either" in str(news)
    stage.submit(key="another", spec=spec(suffix="release"))
    assert stage.service.jobs[1]["suffix"] == "release"


def test_a_list_that_shows_less_than_the_reply_did_changes_nothing(stage):
    stage.service.keeps_metadata = True
    stage.service.visible = lambda job: False
    stage.submit()
    (news,) = stage.heard(progress.KeyNotKept)
    assert "service_options" not in str(news)
    assert not stage.account.memory.drops_metadata
