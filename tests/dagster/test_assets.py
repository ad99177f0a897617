"""The four assets: what a run of them leaves on the service, in the registry, and for people to look at."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from support.dagster_runs import checks, failure, jobs_on, materializations, resources_of, said
from support.datasets import write
from support.support_chats import chats

from dagster_tuneway import FineTuningResource, fine_tune, fine_tuned_model_assets, output_of
from dagster_tuneway._metadata import checkpoint_table, report_page
from tuneway import Job, Outcome, Supervised
from tuneway.errors import InvalidSpec
from tuneway.flows import Trained
from tuneway.models import Checkpoint
from tuneway.registry import Gate, NoWorseThanChampion, open_registry
from tuneway.steps import data_facts, version_summary


def assets_of(name, training_data, **more):
    return fine_tuned_model_assets(name, **{"training_data": training_data, "model": "gpt-4o-mini"} | more)


def test_a_run_trains_on_the_file_and_registers_the_model(run, service, server, data, registry):
    held_out = write(data.parent / "valid.jsonl", chats(12, seed=2))
    assets = assets_of("whole", str(data), validation_data=held_out, alias="champion", seed=7, suffix="router")

    made = materializations(run(assets))

    (job,) = jobs_on(service, "whole/job")
    assert list(made) == ["training_file", "job", "fine_tuned_model", "registered_model"]
    assert job.status == "succeeded"
    assert server.service.jobs[-1]["seed"] == 7
    assert server.service.jobs[-1]["suffix"] == "router"
    version = open_registry(registry).get("whole@champion")
    assert (version.record.job_id, version.model_id) == (job.id, job.fine_tuned_model)
    assert version.record.training.rows == 24
    assert version.record.origin.engine == "dagster"
    assert version.record.origin.pipeline == "whole/registered_model"


def test_each_assets_version_is_made_of_its_content(run, service, data):
    made = materializations(run(assets_of("versions", str(data))))

    (job,) = jobs_on(service, "versions/job")
    versions = {name: one.tags["dagster/data_version"] for name, one in made.items()}
    sha256 = made["training_file"].metadata["sha256"].value
    assert versions == {
        "training_file": sha256,
        "job": job.metadata["tuneway_content"],
        "fine_tuned_model": job.fine_tuned_model,
        "registered_model": "versions:1",
    }


def test_unchanged_data_is_not_trained_again_and_the_asset_says_why(run, service, data):
    assets = assets_of("twice", str(data))

    first, again = (materializations(run(assets)) for _ in range(2))

    assert len(jobs_on(service, "twice/job")) == 1
    assert "A new job" in first["job"].metadata["why"].value
    why = again["job"].metadata["why"].value
    assert "Adopted, so nothing is paid" in why
    assert first["job"].metadata["why"].value != why
    versions = [{name: one.tags["dagster/data_version"] for name, one in made.items()} for made in (first, again)]
    assert versions[0] == versions[1]


def test_changed_data_is_trained_again(run, service, data, rows):
    assets = assets_of("changed", str(data))
    run(assets)
    write(data, rows[:-1])

    run(assets)

    assert len(jobs_on(service, "changed/job")) == 2


def test_other_settings_are_another_version_of_the_code(data):
    def code_of(**more):
        specs = {spec.key: spec for asset in assets_of("code", str(data), **more) for spec in asset.specs}
        return specs[dg.AssetKey(["code", "job"])].code_version

    assert code_of() == code_of()
    assert code_of(method=Supervised(n_epochs=2)) != code_of()
    assert code_of(method=Supervised(n_epochs=2)) == code_of(method=Supervised(n_epochs=2))
    assert code_of(code_version="mine") == "mine"


def test_the_model_is_shown_with_numbers_curve_checkpoints_and_links(run, real, registry, data):
    held_out = write(data.parent / "valid.jsonl", chats(12, seed=2))

    resources = resources_of(real, registry, data.parent)
    made = materializations(run(assets_of("shown", str(data), validation_data=held_out), resources=resources))

    (job,) = jobs_on(real, "shown/job")
    told = made["fine_tuned_model"].metadata
    for name in ("train_loss", "train_mean_token_accuracy", "valid_loss", "full_valid_loss", "duration_seconds"):
        assert isinstance(told[name], dg.FloatMetadataValue), name
    assert not [name for name in told if name.endswith("_accuracy") and "mean_token" not in name], "told twice"
    assert told["trained_tokens"].value == job.trained_tokens
    assert told["trained_by"].value == "bytes"
    assert told["loss_curve"].value.startswith("![Loss by training step](data:image/")
    assert told["loss"].value[0] in "▇█"
    assert "log scale" in told["loss"].value
    assert told["summary"].value.startswith(f"`{job.fine_tuned_model}`: tuned from `gpt-4o-mini`")
    assert "trained by `bytes`" in told["summary"].value
    assert told["job"].value == f"{real.base_url.removesuffix('/v1')}/jobs/{job.id}"
    page = Path(told["report"].value).read_text()
    assert job.id in page
    table = told["checkpoints"]
    kinds = {column.name: column.type for column in table.schema.columns}
    assert kinds["step"] == "int"
    assert kinds["full_valid_loss"] == "float"
    assert "full_valid_mean_token_accuracy" in kinds
    assert len(table.records) == 3
    assert table.records[-1].data["model"].endswith(str(table.records[-1].data["step"]))


def test_a_checkpoints_metrics_have_their_one_name_however_the_service_spells_them():
    marks = [Checkpoint(id="ckpt-1", step_number=5, metrics={"step": 5, "train_accuracy": 0.5})]

    table = checkpoint_table(marks)

    assert [column.name for column in table.schema.columns] == ["step", "train_mean_token_accuracy", "model"]


def test_a_jobs_id_that_is_a_path_names_no_folder(instance, tmp_path):
    outcome = Outcome(trained=Trained(job=Job(id="../../x", status="succeeded")), service_url="https://llm.example/v1")

    page = report_page(outcome, FineTuningResource(reports=str(tmp_path / "a" / "b")), instance)

    assert Path(page.value) == tmp_path / "a" / "b" / "%2E.%2F..%2Fx.html"
    assert Path(page.value).exists()


OUTCOME = Outcome(trained=Trained(job=Job(id="ftjob-1", status="succeeded")), service_url="https://llm.example/v1")


def test_a_report_is_written_to_an_object_store(instance):
    store = pytest.importorskip("fsspec").filesystem("memory")

    page = report_page(OUTCOME, FineTuningResource(reports="memory://user:hidden@reports/"), instance)

    assert page == dg.MetadataValue.url("memory://reports/ftjob-1.html")
    (name,) = store.find("/", detail=False)
    assert store.cat(name).startswith(b"<!doctype html>")


@pytest.mark.parametrize("place", ["https://llm.example/reports", "/dev/null/reports", "nothing://reports"])
def test_a_report_that_can_not_be_written_fails_nothing(instance, place):
    assert report_page(OUTCOME, FineTuningResource(reports=place), instance) is None


def test_the_data_is_shown_with_its_rows_tokens_and_cost(run, data):
    made = materializations(run(assets_of("counted", str(data))))

    told = made["training_file"].metadata
    assert told["rows"].value == 24
    assert told["tokens"].value > 24
    assert told["estimated_cost_usd"].value > 0
    assert told["tokens_are"].value in ("exact", "estimated")


def test_the_next_asset_can_ask_for_what_was_handed_on(run, instance, service, data):
    assets = assets_of("handed", str(data))

    @dg.asset(deps=[assets.registered_model])
    def deployed(context):
        version = output_of(context.instance, assets.registered_model)
        return dg.MaterializeResult(metadata={"model": version["model_id"]})

    made = materializations(run([*assets, deployed]))

    (job,) = jobs_on(service, "handed/job")
    assert made["deployed"].metadata["model"].value == job.fine_tuned_model
    assert output_of(instance, assets.job)["job_id"] == job.id
    assert output_of(instance, dg.AssetKey("nothing")) is None


def test_nothing_of_the_key_is_in_what_dagster_keeps(instance, data, service, registry, monkeypatch):
    monkeypatch.setenv("THE_KEY", "sk-very-secret")
    resource = FineTuningResource(base_url=service.base_url, registry=registry, api_key=dg.EnvVar("THE_KEY"), settle=0)

    result = dg.materialize(assets_of("secret", str(data)), instance=instance, resources={"tuneway": resource})

    kept = [str(record.event_log_entry) for record in instance.get_records_for_run(result.run_id).records]
    assert len(kept) > 20
    assert "sk-very-secret" not in "".join(kept)
    assert "sk-very-secret" not in repr(resource)


# --- Where the data comes from. ---


@pytest.mark.parametrize("kind", ["path", "rows", "mapping", "generator"])
def test_data_may_be_what_an_asset_yields(run, service, tmp_path, data, rows, kind):
    @dg.asset
    def tickets():
        return {"path": str(data), "rows": rows, "mapping": {"path": str(data)}, "generator": tuple(rows)}[kind]

    name = f"from_{kind}"
    made = materializations(run([tickets, *assets_of(name, tickets)]))

    assert made["training_file"].metadata["rows"].value == 24
    assert len(jobs_on(service, f"{name}/job")) == 1


def test_the_same_rows_are_the_same_data_wherever_they_come_from(run, data, rows):
    def sha256(name, training_data):
        made = materializations(run(assets_of(name, training_data), selection=f'key:"{name}/training_file"'))
        return made["training_file"].metadata["sha256"].value

    by_rows = sha256("by_rows", rows)
    data.write_text("".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows))
    assert sha256("by_path", data) == by_rows
    assert sha256("by_function", lambda _context: rows) == by_rows
    assert sha256("by_function_of_a_path", lambda _context: str(data)) == by_rows


def test_a_share_of_the_data_becomes_validation_data(run, service):
    assets = assets_of("share", chats(60, seed=5), validation_data=0.4)

    made = materializations(run(assets))["training_file"].metadata

    (job,) = jobs_on(service, "share/job")
    assert job.validation_file
    assert made["rows"].value + made["validation_rows"].value == 60


def test_a_number_that_is_no_share_is_named(run, service):
    result = run(assets_of("no_share", chats(60, seed=5), validation_data=7), fails=True)

    assert "validation_data: 7 is not a share between 0 and 1" in said(result)
    assert service.asked("POST") == []


def test_what_is_no_data_is_named(run):
    @dg.asset
    def numbers():
        return 7

    result = run([numbers, *assets_of("odd", numbers)], fails=True)

    assert "the asset numbers gave data that can't be used: a int is not data" in said(result)


def test_data_is_read_once_to_check_it_and_once_to_send_it(run, data):
    held_out = write(data.parent / "valid.jsonl", chats(12, seed=2))
    opened = []

    def note(event, arguments):
        if event == "open" and str(arguments[0]) in {str(data), str(held_out)}:
            opened.append(Path(arguments[0]).name)

    assets = assets_of("read", str(data), validation_data=held_out)
    with heard(note):
        run(assets)

    assert sorted(opened) == ["train.jsonl"] * 2 + ["valid.jsonl"] * 2


@contextmanager
def heard(hook):
    """Tells a hook what Python does, as long as the block lasts; an audit hook can't be removed."""
    on = [True]
    sys.addaudithook(lambda *event: hook(*event) if on else None)
    try:
        yield
    finally:
        on.clear()


