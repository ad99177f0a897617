"""What is gathered of a training, and which gaps are left open."""

from __future__ import annotations

import pytest
from support.fake_service import FakeService, refuse, result_csv
from support.virtual_driver import VirtualDriver

from tuneway.errors import NotFound, ServerError
from tuneway.flows import Account, Retry, Trained, trained
from tuneway.models import Job

SHA = "a" * 64


@pytest.fixture
def service() -> FakeService:
    service = FakeService()
    service.add_file(id="file-train", filename=f"train.sha256-{SHA}.jsonl")
    service.add_file(id="file-result", filename="step_metrics.csv")
    service.contents["file-result"] = result_csv("1,0.5,0.8,,", "2,0.25,0.9,0.3,0.85")
    service.add_job(id="ftjob-1", training_file="file-train", validation_file="file-gone")
    service.checkpoints["ftjob-1"] = [
        {"id": f"ckpt-{step}", "object": "fine_tuning.job.checkpoint", "step_number": step} for step in range(1, 151)
    ]
    service.finish("ftjob-1", result_files=["file-result"])
    return service


def gather(service: FakeService, *faults: object) -> Trained:
    return VirtualDriver(service, list(faults)).run(trained(Account(retry=Retry(attempts=2)), "ftjob-1"))


def test_everything_that_belongs_to_a_job_is_gathered(service):
    found = gather(service)
    assert found.job.fine_tuned_model == "ft:base:org::ftjob-1"
    assert [file.id for file in found.files] == ["file-train"]  # the validation file is gone: a gap
    assert len(found.checkpoints) == 150
    assert [row.train_loss for row in found.rows] == [0.5, 0.25]
    assert found.base_model is None  # the service doesn't know "base" by its own path


def test_the_logs_metrics_stand_in_for_a_result_file(service):
    service.job("ftjob-1")["result_files"] = []
    service.add_event("ftjob-1", "Job started")
    for step in (1, 2):
        service.add_event("ftjob-1", f"Step {step}", type="metrics", data={"step": step, "train_loss": 1 / step})
    assert [event.metrics["train_loss"] for event in gather(service).curve] == [1.0, 0.5]


def test_a_result_file_that_is_no_csv_is_replaced_by_the_log(service):
    service.contents["file-result"] = b"!!"
    service.add_event("ftjob-1", "Step 1", type="metrics", data={"step": 1, "train_loss": 0.75})
    assert [event.metrics["train_loss"] for event in gather(service).curve] == [0.75]


def test_a_service_without_checkpoints_leaves_a_gap(service):
    no_such_path = refuse(404, "no such path")
    faults = [None, None, None, no_such_path]  # job, training file, validation file, checkpoints
    found = gather(service, *faults)
    assert found.checkpoints == []
    assert found.missing == ["The checkpoints could not be read: no such path"]


def test_trouble_that_passes_is_not_taken_for_a_gap(service):
    down = refuse(503, "overloaded")
    with pytest.raises(ServerError):
        gather(service, None, down, down)


def test_trouble_that_passes_is_named_for_those_who_would_rather_have_a_part(service):
    down = refuse(503, "overloaded")
    faults = [None, None, None, down, down]  # job, training file, validation file, checkpoints twice
    driver = VirtualDriver(service, list(faults))
    found = driver.run(trained(Account(retry=Retry(attempts=2)), "ftjob-1", forgiving=True))
    assert (found.checkpoints, len(found.rows)) == ([], 2)
    assert found.missing == ["The checkpoints could not be read: overloaded"]


@pytest.mark.parametrize(("log", "lines"), [(False, 0), (True, 1)])
def test_the_log_is_fetched_beside_a_result_file_only_if_it_is_asked_for(service, log, lines):
    service.add_event("ftjob-1", "Job started")
    found = VirtualDriver(service).run(trained(Account(), "ftjob-1", log=log))
    assert (len(found.rows), len(found.events)) == (2, lines)


def test_a_job_that_is_not_there_is_an_error(service):
    service.jobs.clear()
    with pytest.raises(NotFound):
        gather(service)


def test_a_job_without_a_base_model_or_files_is_gathered_too(service):
    service.job("ftjob-1").update(model=None, training_file=None, validation_file=None, result_files=None)
    found = gather(service)
    assert (found.files, found.rows, found.base_model) == ([], [], None)


def test_a_job_that_is_at_hand_is_not_asked_for_again(service):
    job = Job.model_validate(service.job("ftjob-1"))
    found = VirtualDriver(service).run(trained(Account(), job))
    assert found.job is job
    assert service.requests("GET", "/fine_tuning/jobs/ftjob-1") == []
