"""`fine_tune`: all steps in one flow, checked whole before anything is sent."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from prefect import flow, task
from prefect.assets import materialize
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.exceptions import ParameterTypeError
from prefect.filesystems import RemoteFileSystem
from support.datasets import good_rows, write

from prefect_tuneway import FineTuningJob, afine_tune, fine_tune
from tuneway import Recipe, Supervised
from tuneway.errors import InvalidDataset, InvalidSpec, OverBudget
from tuneway.registry import Gate, NoWorseThanChampion, open_registry

OPENED: Counter[str] = Counter()


@pytest.fixture
def pair(tmp_path):
    """Training and validation data."""
    rows = good_rows(count=30)
    train, valid = write(tmp_path / "train.jsonl", rows[:20]), write(tmp_path / "valid.jsonl", rows[20:])
    return {"training_data": str(train), "validation_data": str(valid)}


@pytest.fixture
def opened():
    """How often each file was opened."""
    if "hook" not in OPENED:
        OPENED["hook"] = 1
        sys.addaudithook(lambda event, given: OPENED.update([str(given[0])]) if event == "open" else None)
    before = Counter(OPENED)
    return lambda path: OPENED[path] - before[path]


def registered(ref):
    return open_registry(os.environ["TUNEWAY_REGISTRY_URI"]).get(ref)


def test_one_flow_does_it_all(server, credentials, pair):
    told = fine_tune(
        **pair, model="base", name="support-router", credentials=credentials, alias="champion", checkpoint="best",
        gates=[Gate("full_valid_loss", max=1.0), NoWorseThanChampion("full_valid_loss")], reason="nightly",
        method=Supervised(n_epochs=2), data_options={"prices": {"base": 1.0}}, max_usd=5, seed=7,
    )  # fmt: skip
    assert (told["ref"], told["aliases"]) == ("support-router:1", ["champion"])
    record = registered("support-router@champion").record
    assert (record.training.rows, record.validation.rows) == (20, 10)
    assert (record.origin.engine, record.origin.pipeline) == ("prefect", "fine_tune")
    assert (record.requested, record.checkpoint_choice) == ({"n_epochs": 2}, "best")
    assert len(server.service.jobs) == 1


async def test_it_has_a_form_to_be_awaited(server, credentials, pair):
    told = await afine_tune(**pair, model="base", name="support-router", credentials=credentials)
    assert told["ref"] == "support-router:1"


def test_without_a_name_its_output_is_that_of_the_wait(server, credentials, pair):
    told = fine_tune(**pair, model="base", credentials=credentials, method={"type": "supervised", "n_epochs": 3})
    assert (told["status"], told["requested"]) == ("succeeded", {"n_epochs": 3})
    assert [fact["rows"] for fact in told["data"]] == [20, 10]


def test_a_file_is_opened_to_check_it_and_to_send_it_and_no_more(server, credentials, pair, opened):
    fine_tune(**pair, model="base", name="support-router", credentials=credentials)
    assert [opened(path) for path in pair.values()] == [2, 2]


def test_rows_are_read_once(server, credentials):
    asked = []

    def query():
        asked.append("once")
        return iter(good_rows(count=30))

    fine_tune(training_data=query, validation_data=0.4, model="base", name="rows", credentials=credentials)
    assert asked == ["once"]
    assert len(server.asked("POST", "/files")) == 2


def test_its_steps_are_tasks_that_are_seen(server, credentials, pair):
    state = fine_tune(**pair, model="base", name="support-router", credentials=credentials, return_state=True)
    mine = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(flow_run_filter=mine)
    assert [run.name.rpartition("-")[0] for run in sorted(runs, key=lambda run: run.expected_start_time)] == [
        "check_and_upload", "create_fine_tuning_job", "wait_for_fine_tuning_job", "register_model",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "given", [list, iter, lambda rows: lambda: iter(rows)], ids=["a list", "an iterator", "a function"]
)
def test_rows_are_data_as_well(server, credentials, given):
    told = fine_tune(training_data=given(good_rows(count=30)), model="base", name="rows", credentials=credentials)
    assert told["ref"] == "rows:1"
    assert registered("rows:1").record.training.rows == 30


@pytest.mark.parametrize("form", ["itself", "to be awaited", "in a flow"])
async def test_it_takes_what_its_tasks_take(server, credentials, pair, form):
    given = {
        **{name: Path(path) for name, path in pair.items()}, "model": "base", "name": "router", "alias": "champion",
        "method": Supervised(n_epochs=2), "timeout": timedelta(hours=1), "max_usd": 5.0, "checkpoint": "best",
        "data_options": {"prices": {"base": 1.0}}, "gates": [Gate("full_valid_loss", max=1.0)],
        "credentials": credentials,
    }  # fmt: skip
    if form == "to be awaited":
        told = await afine_tune(**given)
    else:
        whole = fine_tune if form == "itself" else flow(lambda: fine_tune(**given), name="mine")
        told = await asyncio.to_thread(whole, **given if whole is fine_tune else {})
    assert told["aliases"] == ["champion"]
    record = await asyncio.to_thread(registered, "router:1")
    assert (record.record.requested, record.record.checkpoint_choice) == ({"n_epochs": 2}, "best")


def in_a_task(data):
    return task(lambda: data, name="upstream")()


def submitted(data):
    return task(lambda: data, name="upstream").submit()


def materialized(data):
    return materialize("test://tickets")(lambda: data)()


@pytest.mark.parametrize("upstream", [in_a_task, submitted, materialized])
@pytest.mark.parametrize("kind", [Path, str, "rows", "a frame"])
def test_the_result_of_a_task_is_data_as_it_is(server, credentials, pair, upstream, kind):
    train = pair["training_data"]
    rows = [json.loads(line) for line in Path(train).read_text().splitlines()]
    if kind == "a frame":
        data = pytest.importorskip("pyarrow").Table.from_pylist(rows)
        pytest.importorskip("narwhals")
    else:
        data = rows if kind == "rows" else kind(train)

    @flow
    def nightly():
        return fine_tune(training_data=upstream(data), model="base", name="router", credentials=credentials)

    assert nightly()["ref"] == "router:1"
    assert registered("router:1").record.training.rows == 20


def test_a_file_system_blocks_settings_open_what_a_url_names(server, credentials, pair, monkeypatch):
    upath = pytest.importorskip("upath")
    store = pytest.importorskip("fsspec.implementations.memory").MemoryFileSystem
    store().pipe("/tuneway/train.jsonl", Path(pair["training_data"]).read_bytes())
    opened, really = [], store._open

    def opening(self, *path, **options):
        opened.append(self.storage_options)
        return really(self, *path, **options)

    monkeypatch.setattr(store, "_open", opening)
    block = RemoteFileSystem(basepath="memory://tuneway", settings={"key": "sk-hidden"})
    data = upath.UPath(f"{block.basepath}/train.jsonl", **block.settings)
    state = fine_tune(training_data=data, model="base", name="router", credentials=credentials, return_state=True)
    assert state.result()["ref"] == "router:1"
    assert {options["key"] for options in opened} == {"sk-hidden"}
    assert "sk-hidden" not in json.dumps(parameters_of(state))


@pytest.mark.parametrize("whole", [fine_tune, fine_tune.with_options(name="another")], ids=["itself", "with options"])
@pytest.mark.parametrize("given", [list, iter, json.dumps], ids=["a list", "an iterator", "a text by mistake"])
def test_rows_are_no_part_of_what_prefect_stores(server, credentials, whole, given):
    rows = good_rows(count=30)
    state = whole(training_data=given(rows), model="base", name="rows", credentials=credentials, return_state=True)
    stored = parameters_of(state)
    assert str(rows[0]["messages"][0]["content"]) not in json.dumps(stored)
    assert (stored["model"], stored["name"]) == ("base", "rows")
    if given is json.dumps:
        assert (state.type.value, stored["training_data"]) == ("FAILED", {"source": "a str"})
    else:
        sha256 = registered("rows:1").record.training.sha256
        assert stored["training_data"] == {"source": "rows", "rows": 30, "sha256": sha256}


async def test_rows_are_hidden_in_the_form_to_be_awaited_too(server, credentials):
    rows = good_rows(count=30)
    state = await afine_tune(training_data=rows, model="base", credentials=credentials, return_state=True)
    [fact] = (await state.result())["data"]
    described = {"source": "rows", "rows": 30, "sha256": fact["sha256"]}
    assert (await asyncio.to_thread(parameters_of, state))["training_data"] == described


@pytest.mark.parametrize("to", ["{tmp_path}/{{job_id}}.html", "memory://reports/{{job_id}}.html"])
def test_the_report_is_written_where_it_is_asked_for(server, credentials, pair, tmp_path, to):
    store = pytest.importorskip("fsspec").filesystem("memory")
    to = to.format(tmp_path=tmp_path)
    state = fine_tune(**pair, model="base", credentials=credentials, report_to=to, return_state=True)
    place = to.replace("{job_id}", state.result()["job_id"])
    page = store.cat(place).decode() if "://" in place else Path(place).read_text()
    assert page.startswith("<!doctype html>")
    run_id = state.state_details.flow_run_id
    with get_client(sync_client=True) as client:
        shown = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
        )
    assert [one.key.rpartition("-")[2] for one in shown if place in str(one.data)] == ["training"]


def test_a_report_that_can_not_be_written_fails_no_training(server, credentials, pair, caplog):
    told = fine_tune(**pair, model="base", credentials=credentials, report_to="/nowhere/at/all.html")
    assert told["status"] == "succeeded"
    assert "There is no report: /nowhere/at/all.html can't be written" in caplog.text


def test_a_secret_in_the_address_of_a_report_is_not_stored(server, credentials, pair):
    to = "memory://user:hidden@reports/page.html"
    state = fine_tune(**pair, model="base", credentials=credentials, report_to=to, return_state=True)
    assert parameters_of(state)["report_to"] == {"source": "memory://reports/page.html"}


def test_a_place_is_stored_as_it_was_given_but_for_its_secrets(server, credentials, pair):
    state = fine_tune(**pair, model="base", credentials=credentials, return_state=True)
    assert pair.items() <= parameters_of(state).items()
    url = "http://user:hidden@127.0.0.1:9/train.jsonl?signature=hidden"
    state = fine_tune(training_data=url, model="base", credentials=credentials, return_state=True)
    assert state.type.value == "FAILED"
    assert parameters_of(state)["training_data"] == {"source": "http://127.0.0.1:9/train.jsonl"}


def parameters_of(state):
    """What Prefect's API gives as the parameters of a flow run."""
    with get_client(sync_client=True) as client:
        return client.read_flow_run(state.state_details.flow_run_id).parameters


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("seed", {"seed": -1}),
        ("method", {"method": {"type": "supervised", "n_epochs": 99}}),
        ("alias", {"alias": "v1"}),
        ("alias", {"name": None, "alias": "champion"}),
        ("registry", {"registry": "nowhere"}),
        ("checkpoint", {"validation_data": None, "checkpoint": "best"}),
        ("gates", {"validation_data": None, "gates": [Gate("full_valid_loss", max=1.0)]}),
        ("gates", {"gates": [Gate("full_valid_los", max=1.0)]}),
        ("metadata", {"metadata": {f"own {number}": "x" for number in range(14)}}),
        ("timeout", {"timeout": -1}),
        ("training_data", {"training_data": 7}),
        ("report_to", {"report_to": "report.pdf"}),
    ],
)
def test_a_wrong_field_is_refused_before_anything_is_sent(server, credentials, pair, field, wrong):
    with pytest.raises(InvalidSpec) as caught:
        fine_tune(**{**pair, "model": "base", "name": "router", "credentials": credentials} | wrong)
    assert caught.value.field.partition(".")[0] == field
    assert not server.arrived


