"""What is killed, who ends what, and how many jobs there are afterwards."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from support.real_airflow import deferred_on_a_job, jobs_of


def test_a_worker_killed_between_submitting_and_deferring_leaves_one_job(airflow, trains):
    run_id = airflow.trigger("killed")

    task = airflow.until_task("killed", run_id, "tune", "success")

    assert task["try_number"] >= 2
    [job] = jobs_of(trains, run_id)
    assert airflow.xcom("killed", run_id, "tune", "job_id") == job.id


def test_a_clear_after_success_adopts_the_job(airflow, trains):
    run_id = airflow.trigger("four_in_one")
    first = airflow.until_task("four_in_one", run_id, "tune", "success")
    airflow.until_run("four_in_one", run_id, "success")

    airflow.clear("four_in_one", run_id, "tune")
    airflow.until_task("four_in_one", run_id, "tune", "success", tries=first["try_number"] + 1)

    assert len(jobs_of(trains, run_id)) == 1


def test_a_clear_makes_a_new_job_where_nothing_is_reused(airflow, trains):
    run_id = airflow.trigger("never_reused")
    first = airflow.until_task("never_reused", run_id, "tune", "success")
    airflow.until_run("never_reused", run_id, "success")
    assert len(jobs_of(trains, run_id)) == 1

    airflow.clear("never_reused", run_id, "tune")
    airflow.until(lambda: airflow.task("never_reused", run_id, "tune")["try_number"] > first["try_number"])
    airflow.until_task("never_reused", run_id, "tune", "success")

    assert len(jobs_of(trains, run_id)) == 2


def test_a_backfill_makes_a_job_for_each_date_and_a_second_one_of_the_same_dates_none(airflow, stuck):
    airflow.until_known("daily")

    first = backfill(airflow, stuck)
    second = backfill(airflow, stuck)

    assert [len(jobs) for jobs in first.values()] == [1, 1]
    assert len({job_id for jobs in first.values() for job_id in jobs}) == 2
    assert second == first


def backfill(airflow, stuck):
    """Run two dates, also those that have been run; gives the jobs of each run."""
    before = tries(airflow)
    dates = {"from_date": "2026-01-02T00:00:00Z", "to_date": "2026-01-03T00:00:00Z"}
    airflow.api("POST", "/backfills", dag_id="daily", reprocess_behavior="completed", **dates)
    airflow.until(lambda: sum(tries(airflow).values()) == sum(before.values()) + 2, what=lambda: tries(airflow))
    runs = tries(airflow)
    for run_id in runs:
        airflow.until_run("daily", run_id, "success")
    airflow.until(
        lambda: all(one["completed_at"] for one in airflow.api("GET", "/backfills?dag_id=daily")["backfills"])
    )
    return {run_id: [job.id for job in jobs_of(stuck, run_id)] for run_id in sorted(runs)}


def tries(airflow):
    """How often the task of each backfilled run was tried."""
    runs = [run["dag_run_id"] for run in airflow.api("GET", "/dags/daily/dagRuns")["dag_runs"]]
    return {run: airflow.task("daily", run, "tune")["try_number"] for run in runs if run.startswith("backfill")}


def test_a_job_that_ends_while_no_scheduler_runs_is_the_only_one(airflow, stuck):
    run_id, job_id = deferred_on_a_job(airflow, stuck)
    airflow.until_logged("stuck_deferred", run_id, "Validating training file")

    airflow.kill("scheduler")
    stuck.cancel(job_id)
    airflow.until_logged("stuck_deferred", run_id, "Trigger fired event")
    airflow.start("scheduler")

    airflow.until_task("stuck_deferred", run_id, "tune", "failed")
    assert [job.id for job in jobs_of(stuck, run_id)] == [job_id]


@pytest.mark.parametrize("state", ["failed", "success"])
def test_a_task_that_is_ended_while_deferred_takes_its_job_along(airflow, stuck, state):
    run_id, job_id = deferred_on_a_job(airflow, stuck)
    airflow.until_logged("stuck_deferred", run_id, "Validating training file")

    airflow.set_state("stuck_deferred", run_id, "tune", state)

    airflow.until(lambda: stuck.jobs.retrieve(job_id).status == "cancelled")


@pytest.mark.skipif(find_spec("statsd") is None, reason="needs the group airflow-test")
@pytest.mark.parametrize("dag_id", ["stuck_deferred", "stuck_on_a_worker"], ids=["deferred", "on a worker"])
def test_a_job_that_is_cancelled_with_its_task_is_counted(airflow, stuck, metrics, dag_id):
    before = metrics.counted("airflow.tuneway.job.cancelled", dag_id=dag_id, task_id="tune")
    run_id = airflow.trigger(dag_id)
    airflow.until_logged(dag_id, run_id, "Validating training file")
    [job] = jobs_of(stuck, run_id)

    airflow.set_state(dag_id, run_id, "tune", "failed")

    airflow.until(lambda: stuck.jobs.retrieve(job.id).status == "cancelled")
    airflow.until(lambda: metrics.counted("airflow.tuneway.job.cancelled", dag_id=dag_id, task_id="tune") > before)
    assert metrics.counted("airflow.tuneway.job.created", dag_id=dag_id, task_id="tune") >= 1


def test_a_task_marked_failed_while_it_submits_takes_its_job_along(airflow, stuck):
    run_id = airflow.trigger("stuck_in_its_settle_window")
    airflow.until_logged("stuck_in_its_settle_window", run_id, "created ftjob-")
    [job] = jobs_of(stuck, run_id)

    airflow.set_state("stuck_in_its_settle_window", run_id, "tune", "failed")

    airflow.until(lambda: stuck.jobs.retrieve(job.id).status == "cancelled")


def test_a_task_marked_failed_on_a_worker_takes_its_job_along(airflow, stuck):
    run_id = airflow.trigger("stuck_on_a_worker")
    airflow.until_logged("stuck_on_a_worker", run_id, "Validating training file")
    [job] = jobs_of(stuck, run_id)

    airflow.set_state("stuck_on_a_worker", run_id, "tune", "failed")

    airflow.until(lambda: stuck.jobs.retrieve(job.id).status == "cancelled")


def test_a_task_cleared_while_deferred_adopts_its_job(airflow, stuck):
    run_id, job_id = deferred_on_a_job(airflow, stuck)
    airflow.until_logged("stuck_deferred", run_id, "Validating training file")

    airflow.clear("stuck_deferred", run_id, "tune")
    airflow.until_task("stuck_deferred", run_id, "tune", "deferred", tries=2)

    assert [(job.id, job.done) for job in jobs_of(stuck, run_id)] == [(job_id, False)]
