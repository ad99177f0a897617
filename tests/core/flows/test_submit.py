"""One job per intent: what `submit` does when things go wrong."""

from __future__ import annotations

import pytest
from support.fake_service import refuse, reply
from support.virtual_driver import Crashed, answered_after, lost_after

from tuneway import JobSpec, calls, progress
from tuneway.calls import Response
from tuneway.errors import (
    BadRequest,
    ConnectionFailed,
    ConnectionLost,
    Forbidden,
    InvalidSpec,
    LookupFailed,
    QuotaExhausted,
    RateLimited,
    RequestTimeout,
    ServerError,
    SubmitUncertain,
    TrainingNotAvailable,
)
from tuneway.flows import CONTENT, KEY, ORIGIN, Account

LIST = "GET /fine_tuning/jobs"
CREATE = "POST /fine_tuning/jobs"


# --- finding again ---


def test_a_retried_task_adopts_its_job(stage):
    first = stage.submit()
    assert stage.submit().id == first.id
    assert len(stage.service.jobs) == 1
    assert [str(news) for news in stage.heard(progress.JobAdopted)] == [
        f"adopted {first.id} (validating_files), which does the same work: no new job is paid"
    ]


def test_another_key_gets_a_job_of_its_own(stage):
    assert stage.submit(key="monday").id != stage.submit(key="tuesday").id


def test_the_same_content_is_found_whoever_made_it(stage):
    first = stage.submit(key="monday")
    assert stage.submit(key="tuesday", reuse="content").id == first.id


def test_without_a_key_the_content_decides(stage):
    assert stage.submit(key=None).id == stage.submit(key=None).id


def test_nothing_is_reused_when_that_is_asked_for(stage):
    first = stage.submit(reuse="never", nonce="1")
    assert stage.submit(reuse="never", nonce="2").id != first.id


@pytest.mark.parametrize("status", ["failed", "cancelled", "canceled"])
def test_a_dead_job_makes_room_for_a_new_attempt(stage, status):
    first = stage.submit()
    stage.service.finish(first.id, status)
    second = stage.submit()
    assert second.id != first.id
    generations = [request.headers["idempotency-key"][-2:] for request in stage.service.requests("POST", ".*/jobs")]
    assert generations == ["-0", "-1"]


@pytest.mark.parametrize("status", ["queued", "paused", "notRunning", "a word of tomorrow"])
def test_whatever_has_not_ended_is_adopted(stage, status):
    first = stage.submit()
    stage.service.job(first.id)["status"] = status
    assert stage.submit().id == first.id


def test_a_crash_at_any_effect_leaves_one_job(stage):
    for effect in range(1, 100):
        try:
            stage.submit(key=f"task {effect}", dies_at=effect)
        except Crashed:
            survivor = stage.submit(key=f"task {effect}")
            mine = [job for job in stage.service.alive if job["metadata"][KEY] == survivor.metadata[KEY]]
            assert [job["id"] for job in mine] == [survivor.id]
        else:
            assert effect > 10  # all effects were tried
            return
    pytest.fail("the flow never came to its end")


def test_a_service_that_ignores_the_filter_is_not_believed(stage):
    stage.service.filters_metadata = False
    stage.service.add_job(metadata={"somebody": "else's"})
    stage.service.add_job(metadata=None)
    first = stage.submit()
    assert first.id == "ftjob-3"
    assert stage.submit().id == first.id


# --- creating ---


def test_the_users_metadata_travels_beside_ours(stage):
    spec = JobSpec(model="base", training_file="file-1", metadata={"team": "search"})
    job = stage.submit(spec=spec, mark="airflow nightly.train")
    assert job.metadata.keys() == {"team", KEY, CONTENT, ORIGIN}
    assert job.metadata["team"] == "search"
    assert job.metadata[ORIGIN] == "airflow nightly.train"


