"""The whole way from a recipe to a registered model, and what is refused before anything is sent."""

from __future__ import annotations

import dataclasses
import json

import pytest
from support.datasets import good_rows, write
from support.fault_server import FaultServer, drop_after
from support.quick_service import QuickService

from tuneway import DPO, JobSpec, Recipe, Reinforcement, Requester, Supervised
from tuneway.errors import GateRefused, InvalidDataset, InvalidSpec, JobFailed, MissingExtra, OverBudget
from tuneway.progress import JobAdopted
from tuneway.registry import Gate, NoWorseThanChampion, open_registry

NIGHTLY = Requester(engine="airflow", pipeline="nightly", run="2026-11-30", step="tune")
GRADER = {"type": "string_check", "name": "same", "input": "{{sample.output_text}}", "reference": "x",
          "operation": "eq"}  # fmt: skip


@pytest.fixture
def server():
    with FaultServer(QuickService()) as server:
        yield server


@pytest.fixture
def client(connect, server):
    with connect(base_url=server.base_url, settle=0) as client:
        yield client


@pytest.fixture
def train(tmp_path):
    return write(tmp_path / "train.jsonl", good_rows(count=20))


@pytest.fixture
def valid(tmp_path):
    return write(tmp_path / "valid.jsonl", good_rows(count=25)[20:])


@pytest.fixture
def recipe(train, valid):
    return Recipe(model="base", training_data=train, validation_data=valid, method=Supervised(n_epochs=2), seed=7)


@pytest.fixture
def registry(tmp_path):
    return f"sqlite:///{tmp_path}/models.db"


def changed(recipe, **fields):
    given = {name: getattr(recipe, name) for name in type(recipe).model_fields}
    return Recipe(**{name: value for name, value in (given | fields).items() if value is not None})


# --- the whole way ---


def test_a_recipe_becomes_a_registered_model(client, server, recipe, registry):
    result = client.fine_tune(
        recipe, NIGHTLY, name="support-router", registry=registry, alias="champion", checkpoint="best",
        gates=[Gate("full_valid_loss", max=1.0)], reason="the first",
    )  # fmt: skip

    (job,) = server.service.jobs
    assert (result.job.id, result.model) == (job["id"], result.version.model_id)
    record = open_registry(registry).get("support-router@champion").record
    assert record.model_id == f"ft:base:org::{job['id']}:ckpt-step-10"
    assert (record.training.rows, record.validation.rows) == (20, 5)
    assert record.training.tokens > 0
    assert (record.requested, record.seed) == ({"n_epochs": 2}, 7)
    assert (record.origin.engine, record.origin.pipeline, record.origin.run, record.origin.step) == (
        "airflow", "nightly", "2026-11-30", "tune",
    )  # fmt: skip


def test_the_steps_alone_send_the_same_bytes_and_write_the_same_record(connect, recipe, tmp_path):
    records, sent = [], []
    for form in ("one step", "step by step"):
        registry = f"sqlite:///{tmp_path}/{form}.db"
        with FaultServer(QuickService()) as server, connect(base_url=server.base_url, settle=0) as client:
            if form == "one step":
                client.fine_tune(recipe, NIGHTLY, name="router", registry=registry)
            else:
                report = client.check(recipe, NIGHTLY, name="router", registry=registry)
                file = client.upload(recipe.training_data, validation_data=recipe.validation_data, report=report)
                spec = recipe.spec(file, file.validation)
                job = client.submit(spec, requester=NIGHTLY)
                done = client.wait(job)
                client.register(done, name="router", registry=registry, spec=spec, data=[report], origin=NIGHTLY)
            posts = server.service.requests("POST", ".*")
            sent.append([(post.path, post.json and json.dumps(post.json)) for post in posts])
            record = open_registry(registry).get("router").record.model_dump(mode="json")
            records.append({k: v for k, v in record.items() if k not in ("service_url", "created_at")})
    assert sent[0] == sent[1]
    assert len(sent[0]) == 3
    assert records[0] == records[1]


def test_the_same_again_adopts_and_sends_nothing(client, server, recipe, registry):
    heard = []
    first = client.fine_tune(recipe, NIGHTLY, name="router", registry=registry)
    again = client.fine_tune(recipe, NIGHTLY, name="router", registry=registry, on_event=heard.append)
    assert (again.job.id, again.version.ref) == (first.job.id, first.version.ref)
    assert len(server.service.requests("POST", ".*")) == 3
    assert any(isinstance(news, JobAdopted) for news in heard)


