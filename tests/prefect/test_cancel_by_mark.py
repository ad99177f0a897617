"""A cancel on a service whose jobs don't show who asked for them: the flow run keeps their marks."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Cancelling
from support.short_marks import MODEL, SERVICE, TRAINING, lose_the_create, rows_for_together, serving, statuses

from prefect_tuneway import (
    FineTuningCredentials,
    _runs,
    acreate_fine_tuning_job,
    cancel_jobs,
    create_fine_tuning_job,
    fine_tune,
    hooks,
    wait_for_fine_tuning_job,
)
from tuneway.errors import LookupFailed, OverBudget, WaitTimeout


@pytest.fixture
def together(prefect):
    with serving() as server:
        yield server


@pytest.fixture
def access(together):
    stored = FineTuningCredentials(base_url=together.base_url, api_key="sk-hidden-from-all", options=SERVICE)
    stored.save("together", overwrite=True, _sync=True)
    return "together"


@flow
def create_at_together(access):
    return create_fine_tuning_job.with_options(retries=0)(**TRAINING, credentials=access)


@flow
async def acreate_at_together(access):
    return await acreate_fine_tuning_job.with_options(retries=0)(**TRAINING, credentials=access)


def cancelled_in_another_process(flow_run_id):
    """A person cancels the run; the hook runs in a process that remembers nothing of it."""
    hooks._remembered.clear()
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(flow_run_id, Cancelling(), force=True)
        cancel_jobs(create_at_together, client.read_flow_run(flow_run_id), Cancelling())


def test_a_cancelled_run_cancels_its_job_and_no_other(together, access):
    create_at_together(access)
    run = create_at_together(access, return_state=True)
    cancelled_in_another_process(run.state_details.flow_run_id)
    assert statuses(together) == ["pending", "cancelled"]


def test_a_run_that_is_cancelled_before_its_create_was_answered_cancels_what_came_of_it(together, access):
    lose_the_create(together)
    run = create_at_together(access, return_state=True)
    assert run.is_failed()
    assert statuses(together) == ["pending"]
    cancelled_in_another_process(run.state_details.flow_run_id)
    assert statuses(together) == ["cancelled"]


async def test_the_awaited_form_keeps_the_mark_before_the_create_as_well(together, access):
    lose_the_create(together)
    run = await acreate_at_together(access, return_state=True)
    assert statuses(together) == ["pending"]
    cancelled_in_another_process(run.state_details.flow_run_id)
    assert statuses(together) == ["cancelled"]


def test_no_job_is_created_whose_mark_can_not_be_kept(together, access, monkeypatch):
    def unreachable(home, mark):
        raise LookupFailed("Prefect's API can't be asked about this run")

    monkeypatch.setattr(_runs, "note_mark", unreachable)
    assert create_at_together(access, return_state=True).is_failed()
    assert statuses(together) == []


def test_a_job_that_takes_too_long_is_cancelled_if_this_run_made_it(together, access):
    @flow
    def hasty(job=None):
        made = job or create_fine_tuning_job(**TRAINING, credentials=access)
        wait = wait_for_fine_tuning_job.with_options(retries=0)
        wait(made, credentials=access, timeout=0.2, cancel_on_timeout=True)

    other = create_at_together(access)
    assert hasty(return_state=True).is_failed()
    assert hasty(other, return_state=True).is_failed()
    assert statuses(together) == ["pending", "cancelled"]


@pytest.mark.parametrize(("max_usd", "jobs"), [(1e-9, 0), (1000.0, 1)])
def test_a_budget_is_held_against_the_services_own_price(together, access, tmp_path, max_usd, jobs):
    data = rows_for_together(tmp_path / "train.jsonl")
    asked = {"training_data": str(data), "model": MODEL, "credentials": access, "timeout": 0.01}
    with pytest.raises(WaitTimeout if jobs else OverBudget):
        fine_tune.with_options(retries=0)(**asked, max_usd=max_usd)
    assert len(statuses(together)) == jobs


@pytest.mark.parametrize(("max_usd", "jobs"), [(1e-9, 0), (1000.0, 1)])
def test_the_step_that_creates_a_job_takes_a_budget(together, access, max_usd, jobs):
    create = create_fine_tuning_job.with_options(retries=0)
    with nullcontext() if jobs else pytest.raises(OverBudget, match="together estimates"):
        create(**TRAINING, credentials=access, max_usd=max_usd)
    assert len(statuses(together)) == jobs
