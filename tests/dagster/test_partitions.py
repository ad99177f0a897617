"""One model for each partition: static, dynamic, of time, and of several dimensions."""

from __future__ import annotations

import dagster as dg
import pytest
from support.dagster_runs import jobs_on, materializations, said
from support.datasets import write

from dagster_tuneway import fine_tuned_model_assets
from dagster_tuneway._names import with_partition
from tuneway.errors import InvalidSpec
from tuneway.registry import open_registry

STATIC = dg.StaticPartitionsDefinition(["acme", "globex"])
DAYS = dg.DailyPartitionsDefinition("2026-01-01")
BOTH = dg.MultiPartitionsDefinition({"customer": STATIC, "day": DAYS})


def assets_of(name, training_data, partitions_def, **more):
    return fine_tuned_model_assets(
        name, training_data=training_data, model="gpt-4o-mini", partitions_def=partitions_def, **more
    )


def test_each_partition_has_its_own_data_job_and_model(run, service, server, tmp_path, rows, registry):
    write(tmp_path / "acme.jsonl", rows)
    write(tmp_path / "globex.jsonl", rows[2:])
    assets = assets_of("shop", str(tmp_path / "{partition_key}.jsonl"), STATIC, alias="champion")

    made = {key: materializations(run(assets, partition_key=key)) for key in ("acme", "globex")}

    assert [job["suffix"] for job in server.service.jobs] == ["shop-acme", "shop-globex"]
    assert {key: one["training_file"].metadata["rows"].value for key, one in made.items()} == {"acme": 24, "globex": 22}
    assert {one["fine_tuned_model"].partition for one in made.values()} == {"acme", "globex"}
    names = sorted(version.name for version in open_registry(registry).models())
    assert names == ["shop-acme", "shop-globex"]


def test_two_partitions_with_the_same_data_have_two_models(run, service, data):
    assets = assets_of("same", str(data), STATIC, suffix="router")

    for key in ("acme", "globex", "acme"):
        run(assets, partition_key=key)

    origins = [job.metadata["tuneway_origin"] for job in jobs_on(service, "same/job")]
    assert ["[acme]" in origin for origin in origins] == [True, False]


def test_dynamic_partitions(run, instance, server, data):
    customers = dg.DynamicPartitionsDefinition(name="customers")
    instance.add_dynamic_partitions("customers", ["new & old"])

    made = materializations(run(assets_of("dynamic", str(data), customers), partition_key="new & old"))

    assert made["registered_model"].partition == "new & old"
    assert server.service.jobs[0]["suffix"].startswith("dynamic-new-old-")


def test_models_of_one_day_after_the_other_are_versions_of_one_model(run, data, rows, registry):
    assets = assets_of("daily", str(data), DAYS)
    for day in ("2026-01-01", "2026-01-02"):
        run(assets, partition_key=day)

    assert [version.ref for version in open_registry(registry).versions("daily")] == ["daily:2", "daily:1"]


def test_of_several_dimensions_those_that_are_no_times_name_the_model(run, data, registry):
    assets = assets_of("both", str(data), BOTH)

    run(assets, partition_key=dg.MultiPartitionKey({"customer": "acme", "day": "2026-01-01"}))

    assert [version.name for version in open_registry(registry).models()] == ["both-acme"]


def test_a_function_can_give_each_partition_its_rows(run, rows):
    assets = assets_of("function", lambda context: rows[: 10 + len(context.partition_key)], STATIC)

    made = materializations(run(assets, partition_key="acme", selection=[assets.training_file]))

    assert made["training_file"].metadata["rows"].value == 14


def test_an_asset_with_the_same_partitions_gives_each_its_own(run, rows):
    @dg.asset(partitions_def=STATIC)
    def tickets(context):
        return rows if context.partition_key == "acme" else rows[1:]

    assets = assets_of("upstream", tickets, STATIC)
    made = [materializations(run([tickets, *assets], partition_key=key)) for key in ("acme", "globex")]

    assert [one["training_file"].metadata["rows"].value for one in made] == [24, 23]


