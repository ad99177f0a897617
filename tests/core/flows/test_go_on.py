"""When a retry goes on with the job of an earlier attempt whose id an engine has stored."""

from __future__ import annotations

import pytest
from support.stage import TRAIN, Stage

from tuneway import JobSpec, Requester, flows, progress
from tuneway.errors import InvalidSpec, StaleData

ME = Requester(key="nightly")


def other_data(stage: Stage) -> JobSpec:
    """What is asked for when the file has changed."""
    file = stage.service.add_file(filename=flows.name_with_hash("train.jsonl", "b" * 64))
    return JobSpec(model="base", training_file=file["id"])


def go_on(stage, job_id, *given, **options):
    return stage.driver.run(flows.go_on(stage.account, job_id, *given, **options))


@pytest.mark.parametrize("status", ["running", "paused", "succeeded"])
def test_a_retry_goes_on_with_its_job_and_needs_no_data(stage, status):
    job = stage.submit()
    stage.service.job(job.id)["status"] = status

    assert go_on(stage, job.id).id == job.id
    assert [news.job.id for news in stage.heard(progress.JobAdopted)] == [job.id]


@pytest.mark.parametrize("status", ["failed", "cancelled", "cancelling"])
def test_a_retry_does_not_go_on_with_a_job_that_gives_no_model(stage, status):
    job = stage.submit()
    stage.service.job(job.id)["status"] = status

    assert go_on(stage, job.id) is None


def test_a_retry_does_not_go_on_with_a_job_that_was_deleted(stage):
    assert go_on(stage, "ftjob-gone") is None


@pytest.mark.parametrize("on_stale_data", ["adopt", "cancel", "fail"])
def test_unchanged_data_is_left_to_the_submission(stage, on_stale_data):
    job = stage.submit()
    twin = stage.service.add_file(filename=TRAIN)["id"]  # the same data, uploaded again

    for file in (job.training_file, twin):
        spec = JobSpec(model="base", training_file=file)
        assert go_on(stage, job.id, spec, ME, on_stale_data=on_stale_data) is None

    assert stage.service.job(job.id)["status"] == "validating_files"
    assert stage.heard(progress.DataChanged) == []


@pytest.mark.parametrize("on_stale_data", ["adopt", "cancel", "fail"])
def test_a_job_that_has_succeeded_is_never_stale(stage, on_stale_data):
    job = stage.submit()
    stage.service.finish(job.id)

    assert go_on(stage, job.id, other_data(stage), ME, on_stale_data=on_stale_data) is None


def test_a_running_job_on_old_data_is_adopted(stage):
    job = stage.submit()

    assert go_on(stage, job.id, other_data(stage), ME).id == job.id
    [news] = stage.heard(progress.DataChanged)
    told = "this attempt goes on with it, so the model will not know the new data"
    assert str(news) == f"the data has changed since {job.id} was created: {told}"


def test_a_running_job_on_old_data_is_cancelled(stage):
    job = stage.submit()

    assert go_on(stage, job.id, other_data(stage), ME, on_stale_data="cancel") is None
    assert stage.service.job(job.id)["status"] == "cancelled"
    assert [news.outcome for news in stage.heard(progress.DataChanged)] == ["cancelled"]


@pytest.mark.parametrize("who", [Requester(key="weekly"), None])
def test_a_running_job_that_somebody_else_has_made_is_not_cancelled(stage, who):
    job = stage.submit()

    assert go_on(stage, job.id, other_data(stage), who, on_stale_data="cancel") is None
    assert stage.service.job(job.id)["status"] == "validating_files"
    assert [news.outcome for news in stage.heard(progress.DataChanged)] == ["left"]


def test_a_running_job_on_old_data_fails_the_attempt_and_goes_on(stage):
    job = stage.submit()

    with pytest.raises(StaleData, match=rf"the data has changed since {job.id} was created") as caught:
        go_on(stage, job.id, other_data(stage), ME, on_stale_data="fail")

    assert (caught.value.job_id, caught.value.retryable) == (job.id, False)
    assert stage.service.job(job.id)["status"] == "validating_files"


def test_other_validation_data_counts_as_changed(stage):
    job = stage.submit()
    with_validation = JobSpec(model="base", training_file=job.training_file, validation_file="file-1")

    with pytest.raises(StaleData):
        go_on(stage, job.id, with_validation, ME, on_stale_data="fail")


def test_data_whose_file_was_deleted_counts_as_changed(stage):
    job, spec = stage.submit(), other_data(stage)
    stage.service.files[:] = [file for file in stage.service.files if file["id"] != job.training_file]

    with pytest.raises(StaleData):
        go_on(stage, job.id, spec, ME, on_stale_data="fail")


def test_an_unknown_word_is_refused(stage):
    with pytest.raises(InvalidSpec, match="on_stale_data can't be 'keep': it is one of adopt, cancel, fail"):
        go_on(stage, "ftjob-1", on_stale_data="keep")
    assert stage.service.log == []