# --- Checks of the data. ---


def test_bad_data_is_refused_with_its_lines_before_anything_is_sent(run, service, data, rows, client):
    del rows[4]["messages"]
    write(data, rows)
    before = len(list(client.files.list()))

    result = run(assets_of("bad", str(data)), fails=True)

    check = checks(result)["valid_data"]
    assert not check.passed
    assert check.blocking
    table = check.metadata["errors"]
    assert table.records[0].data["line"] == 5
    assert {column.name: column.type for column in table.schema.columns}["line"] == "int"
    assert check.metadata["tokens"].value > 0
    assert "line 5" in check.description
    assert materializations(result) == {}
    assert len(list(client.files.list())) == before
    assert jobs_on(service, "bad/job") == []


def test_warnings_about_the_data_are_in_the_runs_log(run, instance, data):
    few = write(data.parent / "valid.jsonl", chats(5, seed=2))
    groups = assets_of("warned", str(data), validation_data=few)

    @dg.asset
    def mine(context, tuneway: FineTuningResource):
        return fine_tune(context, tuneway, training_data=str(data), validation_data=few, model="gpt-4o-mini")

    for assets in ([*groups], [mine]):
        result = run(assets)
        told = [entry for entry in instance.all_logs(result.run_id) if entry.level == logging.WARNING]
        assert "valid.jsonl: file.few_validation_rows" in told[0].user_message