@pytest.mark.parametrize(("reuse", "jobs"), [("run", 2), ("content", 1), ("never", 2)])
def test_another_run_reuses_what_it_is_told_to(client, server, recipe, reuse, jobs):
    client.fine_tune(recipe, NIGHTLY)
    client.fine_tune(recipe, dataclasses.replace(NIGHTLY, run="tomorrow"), reuse=reuse)
    assert len(server.service.jobs) == jobs


def test_a_lost_reply_makes_no_second_job(client, server, recipe):
    server.fault(drop_after(), "POST", "/fine_tuning/jobs")
    client.fine_tune(recipe, NIGHTLY)
    assert len(server.service.jobs) == 1


def test_without_a_name_nothing_is_registered(client, recipe, registry):
    result = client.fine_tune(recipe, NIGHTLY)
    assert (result.version, result.model) == (None, result.job.fine_tuned_model)


def test_a_specification_of_uploaded_files_goes_the_same_way(client, server, recipe, registry):
    file = client.upload(recipe.training_data, validation_data=recipe.validation_data)
    result = client.fine_tune(recipe.spec(file, file.validation), NIGHTLY, name="router", registry=registry)
    assert (result.started.report, len(server.service.jobs)) == (None, 1)
    assert client.fine_tune(recipe, NIGHTLY, name="router", registry=registry).job.id == result.job.id


def test_a_gate_that_refuses_leaves_the_version_registered(client, recipe, registry):
    with pytest.raises(GateRefused):
        client.fine_tune(
            recipe, NIGHTLY, name="router", registry=registry, alias="champion",
            gates=[Gate("full_valid_loss", max=0.01)],
        )  # fmt: skip
    assert open_registry(registry).get("router").aliases == []


def test_a_job_that_fails_is_an_error_and_nothing_is_registered(client, server, recipe, registry):
    server.service.ends = "failed"
    with pytest.raises(JobFailed, match="line 3 is no good"):
        client.fine_tune(recipe, NIGHTLY, name="router", registry=registry)
    assert open_registry(registry).models() == []


# --- refused before anything is sent ---

WORDS = [
    ("reuse", {"reuse": "always"}),
    ("checkpoint", {"checkpoint": "first"}),
    ("name", {"name": "no name"}),
    ("alias", {"name": "router", "alias": "latest"}),
    ("alias", {"alias": "champion"}),
    ("checkpoint", {"checkpoint": "best"}),
    ("gates", {"gates": [Gate("full_valid_loss", max=1)]}),
    ("gates", {"name": "router", "gates": [Gate("full_valid_los", max=1)]}),
    ("gates", {"name": "router", "gates": [Gate("train_mean_reward", min=1)]}),
    ("gates", {"name": "router", "gates": [NoWorseThanChampion("score")]}),
    ("gates", {"name": "router", "gates": ["full_valid_loss<1"]}),
    ("gates", {"name": "router", "gates": Gate("full_valid_loss", max=1)}),
    ("gates", {"name": "router", "gates": None}),
    ("gates", {"name": "router", "gates": "full_valid_loss<1"}),
    ("registry", {"name": "router", "registry": "models.db"}),
]


@pytest.mark.parametrize("call", ["check", "start", "fine_tune"])
@pytest.mark.parametrize(("field", "words"), WORDS)
def test_a_bad_word_is_refused_before_anything_is_sent(client, server, recipe, call, field, words):
    with pytest.raises(InvalidSpec) as caught:
        getattr(client, call)(recipe, NIGHTLY, **words)
    assert caught.value.field == field
    assert server.arrived == []


@pytest.mark.parametrize("timeout", [-1, float("nan"), "5"])
def test_a_wrong_time_out_is_refused_before_anything_is_sent(client, server, recipe, timeout):
    with pytest.raises(InvalidSpec, match="timeout can't be"):
        client.fine_tune(recipe, NIGHTLY, timeout=timeout)
    assert server.arrived == []


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("checkpoint", {"name": "router", "checkpoint": "best"}),
        ("gates", {"name": "router", "gates": [Gate("full_valid_loss", max=1)]}),
        ("gates", {"name": "router", "gates": [NoWorseThanChampion("valid_accuracy")]}),
    ],
)
def test_what_needs_validation_data_is_refused_without_it(client, server, train, field, words):
    bare = [Recipe(model="base", training_data=train), JobSpec(model="base", training_file="file-1")]
    for what in bare:
        with pytest.raises(InvalidSpec, match="validation data") as caught:
            client.fine_tune(what, NIGHTLY, **words)
        assert caught.value.field == field
    assert server.arrived == []


