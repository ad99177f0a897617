"""What a step hands on, as an ordinary input of the assets after it."""

from __future__ import annotations

import dagster as dg
import pytest
from support.dagster_runs import materializations

from dagster_tuneway import fine_tuned_model_assets


class TablesOnly(dg.ConfigurableIOManager):
    """An I/O manager as a warehouse has: it takes no dictionaries."""

    def handle_output(self, context, obj):
        raise TypeError(f"{type(obj).__name__} is no table")

    def load_input(self, context):
        raise KeyError(context.asset_key.to_user_string())


@pytest.fixture
def stored(resources):
    return resources | {"io_manager": TablesOnly()}


def assets_of(data, **more):
    return fine_tuned_model_assets("router", training_data=str(data), model="gpt-4o-mini", **more)


def reader(key, **more):
    got = []

    @dg.asset(ins={"given": dg.AssetIn(key)}, **more)
    def reads(given) -> None:
        got.append(given)

    return reads, got


@pytest.mark.parametrize(
    ("role", "field"),
    [("training_file", "file_id"), ("job", "job_id"), ("fine_tuned_model", "model"), ("registered_model", "ref")],
)
def test_the_output_of_each_step_is_an_input_whatever_stores_the_projects_values(run, stored, data, role, field):
    assets = assets_of(data)
    answers, got = reader(getattr(assets, role))

    run([*assets, answers], resources=stored, selection=[*assets])
    run([*assets, answers], resources=stored, selection=[answers])

    assert field in got[0]


def test_a_model_is_used_in_the_run_that_makes_it(run, resources, data):
    assets = assets_of(data)
    answers, got = reader(assets.registered_model)

    run([*assets, answers], resources=resources)

    assert (got[0]["ref"], got[0]["aliases"]) == ("router:1", [])


def test_what_a_sensor_reports_and_registers_is_an_input_too(run, stored, service, data, instance):
    assets = assets_of(data, wait="sensor")
    answers, got = reader(assets.registered_model)
    asking, asked = reader(assets.fine_tuned_model)
    job = materializations(run(assets))["job"].metadata["tuneway"]
    instance.report_runless_asset_event(
        dg.AssetMaterialization(assets.fine_tuned_model, metadata={"tuneway": dg.MetadataValue.json(job.value)})
    )
    run(assets, selection=[assets.registered_model], tags={"tuneway/job_id": job.value["job_id"]})

    run([*assets, answers], resources=stored, selection=[answers])
    run([*assets, asking], resources=stored, selection=[asking])

    assert got[0]["job_id"] == asked[0]["job_id"] == job.value["job_id"]


def test_each_partition_reads_the_model_of_its_own_and_one_that_reads_all_has_them_by_their_keys(run, stored, data):
    customers = dg.StaticPartitionsDefinition(["acme", "globex"])
    assets = assets_of(data, partitions_def=customers)
    one, got_one = reader(assets.registered_model, partitions_def=customers)
    every, got_all = reader(assets.registered_model)
    for customer in ("acme", "globex"):
        run([*assets, one], resources=stored, partition_key=customer)
    run([*assets, every], resources=stored, selection=[every])

    assert [model["name"] for model in got_one] == ["router-acme", "router-globex"]
    assert {key: model["ref"] for key, model in got_all[0].items()} == {
        "acme": "router-acme:1",
        "globex": "router-globex:1",
    }


def test_a_model_that_is_not_there_is_named(run, stored, data):
    assets = assets_of(data)
    answers, _ = reader(assets.registered_model)

    result = run([*assets, answers], resources=stored, selection=[answers], fails=True)

    told = "\n".join(event.message + str(event.event_specific_data) for event in result.all_events if event.is_failure)
    assert "router/registered_model isn't there yet: materialize it first." in told


def test_who_names_another_io_manager_has_the_value_stored_there(run, resources, tmp_path, data):
    assets = assets_of(data, translation=lambda spec: spec.with_io_manager_key("files"))
    files = {"files": dg.FilesystemIOManager(base_dir=str(tmp_path / "store"))}
    answers, got = reader(assets.registered_model)

    run([*assets, answers], resources=resources | files)

    assert got[0]["ref"] == "router:1"
    assert (tmp_path / "store" / "router" / "registered_model").exists()