@pytest.mark.usefixtures("hosted")
def test_a_budget_blocks_what_would_cost_more(run, service, data):
    result = run(assets_of("dear", str(data), max_usd=0.0001), fails=True)

    check = checks(result)["within_budget"]
    assert not check.passed
    assert check.metadata["estimated_cost_usd"].value > check.metadata["max_usd"].value
    assert checks(result)["valid_data"].passed
    assert jobs_on(service, "dear/job") == []


@pytest.mark.usefixtures("hosted")
def test_a_budget_lets_through_what_costs_less(run, data):
    assets = assets_of("cheap", str(data), max_usd=5)

    check = checks(run(assets, selection=[assets.training_file]))["within_budget"]

    assert check.passed
    assert "max_usd is $5.00" in check.description


@pytest.mark.usefixtures("hosted")
def test_a_training_within_its_budget_goes_on_after_the_check(run, service, data):
    run(assets_of("within", str(data), max_usd=5))

    assert len(jobs_on(service, "within/job")) == 1


def test_a_service_on_this_machine_sends_no_bill(run, service, data):
    check = checks(run(assets_of("free", str(data), max_usd=0.0001)))["within_budget"]

    assert check.passed
    assert check.description == "this service sends no bill, or says its own price before it creates the job"
    assert len(jobs_on(service, "free/job")) == 1


