"""Whose job a run adopts: retries, re-executions and new runs, for each kind of reuse; and who may end a job."""

from __future__ import annotations

import os
import signal

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from support.dagster_runs import jobs_on, materializations, said
from support.datasets import write
from support.support_chats import chats

from dagster_tuneway import FineTuningResource, _log, fine_tune, fine_tuned_model_assets
from dagster_tuneway._runs import requester_of
from tuneway.errors import InvalidSpec
from tuneway.progress import JobChanged, JobCreated
from tuneway.registry import Gate, open_registry


class LosesItsWorker(FineTuningResource):
    """The first client that waits is lost right when its job was made, as when its worker is."""

    @property
    def client(self):
        client = super().client
        wait, lost = client.wait, LOST

        def lose(*args, **kwargs):
            if lost:
                lost.clear()
                raise OSError("the worker is lost")
            return wait(*args, **kwargs)

        client.wait = lose
        return client


LOST: list[bool] = []


@pytest.fixture
def losing(resources):
    """A resource whose first wait is lost."""
    LOST[:] = [True]
    given = resources["tuneway"].model_dump(exclude_none=True)
    yield {"tuneway": LosesItsWorker(**given)}
    LOST.clear()


@pytest.fixture
def slowly(server):
    """Jobs end when somebody looks a second time, so that there is something to wait for."""
    server.service.ends = None
    handle = server.service.handle

    def end_what_is_looked_at(request):
        path = request.path.removeprefix("/fine_tuning/jobs/")
        if request.method == "GET" and path in {job["id"] for job in server.service.alive}:
            server.service.train(path)
        return handle(request)

    server.service.handle = end_what_is_looked_at


def assets_of(name, data, **more):
    return fine_tuned_model_assets(name, training_data=str(data), model="gpt-4o-mini", **more)


@pytest.mark.parametrize("reuse", ["run", "content", "never"])
def test_a_step_that_is_retried_adopts_its_job(run, service, losing, slowly, data, reuse):
    assets = assets_of(f"retried_{reuse}", data, reuse=reuse, retry_policy=dg.RetryPolicy(max_retries=1))

    made = materializations(run(assets, resources=losing))

    assert len(jobs_on(service, f"retried_{reuse}/job")) == 1
    assert "Adopted" in made["job"].metadata["why"].value


@pytest.mark.parametrize(("reuse", "jobs"), [("run", 1), ("content", 1), ("never", 2)])
def test_a_re_execution_adopts_its_runs_job_unless_nothing_is_to_be_reused(
    instance, service, losing, slowly, data, reuse, jobs
):
    first, again = run_twice(instance, assets_of(f"again_{reuse}", data, reuse=reuse), losing, tags={})

    assert not first.success
    assert again.success
    assert len(jobs_on(service, f"again_{reuse}/job")) == jobs


def test_a_retry_by_dagster_itself_adopts_even_then(instance, service, losing, slowly, data):
    tags = {"dagster/retry_number": "1"}
    _, again = run_twice(instance, assets_of("auto", data, reuse="never"), losing, tags=tags)

    assert again.success
    assert len(jobs_on(service, "auto/job")) == 1


def run_twice(instance, assets, resources, tags):
    """A run that fails, and the run that takes its place, with the tags that Dagster gives such runs."""
    first = dg.materialize(assets, instance=instance, resources=resources, raise_on_error=False)
    defs = dg.Definitions(assets=assets, resources=resources, executor=dg.in_process_executor)
    job = defs.resolve_implicit_global_asset_job_def()
    run = instance.create_run_for_job(job, parent_run_id=first.run_id, root_run_id=first.run_id, tags=tags)
    return first, execute_run(InMemoryJob(job), run, instance)


def test_a_new_run_trains_anew_where_only_a_runs_own_job_is_reused(run, service, data):
    for _ in range(2):
        run(assets_of("anew", data, reuse="run"))

    assert len(jobs_on(service, "anew/job")) == 2


def test_a_runs_tag_has_it_trained_anew(run, service, data):
    assets = assets_of("forced", data)
    run(assets)

    made = materializations(run(assets, tags={"tuneway/reuse": "run"}))

    assert len(jobs_on(service, "forced/job")) == 2
    assert "each run trains again" in made["job"].metadata["why"].value
    assert "can't be 'sometimes'" in said(run(assets, fails=True, tags={"tuneway/reuse": "sometimes"}))


def test_a_failed_job_is_not_reused(run, service, server, data):
    server.service.ends = "failed"
    run(assets_of("better", data), fails=True)
    server.service.ends = "succeeded"

    run(assets_of("better", data))

    assert [job.status for job in jobs_on(service, "better/job")] == ["failed", "succeeded"]