@pytest.mark.parametrize("wrong", [{"reuse": "often"}, {"checkpoint": "first"}])
def test_an_unknown_word_is_refused_by_the_flows_own_parameters(server, credentials, pair, wrong):
    with pytest.raises(ParameterTypeError):
        fine_tune(**pair, model="base", name="router", credentials=credentials, **wrong)
    assert not server.arrived


def test_rows_that_are_in_both_files_are_refused_before_anything_is_sent(server, credentials, pair, tmp_path):
    both = write(tmp_path / "both.jsonl", good_rows(count=20)[10:])
    with pytest.raises(InvalidDataset, match=r"row\.overlap"):
        fine_tune(training_data=pair["training_data"], validation_data=both, model="base", credentials=credentials)
    assert not server.arrived


def test_a_training_over_budget_is_refused_before_anything_is_sent(server, credentials, pair, monkeypatch):
    monkeypatch.setattr("tuneway.client._settings.is_local", lambda _url: False)
    with pytest.raises(OverBudget):
        fine_tune(**pair, model="base", credentials=credentials, max_usd=1e-9, data_options={"prices": {"base": 1.0}})
    assert not server.arrived


def test_a_deployment_gives_everything_as_json(server, credentials, pair):
    parameters = {
        **pair,
        "model": "base",
        "name": "router",
        "alias": "champion",
        "method": {"type": "supervised", "n_epochs": 2},
        "gates": [{"metric": "full_valid_loss", "max": 1.0}, {"metric": "full_valid_loss", "tolerance": 0.1}],
    }
    given = fine_tune.validate_parameters(json.loads(json.dumps(parameters)))
    assert given["gates"] == [Gate("full_valid_loss", max=1.0), NoWorseThanChampion("full_valid_loss", tolerance=0.1)]
    assert fine_tune(**given | {"credentials": credentials})["aliases"] == ["champion"]


def test_the_form_of_a_deployment_has_types_defaults_and_descriptions():
    schema = fine_tune.to_deployment("mine")._parameter_openapi_schema
    fields = schema.properties
    assert schema.required == ["model", "training_data"]
    assert fields["model"]["type"] == "string"
    assert {"type": "integer"} in fields["seed"]["anyOf"]
    assert {"$ref": "#/definitions/Supervised"} in fields["method"]["anyOf"]
    assert (fields["reuse"]["default"], fields["reuse"]["enum"]) == ("run", ["run", "content", "never"])
    assert (fields["checkpoint"]["default"], fields["gates"]["default"]) == ("last", [])
    assert {one["$ref"].rpartition("/")[2] for one in fields["gates"]["items"]["anyOf"]} == {
        "Gate",
        "NoWorseThanChampion",
    }
    assert [name for name, field in fields.items() if not field.get("description")] == []


def test_the_block_and_the_flow_take_every_field_of_a_recipe():
    assert Recipe.model_fields.keys() <= FineTuningJob.model_fields.keys()
    assert Recipe.model_fields.keys() <= fine_tune.parameters.properties.keys()