@pytest.mark.usefixtures("hosted")
def test_a_budget_that_cannot_be_told_blocks(run, data):
    unpriced = assets_of("unpriced", str(data), model="llama", max_usd=5)
    priced = assets_of("priced", str(data), model="llama", max_usd=5, data_options={"prices": {"llama": 1.0}})

    assert "no price is known for llama" in said(run(unpriced, fails=True, selection=[unpriced.training_file]))
    run(priced, selection=[priced.training_file])


def test_an_asset_of_ones_own_gets_the_checks_too(run, instance, data, rows):
    from dagster_tuneway import training_data_check

    @dg.asset
    def tickets():
        return rows

    @dg.asset
    def used(tickets):
        return len(tickets)

    check = training_data_check(tickets, model="gpt-4o-mini", max_usd=1)
    good = run([tickets, used, check])
    rows[2] = {"messages": "none"}
    bad = run([tickets, used, check], fails=True)

    assert {name: one.passed for name, one in checks(good).items()} == {"valid_data": True, "within_budget": True}
    assert "first: row " in checks(bad)["valid_data"].description
    assert not checks(bad)["valid_data"].passed
    assert checks(bad)["valid_data"].metadata["errors"].records[0].data["line"] == 2  # the row of the list
    assert "used" not in materializations(bad)


# --- Checks of the model. ---


def test_gates_are_checks_with_their_numbers(run, data):
    held_out = write(data.parent / "valid.jsonl", chats(12, seed=2))
    gates = [Gate("full_valid_loss", max=9), NoWorseThanChampion("full_valid_loss")]
    assets = assets_of("gated", str(data), validation_data=held_out, gates=gates, held_out=chats(3, seed=4))

    found = checks(run(assets))

    assert found["full_valid_loss_max_9"].passed
    assert found["full_valid_loss_max_9"].metadata["full_valid_loss"].value < 9
    assert found["full_valid_loss_no_worse_than_the_champions"].passed
    base = found["no_worse_than_base"]
    assert base.passed
    assert {"tuned", "base"} <= base.metadata.keys()
    assert len(base.metadata["answers"].records) == 3


