"""From a query in a warehouse to a model."""

from __future__ import annotations

import dagster as dg
import pytest
from support.dagster_runs import jobs_on, materializations

from dagster_tuneway import fine_tuned_model_assets


@pytest.mark.parametrize("given", ["the value of an asset", "a function of the context"])
def test_the_same_rows_in_another_order_are_the_same_job(run, service, tmp_path, given):
    duckdb = pytest.importorskip("duckdb")
    pytest.importorskip("pyarrow")
    path = tmp_path / "tickets.duckdb"
    with duckdb.connect(path) as tickets:
        tickets.sql("CREATE TABLE solved AS SELECT 'Order ' || range AS ticket, 'shipping' AS team FROM range(30)")
    order = iter(["ticket", "ticket DESC"])

    def query(_context):
        with duckdb.connect(path, read_only=True) as tickets:
            return tickets.sql(f"SELECT ticket, team FROM solved ORDER BY {next(order)}").to_arrow_table()

    @dg.asset
    def solved(context):
        return query(context)

    by_asset = given == "the value of an asset"
    router = fine_tuned_model_assets(
        "router", training_data=solved if by_asset else query, row={"user": "{ticket}", "assistant": "{team}"},
        order="content", model="gpt-4o-mini",
    )  # fmt: skip

    first, second = (materializations(run([*([solved] if by_asset else []), *router])) for _ in range(2))

    assert len(jobs_on(service, "router/job")) == 1
    versions = [made["registered_model"].tags["dagster/data_version"] for made in (first, second)]
    assert versions == ["router:1", "router:1"]
