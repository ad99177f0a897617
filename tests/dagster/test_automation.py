"""Declarative automation: new data retrains by itself, and a model that gets old is seen to be."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest
from support.dagster_runs import jobs_on
from support.datasets import write

from dagster_tuneway import fine_tuned_model_assets


@pytest.fixture
def eager(resources, instance, rows):
    """Tickets, and a model that is trained whenever they are new."""
    state = {"rows": rows}

    @dg.asset
    def tickets():
        return state["rows"]

    assets = fine_tuned_model_assets(
        "eager", training_data=tickets, model="gpt-4o-mini", automation_condition=dg.AutomationCondition.eager()
    )
    defs = dg.Definitions(assets=[tickets, *assets], resources=resources)
    return defs, tickets, assets, state


def requested(defs, instance, cursor):
    result = dg.evaluate_automation_conditions(defs=defs, instance=instance, cursor=cursor)
    keys = {one.key for one in result.results if result.get_num_requested(one.key)}
    return result.cursor, {key for key in keys if isinstance(key, dg.AssetKey)}


def test_new_data_trains_by_itself_and_once(eager, instance, resources, service, rows):
    defs, tickets, assets, state = eager
    group = {assets.training_file, assets.job, assets.fine_tuned_model, assets.registered_model}
    cursor, wanted = requested(defs, instance, None)
    assert wanted == set(), "there is no data yet"

    for count in (1, 2):
        dg.materialize([tickets], instance=instance, resources=resources)
        cursor, wanted = requested(defs, instance, cursor)
        assert wanted == group
        dg.materialize([tickets, *assets], instance=instance, resources=resources, selection=sorted(wanted))
        cursor, wanted = requested(defs, instance, cursor)
        assert wanted == set()
        assert len(jobs_on(service, "eager/job")) == count
        state["rows"] = rows[1:]


def test_the_model_may_get_only_so_old(data, resources):
    policy = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=30), warn_window=timedelta(days=25))
    assets = fine_tuned_model_assets("old", training_data=str(data), model="m", freshness_policy=policy)

    graph = dg.Definitions(assets=assets, resources=resources).resolve_asset_graph()

    assert graph.get(assets.fine_tuned_model).freshness_policy == policy
    assert graph.get(assets.job).freshness_policy is None


def test_what_is_out_of_date_and_why_is_known_from_the_content(instance, resources, data, rows):
    assets = fine_tuned_model_assets("stale", training_data=str(data), model="gpt-4o-mini")

    def status(assets):
        defs = dg.Definitions(assets=assets, resources=resources)
        graph = defs.resolve_asset_graph()
        context = LoadingContextForTest(instance)
        resolver = CachingStaleStatusResolver(instance=instance, asset_graph=graph, loading_context=context)
        job = dg.AssetKey(["stale", "job"])
        return resolver.get_status(job), [cause.reason for cause in resolver.get_stale_causes(job)]

    dg.materialize(assets, instance=instance, resources=resources)
    assert status(assets) == (StaleStatus.FRESH, [])
    dg.materialize(assets, instance=instance, resources=resources, selection=[assets.training_file])
    assert status(assets) == (StaleStatus.FRESH, []), "the data is the same"

    write(data, rows[1:])
    dg.materialize(assets, instance=instance, resources=resources, selection=[assets.training_file])
    assert status(assets) == (StaleStatus.STALE, ["has a new dependency data version"])

    other = fine_tuned_model_assets("stale", training_data=str(data), model="gpt-4o-mini", seed=8)
    assert "has a new code version" in status(other)[1]
