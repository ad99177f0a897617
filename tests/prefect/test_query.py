"""From a query in a warehouse to a model."""

from __future__ import annotations

import pytest
from prefect import flow, task

from prefect_tuneway import fine_tune


def test_the_same_rows_in_another_order_are_the_same_job(server, credentials, tmp_path):
    duckdb = pytest.importorskip("duckdb")
    pytest.importorskip("pyarrow")
    path = tmp_path / "tickets.duckdb"
    with duckdb.connect(path) as tickets:
        tickets.sql("CREATE TABLE solved AS SELECT 'Order ' || range AS ticket, 'shipping' AS team FROM range(30)")

    @task
    def solved(order):
        with duckdb.connect(path, read_only=True) as tickets:
            return tickets.sql(f"SELECT ticket, team FROM solved ORDER BY {order}").to_arrow_table()

    @flow
    def router(order):
        return fine_tune(
            training_data=solved(order), row={"user": "{ticket}", "assistant": "{team}"}, order="content",
            reuse="content", model="base", name="router", credentials=credentials,
        )  # fmt: skip

    first, second = router("ticket"), router("ticket DESC")

    assert (first["ref"], second["ref"]) == ("router:1", "router:1")
    assert len(server.service.jobs) == 1
    assert len(server.asked("POST", "/files")) == 1
