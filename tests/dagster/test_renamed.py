"""Assets whose keys are changed after they were made, as `load_assets_from_modules(key_prefix=…)` does."""

from __future__ import annotations

from types import ModuleType

import dagster as dg
import pytest
from support.dagster_runs import checks, jobs_on, materializations, said

from dagster_tuneway import fine_tuned_model_assets, fine_tuning_sensor, output_of, training_data_check
from tuneway.registry import Gate, open_registry

ROLES = ("training_file", "job", "fine_tuned_model", "registered_model")


def assets_of(data, **more):
    return fine_tuned_model_assets("router", training_data=data, model="gpt-4o-mini", **more)


def module_of(**content):
    module = ModuleType("router_module")
    vars(module).update(content)
    return module


def key(role):
    return dg.AssetKey(["ml", "prod", "router", role])


def by_module(assets):
    return dg.load_assets_from_modules([module_of(assets=assets)], key_prefix=["ml", "prod"])


def by_attributes(assets):
    new = {dg.AssetKey(["router", role]): key(role) for role in ROLES}
    return [asset.with_attributes(asset_key_replacements=new) for asset in assets]


def by_specs(assets):
    """Renamed, and changed once more: a spec can have more dependencies, metadata and tags than it was made with."""
    upstream = dg.AssetDep(dg.AssetKey("another"))
    return dg.map_asset_specs(
        lambda spec: spec.merge_attributes(metadata={"team": "support"}, deps=[upstream]), by_module(assets)
    )


@pytest.mark.parametrize("rename", [by_module, by_attributes, by_specs])
def test_renamed_assets_are_materialized_checked_and_registered(rename, run, instance, service, data, registry):
    renamed = rename(assets_of(str(data), gates=[Gate("train_loss", max=9)], max_usd=5, alias="champion"))

    made = run(renamed)
    for role in ROLES:
        run(renamed, selection=[key(role)])

    assert {one.asset_key for one in materializations(made).values()} == set(map(key, ROLES))
    assert {check.asset_key for check in checks(made).values()} == {key("training_file"), key("registered_model")}
    assert all(check.passed for check in checks(made).values())
    assert output_of(instance, key("registered_model"))["ref"] == "router:1"
    assert open_registry(registry).aliases("router") == {"champion": 1}
    assert len(jobs_on(service, "ml/prod/router/job")) == 1


def test_a_renamed_step_names_the_asset_that_is_missing_by_its_new_name(run, data):
    result = run(by_module(assets_of(str(data))), selection=[key("job")], fails=True)

    assert "ml/prod/router/training_file isn't there yet: materialize it first." in said(result)


def test_data_that_a_renamed_asset_yields_is_found_and_named(run, rows):
    given = iter([rows, 8])

    @dg.asset
    def tickets():
        return next(given)

    renamed = dg.load_assets_from_modules(
        [module_of(tickets=tickets, assets=assets_of(tickets))], key_prefix=["ml", "prod"]
    )
    wanted = [dg.AssetKey(["ml", "prod", "tickets"]), key("training_file")]

    assert materializations(run(renamed, selection=wanted))["training_file"].metadata["rows"].value == 24
    assert "the asset ml/prod/tickets gave data that can't be used" in said(run(renamed, selection=wanted, fails=True))


def test_a_check_of_a_renamed_asset_of_ones_own_is_about_it(instance, rows):
    @dg.asset
    def tickets():
        return rows

    module = module_of(tickets=tickets, check=training_data_check(tickets))
    defs = dg.Definitions(
        assets=dg.load_assets_from_modules([module], key_prefix="ml"),
        asset_checks=dg.load_asset_checks_from_modules([module], asset_key_prefix="ml"),
        executor=dg.in_process_executor,
    )

    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance)

    assert checks(result)["valid_data"].asset_key == dg.AssetKey(["ml", "tickets"])


@pytest.fixture
def watched(data, resources):
    """Renamed assets without a step that waits, and their sensor."""
    assets = assets_of(str(data), wait="sensor", gates=[Gate("train_loss", max=9)])
    module = module_of(assets=assets)
    return dg.Definitions(
        assets=dg.load_assets_from_modules([module], key_prefix=["ml", "prod"]),
        asset_checks=dg.load_asset_checks_from_modules([module], asset_key_prefix=["ml", "prod"]),
        sensors=[fine_tuning_sensor(assets)],
        resources=resources,
        executor=dg.in_process_executor,
    )


def test_the_sensor_reports_and_registers_renamed_assets(watched, instance, service, registry):
    sensor = watched.resolve_sensor_def("fine_tuning_jobs")
    job = watched.resolve_implicit_global_asset_job_def()
    submitted = job.execute_in_process(instance=instance)

    with dg.build_sensor_context(
        instance=instance, repository_def=watched.get_repository_def(), resources=watched.resources
    ) as context:
        tick = sensor.evaluate_tick(context)
    for event in tick.asset_events:
        instance.report_runless_asset_event(event)
    (request,) = tick.run_requests
    registered = job.execute_in_process(instance=instance, asset_selection=request.asset_selection, tags=request.tags)

    assert materializations(submitted).keys() == {"training_file", "job"}
    assert {event.asset_key for event in tick.asset_events} == {key("fine_tuned_model")}
    assert request.asset_selection == [key("registered_model")]
    assert {check.asset_key for check in request.asset_check_keys} == {key("registered_model")}
    assert materializations(registered)["registered_model"].asset_key == key("registered_model")
    (version,) = open_registry(registry).versions("router")
    assert version.record.training.rows == 24
    assert sensor.asset_selection.resolve(watched.resolve_asset_graph()) == {key("registered_model")}


def test_a_person_can_look_at_a_renamed_job(watched, instance, service):
    job = watched.resolve_implicit_global_asset_job_def()
    job.execute_in_process(instance=instance)

    looked = job.get_subset(
        asset_selection=set(), asset_check_selection={dg.AssetCheckKey(key("fine_tuned_model"), "trained")}
    ).execute_in_process(instance=instance)

    assert checks(looked)["trained"].passed