def test_what_no_retry_cures_is_not_retried(run, service, server, data):
    server.service.ends = "failed"

    result = run(assets_of("hopeless", data, retry_policy=dg.RetryPolicy(max_retries=3)), fails=True)

    assert len(jobs_on(service, "hopeless/job")) == 1
    assert not [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]


def test_a_time_out_leaves_the_job_alone(run, service, server, data):
    server.service.ends = None

    result = run(assets_of("late", data, timeout=0.2), fails=True)

    (job,) = jobs_on(service, "late/job")
    assert "didn't end before the deadline" in said(result)
    assert not job.done


# --- Termination. ---


@pytest.fixture
def interrupted(monkeypatch, server):
    """Jobs never end, and whoever waits for one is interrupted, as by a run that is terminated."""
    server.service.ends = None
    when = {"news": JobChanged}
    tell = _log.Teller.__call__

    def interrupt(self, news):
        tell(self, news)
        if isinstance(news, when["news"]):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(_log.Teller, "__call__", interrupt)
    return when


@pytest.mark.parametrize(
    ("name", "options", "status"),
    [("ended", {}, "cancelled"), ("kept", {"cancel_on_termination": False}, "validating_files")],
)
def test_an_interrupted_run_cancels_its_job_unless_told_not_to(
    instance, resources, service, data, interrupted, name, options, status
):
    assets = assets_of(name, data, **options)

    with pytest.raises(dg.DagsterExecutionInterruptedError):
        dg.materialize(assets, instance=instance, resources=resources)

    (job,) = jobs_on(service, f"{name}/job")
    assert job.status == status


def test_a_run_that_is_ended_while_it_submits_cancels_what_it_has_asked_for(
    instance, resources, service, data, interrupted
):
    interrupted["news"] = JobCreated
    assets = assets_of("early", data)

    with pytest.raises(dg.DagsterExecutionInterruptedError):
        dg.materialize(assets, instance=instance, resources=resources)

    (job,) = jobs_on(service, "early/job")
    assert job.status == "cancelled"


def test_a_terminated_run_leaves_a_job_alone_that_another_run_has_made(instance, resources, service, data, interrupted):
    interrupted["news"] = JobCreated  # the first run is ended while it submits, and leaves its job
    with pytest.raises(dg.DagsterExecutionInterruptedError):
        dg.materialize(assets_of("shared", data, cancel_on_termination=False), instance=instance, resources=resources)
    interrupted["news"] = JobChanged

    with pytest.raises(dg.DagsterExecutionInterruptedError):
        dg.materialize(assets_of("shared", data), instance=instance, resources=resources)

    (job,) = jobs_on(service, "shared/job")
    assert job.status == "validating_files"


@pytest.mark.usefixtures("interrupted")
def test_a_terminated_re_execution_cancels_the_job_that_its_first_run_has_made(instance, service, losing, data):
    assets = assets_of("executed_again", data)

    _, again = run_twice(instance, assets, losing, tags={})

    (job,) = jobs_on(service, "executed_again/job")
    assert not again.success
    assert job.status == "cancelled"


@pytest.mark.usefixtures("interrupted")
def test_a_terminated_run_cancels_its_own_job_on_a_service_that_drops_its_marks(instance, resources, server, data):
    server.service.keeps_metadata = False
    assets = assets_of("unmarked", data)

    with pytest.raises(dg.DagsterExecutionInterruptedError):
        dg.materialize(assets, instance=instance, resources=resources)

    assert [job["status"] for job in server.service.jobs] == ["cancelled"]


@pytest.mark.parametrize(("cancel", "room"), [(False, 14), (True, 13)])
def test_more_pairs_than_leave_room_for_ours_are_refused_when_the_definitions_are_loaded(data, cancel, room):
    def fill(pairs):
        own = {f"own {number}": "x" for number in range(pairs)}
        return assets_of("full", data, metadata=own, cancel_on_termination=cancel)

    fill(room)
    with pytest.raises(InvalidSpec, match=f"at most {room}"):
        fill(room + 1)


# --- Who asks. ---


@pytest.fixture
def requester_in(instance):
    """Gives the requester of an asset `a/job` in a run of it."""

    def ask(partition, key=("a", "job"), **arguments):
        asked = []

        @dg.asset(key=list(key), partitions_def=dg.StaticPartitionsDefinition(["x", "y" * 600]))
        def asking(context):
            asked.append(requester_of(context, context.asset_key))
            return dg.MaterializeResult()

        result = dg.materialize([asking], instance=instance, partition_key=partition, **arguments)
        return asked[0], result.run_id

    return ask


