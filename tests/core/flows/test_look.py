"""Looking once at many jobs, without waiting for any."""

from __future__ import annotations

from tuneway.errors import JobFailed, NotFound, RequestTimeout, UnknownStatus
from tuneway.flows import WaitToken, look
from tuneway.models import Job


def looked(stage, *ids, until=None):
    return stage.driver.run(look(stage.account, [WaitToken(job_id=job_id) for job_id in ids], until=until))


def test_a_look_gives_each_job_or_the_error_that_a_wait_would_raise(stage):
    for number, status in enumerate(("running", "succeeded", "failed")):
        stage.service.add_job(id=f"ftjob-{number}")
        if status != "running":
            stage.service.finish(f"ftjob-{number}", status)
    alive, done, failed, absent = looked(stage, "ftjob-0", "ftjob-1", "ftjob-2", "ftjob-9")
    assert isinstance(alive, Job)
    assert isinstance(done, Job)
    assert (alive.done, done.status) == (False, "succeeded")
    assert isinstance(failed, JobFailed)
    assert isinstance(absent, NotFound)
    assert "ftjob-9" in str(absent)


def test_jobs_that_there_is_no_time_for_are_not_read(stage):
    stage.service.add_job(id="ftjob-1")
    (result,) = looked(stage, "ftjob-1", until=stage.driver.now)
    assert isinstance(result, RequestTimeout)
    assert stage.trail == []


def test_a_look_never_sleeps(stage):
    for number in range(5):
        stage.service.add_job(id=f"ftjob-{number}")
    looked(stage, *(f"ftjob-{number}" for number in range(5)))
    assert stage.driver.slept == []


def test_a_look_reads_a_job_with_an_unknown_end_once_more_before_it_says_so(stage):
    for number in range(3):
        stage.service.add_job(id=f"ftjob-{number}", status="ripe", finished_at=1_000_000)
    *errors, _ = looked(stage, "ftjob-0", "ftjob-1", "ftjob-2")
    assert [type(error) for error in errors] == [UnknownStatus, UnknownStatus]
    assert stage.trail == ["GET /fine_tuning/jobs", *(f"GET /fine_tuning/jobs/ftjob-{number}" for number in range(3))]
    assert stage.driver.slept == []
