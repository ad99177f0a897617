"""A termination on a service whose jobs don't show who asked for them."""

from __future__ import annotations

import os
import signal

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from support.short_marks import MODEL, SERVICE, rows_for_together, serving, statuses

from dagster_tuneway import FineTuningResource, _log, fine_tuned_model_assets
from tuneway.progress import CreatePlanned, JobChanged, JobCreated, Settling


@pytest.fixture
def together():
    with serving() as server:
        yield server


@pytest.fixture
def resources(together, registry):
    return {"tuneway": FineTuningResource(base_url=together.base_url, api_key="sk-x", registry=registry, **SERVICE)}


@pytest.fixture
def assets(tmp_path):
    data = rows_for_together(tmp_path / "train.jsonl")
    return fine_tuned_model_assets("short", training_data=str(data), model=MODEL, reuse="run")


@pytest.fixture
def interrupt(monkeypatch):
    """Ends the run at the next news of a kind, as a termination does."""

    def at(kind):
        tell, left = _log.Teller.__call__, [True]

        def told(self, news):
            tell(self, news)
            if isinstance(news, kind) and left:
                left.clear()
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(_log.Teller, "__call__", told)

    return at


@pytest.mark.parametrize("at", [JobCreated, Settling, JobChanged])
def test_a_terminated_run_cancels_its_job_and_no_other(together, resources, instance, assets, interrupt, at):
    together.service.add_job(suffix="router-0123456789abcdef")
    interrupt(at)
    with pytest.raises(dg.DagsterExecutionInterruptedError):
        dg.materialize(assets, instance=instance, resources=resources)
    assert statuses(together) == ["pending", "cancelled"]


def test_a_run_that_is_terminated_before_its_create_creates_nothing(together, resources, instance, assets, interrupt):
    interrupt(CreatePlanned)
    with pytest.raises(dg.DagsterExecutionInterruptedError):
        dg.materialize(assets, instance=instance, resources=resources)
    assert statuses(together) == []


@pytest.mark.parametrize(
    ("root", "status"),
    [(lambda first: first.run_id, "cancelled"), (lambda _: None, "pending")],
    ids=["the same run again", "another run"],
)
def test_a_step_that_only_waits_knows_by_the_output_before_it_whose_job_it_is(
    together, resources, instance, assets, interrupt, root, status
):
    before = [dg.AssetKey(["short", name]) for name in ("training_file", "job")]
    first = dg.materialize(assets, instance=instance, resources=resources, selection=before)
    interrupt(JobChanged)
    rest = dg.define_asset_job("rest", selection=["short/fine_tuned_model"])
    defs = dg.Definitions(assets=assets, resources=resources, jobs=[rest], executor=dg.in_process_executor)
    job = defs.resolve_job_def("rest")
    run = instance.create_run_for_job(job, parent_run_id=root(first), root_run_id=root(first), tags={})
    execute_run(InMemoryJob(job), run, instance)
    assert statuses(together) == [status]
