"""Mapped tasks: how many jobs there are, whatever sorts in before them."""

from __future__ import annotations

import pytest
from support.datasets import write
from support.real_airflow import jobs_of
from support.support_chats import chats

FILES = 20


@pytest.fixture
def many(folder):
    """A folder of training files; the DAG `many_files` maps over them in the order of their names."""
    many = folder / "many"
    many.mkdir()
    for number in range(1, FILES + 1):
        write(many / f"{number:02}.jsonl", chats(10, seed=number))
    return many


def test_a_file_that_sorts_in_first_is_one_more_job_when_twenty_mapped_tasks_are_cleared(airflow, stuck, many):
    run_id = airflow.trigger("many_files")
    airflow.until_run("many_files", run_id, "success", seconds=400)
    before = jobs_by_index(airflow, run_id, FILES)
    assert len(jobs_of(stuck, run_id)) == len(set(before)) == FILES

    write(many / "00.jsonl", chats(10, seed=0))
    airflow.clear("many_files", run_id)
    airflow.until_run("many_files", run_id, "success", seconds=400)

    after = jobs_by_index(airflow, run_id, FILES + 1)
    assert after[1:] == before
    assert {job.id for job in jobs_of(stuck, run_id)} == {*after}
    assert len({*after}) == FILES + 1


def test_mapped_tasks_with_keys_of_their_own_make_a_job_each_of_the_same_data_and_a_clear_makes_none(airflow, stuck):
    run_id = airflow.trigger("repeated")
    airflow.until_run("repeated", run_id, "success")
    made = jobs_of(stuck, run_id)
    assert len(made) == 3
    assert len({job.training_file for job in made}) == 1

    airflow.clear("repeated", run_id)
    airflow.until_run("repeated", run_id, "success")

    assert {job.id for job in jobs_of(stuck, run_id)} == {job.id for job in made}


def jobs_by_index(airflow, run_id, count):
    """The job of each mapped task, in their order."""
    return [airflow.xcom("many_files", run_id, "tune", "job_id", map_index=index) for index in range(count)]