@pytest.mark.parametrize("kind", ["rows", "path"])
def test_a_model_without_partitions_learns_from_all_days_of_an_asset_in_their_order(
    run, resources, rows, tmp_path, server, kind
):
    @dg.asset(partitions_def=dg.DailyPartitionsDefinition("2026-01-01", end_date="2026-01-04"))
    def tickets(context):
        some = rows[context.partition_time_window.start.day * 8 - 8 :][:8]
        return some if kind == "rows" else str(write(tmp_path / f"{context.partition_key}.jsonl", some))

    whole = assets_of("whole", rows, None)
    assets = assets_of("days", tickets, None)
    stored = {**resources, "io_manager": dg.FilesystemIOManager(base_dir=str(tmp_path / "store"))}
    for day in ("2026-01-03", "2026-01-01", "2026-01-02"):
        run([tickets], partition_key=day, resources=stored)

    made = run([tickets.to_source_asset(), *assets], resources=stored, selection=[assets.training_file])
    at_once = run(whole, selection=[whole.training_file])

    sha256 = [materializations(one)["training_file"].metadata["sha256"].value for one in (made, at_once)]
    assert sha256[0] == sha256[1]


def ranged(first, last):
    """What Dagster tags a run with that is about a range of partitions."""
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


def test_a_run_for_a_range_of_one_partition_is_that_partitions(run, service, data):
    made = materializations(run(assets_of("ranged", str(data), STATIC), tags=ranged("globex", "globex")))

    (job,) = jobs_on(service, "ranged/job")
    assert "[globex]" in job.metadata["tuneway_origin"]
    assert made["registered_model"].partition == "globex"


def test_a_run_for_many_partitions_is_refused_since_each_has_a_model(run, service, data):
    result = run(assets_of("range", str(data), STATIC), tags=ranged("acme", "globex"), fails=True)

    assert "this run is about 2 partitions, and there is one model for each" in said(result)
    assert jobs_on(service, "range/job") == []


def test_a_partition_that_was_not_prepared_says_so(run, data):
    assets = assets_of("gap", str(data), STATIC)
    run(assets, partition_key="acme", selection=[assets.training_file])

    result = run(assets, partition_key="globex", selection=[assets.job], fails=True)

    assert "gap/training_file isn't there yet for globex: materialize it first." in said(result)


@pytest.mark.parametrize(
    ("name", "partition", "word"),
    [
        ("router", None, "router"),
        ("router", "acme", "router-acme"),
        ("router", "2026-01-01", "router-2026-01-01"),
        ("{partition_key}-router", "acme", "acme-router"),
        ("router", "a|b", "router-a-b-0310c0fe"),
        ("router", "東京", "router-6edc9c5e"),
        ("r" * 80, None, "r" * 55 + "-11318ee9"),
    ],
)
def test_a_partitions_word_is_one_that_services_and_registries_take(name, partition, word):
    assert with_partition(name, partition) == word
    assert len(word) <= 64


def test_partitions_that_look_alike_have_different_words():
    alike = ["a|b", "a-b", "a b", "a/b", "A-b", "a-b-"]

    assert len({with_partition("router", partition) for partition in alike}) == len(alike)


def test_a_registered_name_can_have_the_partition_in_it(run, data, registry):
    assets = assets_of("router-{partition_key}", str(data), DAYS, alias="champion")
    run(assets, partition_key="2026-01-02")
    assert [version.ref for version in open_registry(registry).models()] == ["router-2026-01-02:1"]
    assert assets.job == dg.AssetKey(["router", "job"])


def test_a_registered_name_with_a_partition_needs_partitions(data):
    with pytest.raises(InvalidSpec, match=r"name: there are no partitions for \{partition_key\}"):
        assets_of("router-{partition_key}", str(data), None)
    with pytest.raises(InvalidSpec, match=r"name: it has only \{partition_key\}"):
        assets_of("{partition_key}", str(data), DAYS)


@pytest.mark.parametrize("selected", ["training_file", "job"])
def test_held_out_data_that_is_not_there_stops_the_step_before_anything_is_sent(run, server, data, tmp_path, selected):
    given = str(tmp_path / "{partition_key}.jsonl")
    whole = assets_of("held", str(data), STATIC, held_out=str(data))
    run(whole, partition_key="acme", selection=[whole.training_file])
    assets = assets_of("held", str(data), STATIC, held_out=given)
    before = len(server.arrived)

    result = run(assets, partition_key="acme", fails=True, selection=[getattr(assets, selected)])

    assert "acme.jsonl" in said(result)
    assert len(server.arrived) == before