@pytest.mark.parametrize(("keep_origin", "room"), [(False, 14), (True, 13)])
def test_metadata_that_leaves_no_room_for_ours_is_refused_before_anything_is_sent(stage, keep_origin, room):
    def fill(pairs):
        own = {f"own {number}": "x" for number in range(pairs)}
        return JobSpec(model="base", training_file="file-1", metadata=own)

    with pytest.raises(InvalidSpec, match=f"at most {room}"):
        stage.submit(spec=fill(room + 1), keep_origin=keep_origin)
    assert not stage.trail
    job = stage.submit(spec=fill(room), mark="nightly", keep_origin=keep_origin)
    assert (job.metadata.get(ORIGIN) == "nightly") is keep_origin


@pytest.mark.parametrize(
    "refusals",
    [[refuse(429, "slow down")] * 3, [ConnectionFailed("nobody there")] * 3],
    ids=["refused for speed", "never connected"],
)
def test_a_create_that_was_surely_not_processed_is_sent_again(stage, refusals):
    stage.driver.trouble[CREATE] = list(refusals)
    job = stage.submit()
    assert stage.trail.count(CREATE) == 4
    assert [made["id"] for made in stage.service.jobs] == [job.id]


def test_a_create_that_is_refused_for_speed_for_long_ends_as_such(stage):
    stage.driver.trouble[CREATE] = [refuse(429, "slow down")] * 99
    with pytest.raises(RateLimited):
        stage.submit()
    assert stage.trail.count(CREATE) == stage.account.retry.attempts
    assert stage.trail.count(LIST) == 1


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (refuse(400, "bad model"), BadRequest),
        (refuse(403, "closed", code="training_not_available"), TrainingNotAvailable),
        (refuse(429, "pay", code="insufficient_quota"), QuotaExhausted),
        (refuse(429, "tomorrow", code="daily_rate_limit_exceeded"), QuotaExhausted),
    ],
)
def test_a_clear_refusal_is_raised_at_once(stage, refusal, error):
    stage.driver.trouble[CREATE] = [refusal]
    with pytest.raises(error) as caught:
        stage.submit()
    assert not caught.value.retryable
    assert stage.trail.count(CREATE) == 1
    assert stage.driver.slept == []


@pytest.mark.parametrize(
    "fault",
    [
        ConnectionLost("gone"),
        RequestTimeout("too slow"),
        refuse(500, "oh"),
        Response(200, {}, b'{"id": "ftjob-'),
        Response(200, {}, b"<html>"),
        Response(302, {"location": "/login"}, b""),
    ],
)
def test_a_create_that_left_no_trace_is_sent_again_only_after_the_window(stage, fault):
    stage.driver.trouble[CREATE] = [fault]
    job = stage.submit()
    assert stage.trail == [LIST, CREATE, "sleep 10", LIST, LIST, CREATE, "JobCreated", "sleep 10", LIST]
    assert [made["id"] for made in stage.service.jobs] == [job.id]


def test_after_three_creates_without_a_trace_it_says_so(stage):
    stage.driver.trouble[CREATE] = [ConnectionLost("gone")] * 9
    with pytest.raises(
        SubmitUncertain, match="a create was sent 3 times, and no job was listed within 10 s: gone"
    ) as caught:
        stage.submit()
    assert caught.value.retryable
    assert stage.trail.count(CREATE) == 3


def test_a_new_job_that_has_failed_since_is_the_result_of_the_create(stage):
    stage.driver.trouble[CREATE] = [lost_after(ConnectionLost("gone"))]
    stage.driver.at[stage.driver.now + 5] = lambda: stage.service.finish("ftjob-1", "failed")
    job = stage.submit()
    assert (job.id, job.status) == ("ftjob-1", "failed")
    assert len(stage.service.jobs) == 1


def test_a_create_that_commits_late_but_within_the_window_is_adopted(stage):
    def commits_later(request, exchange):
        stage.driver.at[stage.driver.now + 9] = lambda: exchange(request)
        raise RequestTimeout("too slow")

    stage.driver.trouble[CREATE] = [commits_later]
    assert stage.submit().id == "ftjob-1"
    assert len(stage.service.jobs) == 1