def test_a_requester_names_asset_and_run_and_leaves_the_partition_to_the_content(requester_in):
    requester, run = requester_in("x")

    assert requester.names("run") == {"engine": "dagster", "pipeline": "a/job", "run": run}
    assert requester.names("never") == {"engine": "dagster", "pipeline": "a/job", "run": run, "occasion": run}
    assert requester.origin == f"dagster: a/job [x] / run {run}"


def test_a_deployment_is_part_of_the_key_and_of_the_origin(requester_in, monkeypatch):
    monkeypatch.setenv("TUNEWAY_DEPLOYMENT", "staging")

    requester, run = requester_in("x")

    assert requester.names("run")["deployment"] == "staging"
    assert requester.origin == f"dagster: staging / a/job [x] / run {run}"


def test_two_assets_with_long_names_in_one_run_have_two_origins(requester_in):
    (one, own), (other, others) = (requester_in("x", ("a" * 500, name)) for name in ("job", "job_2"))

    assert one.origin.removesuffix(own) != other.origin.removesuffix(others)


def test_the_origin_names_the_run_however_long_the_partitions_key_is(requester_in):
    requester, run = requester_in("y" * 600)

    assert len(requester.origin) < 512
    assert requester.origin.endswith(f" / run {run}")


# --- An asset of one's own. ---


def test_an_asset_of_ones_own_has_it_all_in_one_call(run, service, data, losing, slowly, registry):
    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=1))
    def mine(context, tuneway: FineTuningResource):
        return fine_tune(
            context, tuneway, training_data=data, model="gpt-4o-mini", name="mine", alias="champion",
            method={"type": "supervised", "n_epochs": 2},
        )  # fmt: skip

    made = materializations(run([mine], resources=losing))["mine"]

    (job,) = jobs_on(service, "dagster: mine")
    assert made.metadata["fine_tuned_model"].value == job.fine_tuned_model
    assert made.metadata["aliases"].value == "champion"
    assert made.metadata["tuneway"].value["ref"] == "mine:1"
    assert open_registry(registry).get("mine").record.requested == {"n_epochs": 2}
    assert made.metadata["rows"].value == 24
    assert made.tags["dagster/data_version"] == job.fine_tuned_model


def test_what_it_registers_has_the_rows_and_tokens_of_its_data(run, data, registry):
    held_out = write(data.parent / "valid.jsonl", chats(12, seed=2))

    run([asset_with(data, name="counted", validation_data=held_out)])

    record = open_registry(registry).get("counted").record
    assert (record.training.rows, record.validation.rows) == (24, 12)
    assert record.training.tokens > record.validation.tokens > 0
    assert (record.origin.engine, record.origin.pipeline) == ("dagster", "mine")


def asset_with(data, **more):
    @dg.asset
    def mine(context, tuneway: FineTuningResource):
        return fine_tune(context, tuneway, **{"training_data": data, "model": "gpt-4o-mini"} | more)

    return mine


def test_it_refuses_bad_data_small_budgets_and_bad_models(run, service, data, rows, monkeypatch):
    def refuses(_candidate, _champion):
        return False

    assert "error" in said(run([asset_with(rows[:3])], fails=True))
    with monkeypatch.context() as patch:
        patch.setattr("tuneway.client._settings.is_local", lambda _url: False)
        patch.setenv("OPENAI_API_KEY", "none")
        assert "more than max_usd" in said(run([asset_with(data, max_usd=0.00001)], fails=True))
    assert jobs_on(service, "dagster: mine") == []
    refused = said(run([asset_with(data, name="m", gates=[refuses])], fails=True))
    assert "refused: the gate returned False" in refused


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"alias": "champion"}, "Give a name as well"),
        ({"held_out": [{"messages": []}]}, "Give a name as well"),
        ({"name": "m", "gates": [Gate("full_valid_loss", max=1)]}, "no validation data"),
        ({"name": "m", "checkpoint": "best"}, "there is no best checkpoint"),
        ({"reuse": "sometimes"}, "reuse can't be"),
        ({"score": "exat"}, "score can't be"),
        ({"name": "m", "held_out": 5}, "held_out: a int is neither a path nor rows"),
        ({"name": "m", "held_out": [{"messages": []}]}, "no question with an expected answer"),
        ({"name": "m", "held_out": "nowhere.jsonl"}, "nowhere.jsonl"),
        ({"training_file": "file-1"}, "training_file"),
        ({"training_data": dg.AssetKey("tickets")}, "tickets is an asset"),
        ({"training_data": None}, "training_data: there is none"),
    ],
)
def test_a_wrong_argument_is_named_before_anything_is_sent(run, server, data, wrong, words):
    assert words in said(run([asset_with(data, **wrong)], fails=True))
    assert not server.arrived
