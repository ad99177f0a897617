"""What Dagster's own options change: keys, groups and metadata of the assets, resources and tags of the steps."""

from __future__ import annotations

import dagster as dg
import pytest
from support.dagster_runs import jobs_on, materializations

from dagster_tuneway import fine_tuned_model_assets, output_of
from tuneway.errors import InvalidSpec


def assets_of(name, training_data, **more):
    return fine_tuned_model_assets(name, training_data=training_data, model="gpt-4o-mini", **more)


def test_assets_are_what_their_translation_makes_of_them(run, instance, service, data):
    def translation(spec):
        return spec.replace_attributes(key=["ml", f"router_{spec.key.path[-1]}"], group_name="models").merge_attributes(
            metadata={"team": "support"}
        )

    assets = assets_of("router", str(data), translation=translation, max_usd=1)
    run(assets)
    for key in (assets.training_file, assets.job, assets.fine_tuned_model, assets.registered_model):
        run(assets, selection=[key])

    assert assets.registered_model == dg.AssetKey(["ml", "router_registered_model"])
    assert output_of(instance, assets.registered_model)["ref"] == "router:1"
    graph = dg.Definitions(assets=assets, resources={"tuneway": None}).resolve_asset_graph()
    assert graph.get(assets.job).parent_keys == {assets.training_file}
    assert (graph.get(assets.job).group_name, graph.get(assets.job).metadata["team"]) == ("models", "support")
    assert len(jobs_on(service, "ml/router_job")) == 1


def test_a_translation_that_gives_no_spec_is_refused_when_it_is_defined(data):
    with pytest.raises(InvalidSpec, match="translation: it gave a NoneType"):
        assets_of("router", str(data), translation=lambda _spec: None)


def test_a_function_may_need_a_resource_of_its_own(run, resources, rows):
    given = {"tickets": dg.ResourceDefinition.hardcoded_resource(rows)}
    assets = assets_of("router", lambda context: context.resources.tickets, required_resource_keys={"tickets"})

    made = materializations(run(assets, resources=resources | given))

    assert made["training_file"].metadata["rows"].value == 24


def test_each_step_has_the_tags_that_its_executor_reads(data):
    assets = assets_of("tagged", str(data), op_tags={"dagster-k8s/config": "{}"})

    assert [one.op.tags.get("dagster-k8s/config") for one in assets] == ["{}"] * 3


def test_a_run_is_about_one_partition_whatever_the_policy_of_backfills(data):
    parts = dg.StaticPartitionsDefinition(["acme", "globex"])
    assets = assets_of("router", str(data), partitions_def=parts, backfill_policy=dg.BackfillPolicy.multi_run())

    assert {asset.backfill_policy for asset in assets} == {dg.BackfillPolicy.multi_run()}
    with pytest.raises(InvalidSpec, match="backfill_policy: each partition has a model of its own"):
        assets_of("router", str(data), partitions_def=parts, backfill_policy=dg.BackfillPolicy.single_run())