def test_a_late_create_of_a_killed_attempt_is_seen_by_the_next(stage):
    """The next try creates and is answered at once; the lost create commits only after that."""

    def dead_trys_job_shows_later(request, exchange):
        stage.driver.at[stage.driver.now + 10] = lambda: stage.rival(id="ftjob-dead-try", created_at=1)
        return exchange(request)

    stage.driver.trouble[LIST] = [dead_trys_job_shows_later]
    job = stage.submit()
    assert job.id == "ftjob-dead-try"
    assert [alive["id"] for alive in stage.service.alive] == ["ftjob-dead-try"]
    assert len(stage.heard(progress.RivalCancelled)) == 1


def test_a_new_job_is_adopted_only_after_the_settle_window(stage):
    """The try that made it may have been the second: the first one's create may still be on its way."""
    young = stage.rival(created_at=1_000_000)
    stage.driver.at[stage.driver.now + 10] = lambda: stage.rival(id="ftjob-late", created_at=999_999)
    assert stage.submit().id == "ftjob-late"
    assert stage.service.job(young["id"])["status"] == "cancelled"


# --- failing closed ---


@pytest.mark.parametrize(
    ("broken", "retryable"),
    [
        (refuse(403, "no"), False),
        (refuse(429, "pay", code="insufficient_quota"), False),
        ([refuse(503, "in trouble")] * 9, True),
        ([Response(200, {}, b'{"data": [')] * 9, True),
        ([ConnectionLost("gone")] * 9, True),
    ],
)
def test_unreadable_is_never_absent(stage, broken, retryable):
    stage.driver.trouble[LIST] = broken if isinstance(broken, list) else [broken]
    with pytest.raises(LookupFailed, match="can't find out which jobs exist for this work") as caught:
        stage.submit()
    assert caught.value.retryable is retryable
    assert caught.value.hint
    assert stage.service.requests("POST", ".*") == []


def test_a_failed_look_says_what_to_do_next(stage):
    stage.driver.trouble[LIST] = [refuse(403, "no", code="training_not_available")]
    with pytest.raises(LookupFailed, match="tuneway serve") as caught:
        stage.submit()
    assert (caught.value.status, caught.value.code) == (403, "training_not_available")
    stage.driver.trouble[LIST] = [ConnectionLost("gone")] * 9
    with pytest.raises(LookupFailed, match="a retry reads the list first, and pays nothing twice"):
        stage.submit()


def test_a_list_that_breaks_off_on_its_second_page_is_unreadable(stage):
    stage.service.filters_metadata = False
    for _ in range(150):
        stage.service.add_job()
    stage.driver.trouble[LIST] = [None, refuse(403, "no")]
    with pytest.raises(LookupFailed):
        stage.submit()
    assert stage.service.requests("POST", ".*") == []


def test_a_list_without_end_is_given_up(stage):
    stage.service.filters_metadata = False
    stage.service.page_cap = 1
    stage.account = Account(lookup_pages=3)
    for _ in range(4):
        stage.service.add_job()
    with pytest.raises(LookupFailed, match="more than 3 pages of jobs") as caught:
        stage.submit()
    assert not caught.value.retryable
    assert stage.service.requests("POST", ".*") == []


def test_a_list_of_just_as_many_pages_as_allowed_is_read(stage):
    stage.service.filters_metadata = False
    stage.service.page_cap = 1
    stage.account = Account(lookup_pages=4)
    for _ in range(3):
        stage.service.add_job()
    assert stage.submit().id == "ftjob-4"


@pytest.mark.parametrize("data", [[], [{"id": "ftjob-x", "status": "running"}]], ids=["empty", "the same again"])
def test_a_list_that_promises_more_and_shows_nothing_new_is_unreadable(stage, data):
    page = reply({"object": "list", "data": data, "has_more": True})
    stage.driver.trouble[LIST] = [page, page]
    with pytest.raises(LookupFailed, match="there are more jobs, but doesn't list them") as caught:
        stage.submit()
    assert not caught.value.retryable
    assert stage.service.requests("POST", ".*") == []


