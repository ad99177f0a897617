"""`fine_tune` in an op: of a job, of a graph, mapped over inputs, and of an asset that is made of a graph."""

from __future__ import annotations

import dagster as dg
import pytest
from support.dagster_runs import jobs_on
from support.datasets import write

from dagster_tuneway import FineTuningResource, fine_tune
from tuneway.registry import open_registry


@dg.op
def train(context, tuneway: FineTuningResource, path: str):
    return fine_tune(context, tuneway, training_data=path, model="gpt-4o-mini", name="router", alias="champion")


@dg.op
def submit_and_wait(context, tuneway: FineTuningResource, path: str):
    return fine_tune(context, tuneway, training_data=path, model="gpt-4o-mini")


@dg.op
def use(version):
    return f"{version['name']} is {version['model_id']}"


@pytest.fixture
def execute(instance, resources):
    def run(job, **arguments):
        return job.execute_in_process(instance=instance, resources=resources, **arguments)

    return run


def source(path):
    """An op that gives the path of the data."""

    @dg.op
    def tickets():
        return str(path)

    return tickets


def test_an_op_hands_the_registered_version_to_the_next_op(execute, service, registry, data):
    tickets = source(data)

    @dg.job
    def nightly():
        use(train(tickets()))

    done = execute(nightly)

    version = open_registry(registry).get("router@champion")
    assert done.output_for_node("use") == f"router is {version.model_id}"
    (job,) = jobs_on(service, "nightly/train")
    assert job.metadata["tuneway_origin"] == f"dagster: nightly/train / run {done.run_id}"
    (shown,) = [event.step_output_data.metadata for event in done.all_events if shows(event, "train")]
    assert shown["rows"].value == 24
    assert shown["fine_tuned_model"].value == version.model_id


def shows(event, step):
    return event.is_successful_output and event.step_key == step


def test_an_op_without_a_name_hands_on_the_job(execute, data):
    tickets = source(data)

    @dg.job
    def nightly():
        submit_and_wait(tickets())

    assert execute(nightly).output_for_node("submit_and_wait")["status"] == "succeeded"


def test_an_asset_that_is_made_of_a_graph_has_the_graphs_value(run, service, data):
    tickets = source(data)

    @dg.graph_asset
    def router():
        return use(train(tickets()))

    result = run([router])

    assert result.asset_value("router").startswith("router is ")
    (job,) = jobs_on(service, "router/train")
    assert job.metadata["tuneway_origin"].endswith(f"router/train / run {result.run_id}")


def test_a_mapped_op_makes_one_job_for_each_content(execute, service, tmp_path, rows):
    paths = {"a": rows, "b": rows[2:], "c": rows}

    @dg.op(out=dg.DynamicOut())
    def customers():
        for name, some in paths.items():
            yield dg.DynamicOutput(str(write(tmp_path / f"{name}.jsonl", some)), mapping_key=name)

    @dg.job
    def many():
        customers().map(submit_and_wait)

    done = execute(many).output_for_node("submit_and_wait")

    assert len(jobs_on(service, "many/submit_and_wait")) == 2
    assert done["a"]["job_id"] == done["c"]["job_id"] != done["b"]["job_id"]


def test_a_partition_of_a_job_of_ops_is_in_the_suffix(execute, server, data):
    tickets = source(data)

    @dg.job(partitions_def=dg.StaticPartitionsDefinition(["acme"]))
    def nightly():
        submit_and_wait(tickets())

    execute(nightly, partition_key="acme")

    assert [job["suffix"] for job in server.service.jobs] == ["submit_and_wait-acme"]


def test_a_retried_op_adopts_its_job(execute, service, data):
    tickets, tries = source(data), []

    @dg.op(retry_policy=dg.RetryPolicy(max_retries=1))
    def losing(context, tuneway: FineTuningResource, path: str):
        done = fine_tune(context, tuneway, training_data=path, model="gpt-4o-mini", reuse="never")
        tries.append(done.value["job_id"])
        if len(tries) == 1:
            raise ConnectionError("the worker is lost")
        return done

    @dg.job
    def nightly():
        losing(tickets())

    execute(nightly)

    assert len(tries) == 2
    assert len(jobs_on(service, "nightly/losing")) == len(set(tries)) == 1
