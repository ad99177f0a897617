"""Waits outlive the triggerers that hold them."""

from __future__ import annotations

import signal
import time

import pytest
from support.real_airflow import deferred_on_a_job, jobs_of

SHORT = 40
"""Seconds that the DAG `short_of_time` waits."""

WAITS = ("stuck_deferred", "short_of_time")


def being_waited_for(airflow, run_id, times, dag_id="stuck_deferred"):
    """Wait until so many triggers have waited for the job of this run."""
    airflow.until_logged(dag_id, run_id, " starting", times=times)


@pytest.fixture(scope="module")
def after_a_restart(airflow):
    """Two waits, whose triggerer was killed for longer than one of them had time; their runs by DAG."""
    runs = {dag_id: airflow.trigger(dag_id) for dag_id in WAITS}
    for dag_id, run_id in runs.items():
        airflow.until_task(dag_id, run_id, "tune", "deferred")
        airflow.until_logged(dag_id, run_id, "Validating training file")
    airflow.kill("triggerer")
    time.sleep(SHORT)  # whenever the wait began, its time is up now
    airflow.start("triggerer")
    return runs


def test_a_triggerer_killed_in_the_middle_goes_on_with_the_same_job_and_tells_nothing_twice(
    airflow, stuck, after_a_restart
):
    run_id = after_a_restart["stuck_deferred"]
    being_waited_for(airflow, run_id, times=2)
    [job] = jobs_of(stuck, run_id)
    assert not job.done
    stuck.cancel(job.id)
    airflow.until_task("stuck_deferred", run_id, "tune", "failed")

    told = airflow.log("stuck_deferred", run_id, "tune")

    assert told.count("Validating training file") == 1
    assert [job.id for job in jobs_of(stuck, run_id)] == [job.id]


def test_a_triggerer_that_is_killed_and_comes_back_renews_no_deadline(airflow, stuck, after_a_restart):
    run_id = after_a_restart["short_of_time"]
    airflow.until_task("short_of_time", run_id, "tune", "failed")

    lines = airflow.lines("short_of_time", run_id, "tune")

    first, *_, again = [at for at, text in lines if " starting" in text]
    [end] = [at for at, text in lines if "Trigger fired event" in text]
    assert (again - first).total_seconds() > SHORT
    assert (end - again).total_seconds() < SHORT  # at its first look, not after another so many seconds
    assert "didn't end before the deadline" in airflow.log("short_of_time", run_id, "tune")
    [job] = jobs_of(stuck, run_id)
    assert not job.done


def test_a_trigger_that_moves_to_another_triggerer_leaves_the_job_alive(airflow, stuck):
    run_id, job_id = deferred_on_a_job(airflow, stuck)
    airflow.until_logged("stuck_deferred", run_id, "Validating training file")

    airflow.send("triggerer", signal.SIGSTOP)  # it looks dead
    airflow.start("triggerer", name="other-triggerer")
    being_waited_for(airflow, run_id, times=2)
    airflow.send("triggerer", signal.SIGCONT)  # it comes back, and finds that its trigger is somebody else's

    airflow.until_logged("stuck_deferred", run_id, "The task goes on elsewhere")
    assert stuck.jobs.retrieve(job_id).status == "validating_files"
    airflow.kill("other-triggerer", signal.SIGTERM)


def test_of_two_triggerers_one_takes_over_the_wait_when_the_other_is_killed(airflow, stuck):
    run_id, job_id = deferred_on_a_job(airflow, stuck)
    airflow.until_logged("stuck_deferred", run_id, "Validating training file")
    before = airflow.triggerers()
    airflow.start("triggerer", name="other-triggerer")
    [other] = airflow.until(lambda: airflow.triggerers() - before)
    assert holder_of(airflow, run_id) in before

    airflow.kill("triggerer")

    airflow.until(lambda: holder_of(airflow, run_id) == other)
    being_waited_for(airflow, run_id, times=2)
    assert airflow.log("stuck_deferred", run_id, "tune").count("Validating training file") == 1
    assert [(job.id, job.done) for job in jobs_of(stuck, run_id)] == [(job_id, False)]
    airflow.rename("other-triggerer", "triggerer")


def holder_of(airflow, run_id):
    """The number of the triggerer that has this run's wait."""
    return (airflow.task("stuck_deferred", run_id, "tune")["triggerer_job"] or {}).get("id")