def test_a_file_that_cannot_be_read_ends_the_try_before_anything_is_looked_for(stage):
    stage.driver.trouble["GET /files/file-1"] = [refuse(403, "not yours")]
    with pytest.raises(Forbidden):
        stage.submit()
    assert stage.trail == []


def test_a_failed_look_after_an_accepted_create_names_the_job(stage):
    stage.driver.trouble[LIST] = [None, refuse(403, "no")]
    with pytest.raises(LookupFailed) as caught:
        stage.submit()
    assert caught.value.job_id == "ftjob-1"
    assert stage.submit().id == "ftjob-1"


def test_a_failed_look_after_an_unclear_create_names_none(stage):
    stage.driver.trouble = {LIST: [None, refuse(403, "no")], CREATE: [lost_after(ConnectionLost("gone"))]}
    with pytest.raises(LookupFailed) as caught:
        stage.submit()
    assert caught.value.job_id is None
    assert stage.submit().id == "ftjob-1"


# --- several ---


def test_of_two_the_oldest_survives_and_the_other_is_cancelled(stage):
    def slower_rival(request, exchange):
        stage.rival(id="ftjob-rival", created_at=1)
        return exchange(request)

    stage.driver.trouble[CREATE] = [slower_rival]
    assert stage.submit().id == "ftjob-rival"
    assert [job["status"] for job in stage.service.jobs] == ["running", "cancelled"]
    (news,) = stage.heard(progress.RivalCancelled)
    assert (news.job_id, news.survivor_id) == ("ftjob-2", "ftjob-rival")


def test_created_in_the_same_second_the_smaller_id_survives(stage):
    for name in ("ftjob-b", "ftjob-a", "ftjob-c"):
        stage.rival(id=name, created_at=7)
    assert stage.submit().id == "ftjob-a"
    assert [alive["id"] for alive in stage.service.alive] == ["ftjob-a"]


def test_a_younger_job_that_is_ready_survives_an_older_that_runs(stage):
    stage.rival(id="ftjob-runs", created_at=1)
    stage.rival(id="ftjob-ready", created_at=2, status="succeeded", fine_tuned_model="ft:base")
    assert stage.submit().id == "ftjob-ready"
    assert stage.service.job("ftjob-runs")["status"] == "cancelled"


def test_a_living_job_survives_an_older_one_that_died_within_the_window(stage):
    stage.rival(id="ftjob-old", created_at=1)

    def one_dies_and_one_shows():
        stage.service.finish("ftjob-old", "failed")
        stage.rival(id="ftjob-young", created_at=2)

    stage.driver.at[stage.driver.now + 5] = one_dies_and_one_shows
    assert stage.submit().id == "ftjob-young"


def test_two_that_have_both_succeeded_are_left_alone(stage):
    stage.rival(id="ftjob-1st", created_at=1, status="succeeded")
    stage.rival(id="ftjob-2nd", created_at=2, status="succeeded")
    assert stage.submit().id == "ftjob-1st"
    assert stage.service.requests("POST", ".*") == []


def test_a_job_of_another_intent_is_adopted_but_never_cancelled(stage):
    monday = stage.submit(key="monday")
    tuesday = stage.submit(key="tuesday")
    assert stage.submit(key="wednesday", reuse="content").id == monday.id
    assert {job["id"] for job in stage.service.alive} == {monday.id, tuesday.id}


def test_our_own_job_is_cancelled_for_an_older_one_of_another_intent(stage):
    def somebody_else_was_faster(request, exchange):
        stage.rival(id="ftjob-theirs", created_at=1)
        return exchange(request)

    stage.driver.trouble[CREATE] = [somebody_else_was_faster]
    assert stage.submit(key=None, reuse="content").id == "ftjob-theirs"
    assert [job["status"] for job in stage.service.jobs] == ["running", "cancelled"]


