"""Cancelling, whether or not somebody did so before."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.fake_service import refuse
from support.virtual_driver import lost_after

from tuneway.errors import BadRequest, Conflict, ConnectionLost, Forbidden, LookupFailed, NotFound
from tuneway.flows import cancel, cancel_made_by
from tuneway.flows.submit import submit
from tuneway.models import JobSpec
from tuneway.requester import Requester

CANCEL = "POST /fine_tuning/jobs/ftjob-1/cancel"
GET = "GET /fine_tuning/jobs/ftjob-1"


@pytest.fixture(autouse=True)
def _a_job(stage):
    stage.service.add_job(id="ftjob-1")


def run(stage):
    return stage.driver.run(cancel(stage.account, "ftjob-1"))


def test_a_running_job_is_cancelled(stage):
    assert run(stage).status == "cancelled"
    assert stage.trail == [CANCEL]


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
def test_a_job_that_has_ended_is_given_back_as_it_is(stage, status):
    stage.service.finish("ftjob-1", status)
    assert run(stage).status == status


def test_a_cancel_with_a_lost_reply_succeeds(stage):
    stage.driver.trouble[CANCEL] = [lost_after(ConnectionLost("gone"))]
    assert run(stage).status == "cancelled"


def test_an_end_that_shows_late_is_waited_for(stage):
    stage.driver.trouble[CANCEL] = [refuse(400, "already cancelled")]
    stage.driver.at[stage.driver.now + 9] = lambda: stage.service.finish("ftjob-1", "cancelled")
    assert run(stage).status == "cancelled"
    assert 9 <= sum(stage.driver.slept) <= 20


@pytest.mark.parametrize(("status", "error"), [(400, BadRequest), (409, Conflict)])
def test_a_refusal_to_cancel_what_still_runs_is_an_error_that_names_the_job(stage, status, error):
    stage.driver.trouble[CANCEL] = [refuse(status, "not now")] * 9
    with pytest.raises(error, match="not now") as caught:
        run(stage)
    assert caught.value.job_id == "ftjob-1"
    assert stage.trail[-1] == GET


def test_a_job_that_does_not_exist_is_not_found(stage):
    stage.service.jobs.clear()
    with pytest.raises(NotFound):
        run(stage)


def made_by(stage, origin="prefect: nightly / 1", **fields):
    return stage.service.add_job(metadata={"tuneway_origin": origin}, **fields)["id"]


def recall(stage, origin="prefect: nightly / 1"):
    return stage.driver.run(cancel_made_by(stage.account, origin))


def test_all_that_a_run_made_is_cancelled_and_nothing_else(stage):
    mine, also_mine = made_by(stage), made_by(stage)
    made_by(stage, "prefect: nightly / 2")
    over = made_by(stage, status="succeeded")
    assert {job.id: job.status for job in recall(stage)} == {mine: "cancelled", also_mine: "cancelled"}
    assert {job["id"] for job in stage.service.jobs if job["status"] == "cancelled"} == {mine, also_mine}
    assert stage.service.job(over)["status"] == "succeeded"


def test_a_job_that_shows_only_after_its_maker_was_killed_is_cancelled_too(stage):
    late = []
    stage.driver.at[stage.driver.now + 5] = lambda: late.append(made_by(stage))
    assert [job.id for job in recall(stage)] == late
    assert stage.service.job(late[0])["status"] == "cancelled"


def test_a_job_that_is_gone_when_it_is_cancelled_is_no_trouble(stage):
    first, second = made_by(stage), made_by(stage)
    stage.driver.trouble[f"POST /fine_tuning/jobs/{second}/cancel"] = [refuse(404, "no such job")] * 2
    assert first in [job.id for job in recall(stage)]


def test_a_job_that_refuses_to_end_does_not_keep_the_others_alive(stage):
    first, second = made_by(stage), made_by(stage)
    stage.driver.trouble[f"POST /fine_tuning/jobs/{second}/cancel"] = [refuse(403, "not yours")] * 9
    with pytest.raises(Forbidden, match="not yours") as caught:
        recall(stage)
    assert caught.value.job_id == second
    assert stage.service.job(first)["status"] == "cancelled"


def test_a_list_without_an_end_is_not_read_forever(stage):
    stage.account = replace(stage.account, lookup_pages=1)
    first = made_by(stage)
    for _ in range(150):
        made_by(stage)
    with pytest.raises(LookupFailed, match="pages"):
        recall(stage)
    assert first


def test_a_job_that_shows_early_is_cancelled_early(stage):
    late = []
    stage.driver.at[stage.driver.now + 1] = lambda: late.append(made_by(stage))
    started, cancelled = stage.driver.now, []
    stage.driver.at[started + 3] = lambda: cancelled.append(stage.service.job(late[0])["status"])
    recall(stage)
    assert cancelled == ["cancelled"]


def test_only_the_jobs_of_one_content_are_cancelled_if_so_asked(stage):
    by = Requester(engine="airflow", pipeline="nightly", run="1", step="tune")
    specs = [JobSpec(model="m", training_file="file-1", seed=seed) for seed in (1, 2)]
    mine, other = (stage.driver.run(submit(stage.account, spec, requester=by)) for spec in specs)
    assert [job.id for job in stage.driver.run(cancel_made_by(stage.account, by.origin, specs[0]))] == [mine.id]
    assert stage.service.job(other.id)["status"] != "cancelled"