def test_a_gate_that_refuses_keeps_the_alias_and_what_comes_after(run, data, registry):
    def never(_candidate, _champion):
        """Nobody is good enough."""
        return False

    assets = assets_of("refused", str(data), alias="champion", gates=[never])

    @dg.asset(deps=[assets.registered_model])
    def deployed():
        return None

    result = run([*assets, deployed], fails=True)

    assert not checks(result)["never"].passed
    assert "registered_model" in materializations(result)
    assert "deployed" not in materializations(result)
    assert open_registry(registry).aliases("refused") == {}


def test_the_champion_is_compared_with_where_no_alias_is_moved_too(run, data, rows, registry):
    held_out = write(data.parent / "valid.jsonl", chats(12, seed=2))
    run(assets_of("beside", str(data), validation_data=held_out, alias="champion"))
    write(data, rows[:12])
    gates = [NoWorseThanChampion("full_valid_loss", tolerance=100)]

    result = run(assets_of("beside", str(data), validation_data=held_out, gates=gates))

    (check,) = [one for name, one in checks(result).items() if name.endswith("champions")]
    assert check.metadata["compared_with"].value == 1
    assert open_registry(registry).aliases("beside") == {"champion": 1}


def test_a_gate_without_a_name_is_refused_when_it_is_defined(data):
    with pytest.raises(InvalidSpec, match="a gate without a name"):
        assets_of("nameless", str(data), gates=[lambda *_: True])


# --- Failing. ---


def test_a_failed_job_fails_the_asset_with_the_services_own_reason(run, service, server, data):
    server.service.ends = "failed"

    result = run(assets_of("failing", str(data)), fails=True)

    (job,) = jobs_on(service, "failing/job")
    assert "line 3 is no good" in said(result)
    assert failure(result).user_failure_data.metadata["code"].value == "invalid_training_file"
    assert failure(result).user_failure_data.metadata["job"].value.endswith(job.id)
    assert "fine_tuned_model" not in materializations(result)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"method": {"type": "supervised", "n_epochs": 99}}, "n_epochs"),
        ({"reuse": "always"}, "reuse"),
        ({"wait": "forever"}, "wait"),
        ({"seed": -1}, "seed"),
        ({"alias": "latest"}, "alias"),
        ({"metadata": {"tuneway_key": "x"}}, "tuneway_"),
        ({"checkpoint": "first"}, "checkpoint"),
        ({"checkpoint": "best"}, "without validation data there is no best checkpoint"),
        ({"gates": [Gate("full_valid_loss", max=1)]}, "full_valid_loss can't be measured: there is no validation data"),
        ({"gates": [Gate("train_los", max=1)]}, "Did you mean 'train_loss'"),
        ({"max_usd": -1}, "max_usd"),
        ({"training_file": "train.jsonl"}, "training_file"),
        ({"colour": "blue"}, "colour"),
        ({"timeout": -1}, "timeout"),
        ({"gates": Gate("train_loss", max=1)}, "gates"),
    ],
)
def test_a_wrong_setting_is_named_when_the_definitions_are_loaded(data, wrong, word):
    with pytest.raises(InvalidSpec, match=word):
        assets_of("wrong", str(data), **wrong)


def test_a_step_whose_input_is_not_there_says_what_to_materialize(run, data):
    assets = assets_of("alone", str(data))

    assert "alone/training_file isn't there yet: materialize it first." in said(
        run(assets, fails=True, selection=[assets.job])
    )


# --- Parts of it. ---


def test_each_asset_can_be_materialized_by_itself(run, service, data, registry):
    assets = assets_of("parts", str(data), method={"type": "supervised", "n_epochs": 3, "batch_size": "auto"})
    for key in (assets.training_file, assets.job, assets.fine_tuned_model, assets.registered_model):
        made = materializations(run(assets, selection=[key]))
        assert list(made) == [key.path[-1]]

    assert len(jobs_on(service, "parts/job")) == 1
    assert open_registry(registry).get("parts").record.requested == {"n_epochs": 3, "batch_size": "auto"}