def test_a_typing_mistake_in_a_gate_names_the_metric_that_was_meant(client, recipe):
    with pytest.raises(InvalidSpec, match="Did you mean 'full_valid_loss'"):
        client.check(recipe, name="router", gates=[Gate("full_valid_los", max=1)])


def test_a_gate_by_a_metrics_other_name_is_the_same_gate(client, recipe, registry):
    result = client.fine_tune(
        recipe, NIGHTLY, name="router", registry=registry, alias="champion", gates=[Gate("train_accuracy", min=0.4)]
    )
    assert result.version.verdicts[0].passed


def test_a_registry_whose_package_is_missing_is_refused_first(client, server, recipe, monkeypatch):
    monkeypatch.setattr("tuneway.registry._places.find_spec", lambda _name: None)
    with pytest.raises(MissingExtra, match="mlflow"):
        client.fine_tune(recipe, NIGHTLY, name="router", registry="mlflow:http://127.0.0.1:1")
    assert server.arrived == []


def test_bad_data_is_refused_before_anything_is_sent(client, server, recipe, tmp_path):
    overlap = write(tmp_path / "overlap.jsonl", good_rows(count=30)[15:])
    with pytest.raises(InvalidDataset, match=r"row\.overlap"):
        client.fine_tune(changed(recipe, validation_data=overlap), NIGHTLY)
    assert server.arrived == []


@pytest.mark.parametrize(
    ("rows", "method", "meant"),
    [("preference", None, "dpo"), ("preference", Supervised(n_epochs=1), "dpo"), ("reinforcement", None, None)],
)
def test_data_of_another_method_is_refused(client, server, tmp_path, rows, method, meant):
    data = write(tmp_path / "rows.jsonl", good_rows(rows, 20))
    with pytest.raises((InvalidSpec, InvalidDataset)) as caught:
        client.fine_tune(Recipe(model="base", training_data=data, method=method), NIGHTLY)
    if meant:
        assert meant in str(caught.value)
    assert server.arrived == []


def test_chats_are_no_preferences(client, server, train):
    with pytest.raises(InvalidDataset):
        client.fine_tune(Recipe(model="base", training_data=train, method=DPO(beta=0.1)), NIGHTLY)
    assert server.arrived == []


def test_reinforcement_needs_validation_data(train):
    with pytest.raises(InvalidSpec, match="reinforcement needs validation data") as caught:
        Recipe(model="base", training_data=train, method=Reinforcement(grader=GRADER))
    assert caught.value.field == "validation_data"


def test_too_many_pairs_of_metadata_are_refused_first(client, server, recipe):
    pairs = {f"own {number}": "x" for number in range(14)}
    with pytest.raises(InvalidSpec, match="at most 13"):
        client.fine_tune(changed(recipe, metadata=pairs), dataclasses.replace(NIGHTLY, keep_origin=True))
    assert server.arrived == []


# --- the budget ---


@pytest.fixture
def hosted(client, monkeypatch):
    """The client, as if its service sent bills."""
    inner = getattr(client, "_inner", client)
    monkeypatch.setattr(inner, "_account", dataclasses.replace(inner._account, local=False, settle=0))
    return client


@pytest.mark.parametrize(("usd", "passes"), [(1.0, True), (1e-9, False)])
def test_a_training_over_budget_is_refused_with_its_price(hosted, server, recipe, usd, passes):
    priced = changed(recipe, max_usd=usd, data_options={"prices": {"base": 1.0}})
    if passes:
        assert hosted.check(priced).cost.usd <= usd
        assert hosted.start(priced, NIGHTLY).job.id, "the estimate is the price, where the service says none"
        return
    with pytest.raises(OverBudget, match="estimated to cost") as caught:
        hosted.fine_tune(priced, NIGHTLY)
    assert (caught.value.field, caught.value.report.rows) == ("max_usd", 20)
    assert server.arrived == []