def test_a_double_that_is_gone_needs_no_cancelling(stage):
    stage.rival(id="ftjob-old", created_at=1)
    stage.rival(id="ftjob-gone", created_at=2)
    stage.driver.trouble["POST /fine_tuning/jobs/ftjob-gone/cancel"] = [refuse(404, "no such job")]
    assert stage.submit().id == "ftjob-old"
    assert stage.heard(progress.RivalCancelled) == []


def test_a_double_that_ended_meanwhile_needs_no_cancelling(stage):
    stage.rival(id="ftjob-old", created_at=1)
    stage.rival(id="ftjob-young", created_at=2)
    stage.driver.trouble["POST /fine_tuning/jobs/ftjob-young/cancel"] = [
        answered_after(refuse(400, "job has already cancelled"))
    ]
    assert stage.submit().id == "ftjob-old"
    assert len(stage.heard(progress.RivalCancelled)) == 1


def test_a_double_that_the_service_will_not_cancel_is_named(stage):
    stage.rival(id="ftjob-old", created_at=1)
    stage.rival(id="ftjob-young", created_at=2)
    stage.driver.trouble["POST /fine_tuning/jobs/ftjob-young/cancel"] = [refuse(400, "not in this state")]
    assert stage.submit().id == "ftjob-old"
    (news,) = stage.heard(progress.RivalLeft)
    assert str(news) == ("ftjob-young does the same work as ftjob-old, but can't be cancelled: not in this state")


def test_trouble_while_cancelling_a_double_ends_the_try_and_the_next_one_cancels(stage):
    stage.rival(id="ftjob-old", created_at=1)
    stage.rival(id="ftjob-young", created_at=2)
    stage.driver.trouble["POST /fine_tuning/jobs/ftjob-young/cancel"] = [refuse(503, "in trouble")] * 6
    with pytest.raises(ServerError):
        stage.submit()
    assert stage.submit().id == "ftjob-old"
    assert [alive["id"] for alive in stage.service.alive] == ["ftjob-old"]


# --- services that keep less than they should ---


def test_a_service_that_drops_metadata_is_reported(stage):
    stage.service.keeps_metadata = False
    job = stage.submit()
    (news,) = stage.heard(progress.KeyNotKept)
    assert news.job.id == job.id


def test_a_service_that_keeps_metadata_but_echoes_none_is_fine(stage):
    def silent(request, exchange):
        return reply({"id": "ftjob-1", "status": "queued"}) if exchange(request) else None

    stage.driver.trouble[CREATE] = [silent]
    job = stage.submit()
    assert job.metadata[KEY]
    assert stage.heard(progress.KeyNotKept) == []


def test_a_job_of_ours_that_is_not_listed_gives_way_to_an_older_one_that_is(stage):
    stage.service.visible = lambda job: job["id"] != "ftjob-2"

    def older_rival(request, exchange):
        stage.rival(id="ftjob-rival", created_at=1)
        return exchange(request)

    stage.driver.trouble[CREATE] = [older_rival]
    assert stage.submit().id == "ftjob-rival"
    assert stage.service.job("ftjob-2")["status"] == "cancelled"


def test_a_job_once_seen_is_not_forgotten_when_the_list_shows_less(stage):
    stage.rival(id="ftjob-seen")
    stage.driver.trouble[LIST] = [None, reply({"data": [], "has_more": False})]
    assert stage.submit().id == "ftjob-seen"
    assert stage.service.requests("POST", ".*") == []


def test_the_wait_for_the_settle_window_is_reported(stage):
    stage.submit()
    assert [str(news) for news in stage.heard(progress.Settling)] == [
        "listing jobs again in 10 s, to be sure that there is only one"
    ]


def test_on_this_machine_the_window_is_a_second(stage):
    stage.account = Account(local=True)
    stage.submit()
    assert stage.driver.slept == [1.0]


def test_a_settle_window_of_ones_own_counts(stage):
    stage.account = Account(local=True, settle=3.5)
    stage.submit()
    assert stage.driver.slept == [3.5]


def test_a_create_is_marked_as_not_repeatable():
    assert not calls.jobs.create({}).request.repeatable
