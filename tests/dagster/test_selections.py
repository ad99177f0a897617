"""Runs of a part of it: assets without their checks, and checks without their assets."""

from __future__ import annotations

import dagster as dg
import pytest
from support.dagster_runs import checks, jobs_on, materializations, said
from support.datasets import write

from dagster_tuneway import fine_tuned_model_assets, training_data_check
from tuneway.registry import Gate, open_registry


@pytest.fixture
def assets(data):
    return fine_tuned_model_assets(
        "router", training_data=str(data), model="gpt-4o-mini", max_usd=5, gates=[Gate("train_loss", max=9)]
    )


def test_all_assets_can_be_materialized_without_their_checks(run, assets, registry):
    result = run(assets, selection=dg.AssetSelection.assets(*assets).without_checks())

    assert materializations(result).keys() == {"training_file", "job", "fine_tuned_model", "registered_model"}
    assert checks(result) == {}
    assert [version.ref for version in open_registry(registry).versions("router")] == ["router:1"]


def test_bad_data_is_refused_without_the_checks_too(run, service, assets, data):
    write(data, [{"messages": []}])

    result = run(assets, selection=dg.AssetSelection.assets(*assets).without_checks(), fails=True)

    assert "messages" in said(result)
    assert jobs_on(service, "router/job") == []


def test_the_checks_of_the_data_alone_upload_nothing(run, server, assets, data):
    only = dg.AssetSelection.checks_for_assets(assets.training_file)
    before = len(server.service.files)

    good = checks(run(assets, selection=only))
    write(data, [{"messages": []}])
    bad = checks(run(assets, selection=only, fails=True))

    assert {name: check.passed for name, check in good.items()} == {"valid_data": True, "within_budget": True}
    assert {name: check.passed for name, check in bad.items()} == {"valid_data": False}
    assert len(server.service.files) == before


def test_the_checks_of_a_registered_model_alone_register_nothing(run, assets, registry):
    only = dg.AssetSelection.checks_for_assets(assets.registered_model)
    missing = run(assets, selection=only, fails=True)
    run(assets)

    again = run(assets, selection=only)

    assert "router/registered_model isn't there yet: materialize it first." in said(missing)
    assert checks(again)["train_loss_max_9"].passed
    assert materializations(again) == {}
    assert [version.ref for version in open_registry(registry).versions("router")] == ["router:1"]


def test_one_of_two_checks_of_ones_own_data_can_be_run(run, rows):
    @dg.asset
    def tickets():
        return rows

    check = training_data_check(tickets, model="gpt-4o-mini", max_usd=5)
    valid = dg.AssetSelection.checks(dg.AssetCheckKey(tickets.key, "valid_data"))
    run([tickets, check])

    assert checks(run([tickets, check], selection=valid)).keys() == {"valid_data"}