def test_each_step_hands_on_what_it_does_in_every_engine(run, instance, service, data, registry):
    held_out = write(data.parent / "valid.jsonl", chats(12, seed=2))
    assets = assets_of("outputs", str(data), validation_data=held_out)
    for key in (assets.training_file, assets.job, assets.fine_tuned_model, assets.registered_model):
        run(assets, selection=[key])

    uploaded, created, trained, registered = (
        output_of(instance, key)
        for key in (assets.training_file, assets.job, assets.fine_tuned_model, assets.registered_model)
    )
    (job,) = jobs_on(service, "outputs/job")
    told = {"file_id", "filename", "bytes", "sha256", "rows", "tokens", "validation"}
    assert uploaded.keys() == uploaded["validation"].keys() == told
    assert (uploaded["rows"], uploaded["validation"]["rows"]) == (24, 12)
    assert created == {
        "job_id": job.id,
        "status": created["status"],
        "model": "gpt-4o-mini",
        "fine_tuned_model": created["fine_tuned_model"],
        "trained_tokens": created["trained_tokens"],
        "data": data_facts(uploaded),
    }
    assert trained == created | {
        "status": "succeeded", "fine_tuned_model": job.fine_tuned_model, "trained_tokens": job.trained_tokens
    }  # fmt: skip
    version = open_registry(registry).get("outputs")
    assert registered == version_summary(version)
    assert (version.record.training.rows, version.record.validation.rows) == (24, 12)


def test_the_step_that_creates_the_job_knows_that_nothing_was_uploaded_to_measure_on(run, service, data):
    held_out = write(data.parent / "valid.jsonl", chats(12, seed=2))
    before = assets_of("late", str(data))
    run(before, selection=[before.training_file])
    assets = assets_of("late", str(data), validation_data=held_out, gates=[Gate("full_valid_loss", max=9)])

    result = run(assets, selection=[assets.job], fails=True)

    assert "full_valid_loss can't be measured: there is no validation data" in said(result)
    assert jobs_on(service, "late/job") == []


def test_what_a_version_before_has_handed_on_is_understood(run, instance, client, data, registry):
    """As the first version wrote it; it stays readable."""
    held_out = write(data.parent / "valid.jsonl", chats(12, seed=2))
    report = client.validate(data)
    files = client.upload(data), client.upload(validation_data=held_out)
    output = {
        "path": str(data), "sha256": report.sha256, "size_bytes": report.size_bytes, "format": "chat", "rows": 24,
        "tokens": 100, "tokens_exact": False, "trained_tokens": 300, "usd": None, "warnings": 0,
        "file_id": files[0].id, "filename": files[0].filename, "validation_file_id": files[1].id,
        "validation_sha256": "0" * 64,
    }  # fmt: skip
    assets = assets_of("old", str(data), validation_data=held_out)
    instance.report_runless_asset_event(dg.AssetMaterialization(assets.training_file, metadata={"tuneway": output}))

    run(assets, selection=[assets.job, assets.fine_tuned_model, assets.registered_model])

    record = open_registry(registry).get("old").record
    assert (record.training.rows, record.training.tokens) == (24, 100)
    assert record.validation.id == files[1].id


def test_the_assets_have_kinds_owners_a_group_and_their_place_in_the_graph(data, resources):
    assets = assets_of("dressed", str(data), owners=["team:ml"], key_prefix="shop", tags={"tier": "1"}, pool="gpu")
    defs = dg.Definitions(assets=assets, resources=resources)

    graph = defs.resolve_asset_graph()
    keys = [assets.training_file, assets.job, assets.fine_tuned_model, assets.registered_model]
    for key in keys:
        node = graph.get(key)
        assert node.group_name == "dressed"
        assert node.owners == ["team:ml"]
        assert node.tags["tier"] == "1"
        assert "tuneway" in node.kinds
    assert [key.to_user_string() for key in keys] == [
        f"shop/dressed/{name}" for name in ("training_file", "job", "fine_tuned_model", "registered_model")
    ]
    assert [sorted(graph.get(key).parent_keys) for key in keys] == [[], [keys[0]], [keys[1]], [keys[2]]]
    pools = {op.name: op.pool for asset in assets for op in [asset.op]}
    assert pools == {
        "shop__dressed__upload": None,
        "shop__dressed__train": "gpu",
        "shop__dressed__register": None,
    }