def test_a_budget_without_a_known_price_is_refused(hosted, server, recipe):
    with pytest.raises(OverBudget, match="no price is known for base") as caught:
        hosted.fine_tune(changed(recipe, max_usd=20), NIGHTLY)
    assert "data_options={'prices': …}" in (caught.value.hint or "")
    assert server.arrived == []


@pytest.mark.parametrize("step", ["submit", "start"])
def test_a_budget_for_files_on_a_service_that_says_no_price_is_refused(step, hosted, server):
    spec = JobSpec(model="base", training_file="file-1")
    with pytest.raises(OverBudget, match="max_usd can't be checked"):
        getattr(hosted, step)(spec, max_usd=20)
    assert server.arrived == []


def test_a_service_on_this_machine_sends_no_bill(client, recipe):
    assert client.check(changed(recipe, max_usd=0.01)).rows == 20


# --- a recipe by itself ---


def test_a_recipe_takes_the_fields_of_a_job_and_gives_its_specification(recipe):
    spec = recipe.spec("file-1", "file-2")
    assert (
        spec.to_wire()
        == JobSpec(
            model="base", training_file="file-1", validation_file="file-2", method=Supervised(n_epochs=2), seed=7
        ).to_wire()
    )


@pytest.mark.parametrize("data", [{"messages": ["a secret"]}, '{"messages": ["a secret"]}', b"a secret", 7])
def test_what_is_no_data_is_refused_and_never_quoted(data):
    with pytest.raises(InvalidSpec, match=r"is not data|neither a path nor a URL") as caught:
        Recipe(model="base", training_data=data)
    assert caught.value.field == "training_data"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("given", [[{"prompt": "a secret"}], "train.jsonl", None, {"model": "base"}])
def test_what_is_no_recipe_and_no_specification_is_named(client, given):
    for call in (client.fine_tune, client.start, client.check, client.submit):
        with pytest.raises(InvalidSpec, match=r"is neither a Recipe nor a JobSpec|is not a JobSpec") as caught:
            call(given)
        assert "secret" not in str(caught.value)


def test_a_recipe_shows_none_of_its_rows_and_no_password():
    rows = [{"prompt": "a secret", "completion": "a secret"}]
    for recipe in (
        Recipe(model="base", training_data=rows, validation_data=0.5),
        Recipe(model="base", training_data=(row for row in rows), validation_data="https://me:secret@host/a?b=secret"),
        Recipe(model="base", training_data=rows, validation_data=rows),
    ):
        assert "secret" not in f"{recipe!r} {recipe}"


def test_rows_are_checked_uploaded_and_trained_on_in_one_go(client, server):
    """Rows of an iterator can be read once; that is enough."""
    rows = good_rows(count=60)
    for given in (rows, iter(rows)):
        started = client.start(Recipe(model="base", training_data=given, validation_data=0.5), NIGHTLY)
        assert started.report.rows + started.report.validation.rows == len(rows)
    assert len(server.service.jobs) == 1
    names = [file["filename"] for file in server.service.files if file["purpose"] == "fine-tune"]
    assert [name.partition(".")[0] for name in names] == ["training_data", "training_data-validation"]


@pytest.mark.parametrize("field", ["modle", "training_file"])
def test_a_field_that_does_not_exist_is_refused(train, field):
    with pytest.raises(InvalidSpec, match="invalid recipe"):
        Recipe(model="base", training_data=train, **{field: "x"})


# --- what came of it ---


def test_the_outcome_of_a_job_has_one_name_for_each_metric(client, recipe):
    job = client.fine_tune(recipe, NIGHTLY).job
    outcome = client.outcome(job)
    assert outcome.metrics == pytest.approx({
        "train_loss": 0.1, "train_mean_token_accuracy": 0.5, "valid_loss": 0.15, "full_valid_loss": 0.5,
    })  # fmt: skip
    assert [checkpoint.step_number for checkpoint in outcome.checkpoints] == [10, 20]
    assert (outcome.model, outcome.cost, outcome.missing) == (job.fine_tuned_model, None, [])


def test_the_log_of_a_job_is_fetched_if_it_is_asked_for(client, recipe):
    job = client.fine_tune(recipe, NIGHTLY).job
    assert client.outcome(job).events == []
    assert client.outcome(job, log=True).events[0].message == "Fine-tuning job started"
