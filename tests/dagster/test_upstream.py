"""Assets before the model: whose partitions are others than its own, and those that Dagster doesn't make."""

from __future__ import annotations

import dagster as dg
import pytest
from support.dagster_runs import materializations

from dagster_tuneway import fine_tuned_model_assets, training_data_check
from tuneway.errors import InvalidSpec

DAYS = dg.DailyPartitionsDefinition("2026-01-01", end_date="2026-01-15")
WEEKS = dg.WeeklyPartitionsDefinition("2026-01-04", end_date="2026-01-18")
CUSTOMERS = dg.StaticPartitionsDefinition(["acme", "globex"])
TEAMS = dg.StaticPartitionsDefinition(["north", "south"])
BOTH = dg.MultiPartitionsDefinition({"customer": CUSTOMERS, "team": TEAMS})
WEEK = [f"2026-01-{day:02}" for day in range(4, 11)]

# of the upstream, of the model, the mapping, the model's partition, and the upstream partitions that it learns from
MAPPINGS = {
    "the days of a week": (DAYS, WEEKS, (dg.TimeWindowPartitionMapping,), "2026-01-04", WEEK),
    "the day before": (DAYS, DAYS, (dg.TimeWindowPartitionMapping, -1, -1), "2026-01-05", WEEK[:1]),
    "the last three days": (DAYS, DAYS, (dg.TimeWindowPartitionMapping, -2), "2026-01-06", WEEK[:3]),
    "all": (CUSTOMERS, TEAMS, (dg.AllPartitionMapping,), "north", ["acme", "globex"]),
    "the last": (DAYS, None, (dg.LastPartitionMapping,), None, ["2026-01-14"]),
    "some": (DAYS, None, (dg.SpecificPartitionsPartitionMapping, WEEK[:2]), None, WEEK[:2]),
    "a table": (
        CUSTOMERS, TEAMS, (dg.StaticPartitionMapping, {"acme": "north", "globex": "south"}), "south", ["globex"]
    ),
    "a table with several": (
        CUSTOMERS, TEAMS, (dg.StaticPartitionMapping, {"acme": "north", "globex": "north"}), "north", ["acme", "globex"]
    ),
    "one dimension of two": (
        BOTH, CUSTOMERS, (dg.MultiToSingleDimensionPartitionMapping, "customer"), "acme", ["acme|north", "acme|south"]
    ),
    "one dimension for two": (
        CUSTOMERS, BOTH, (dg.MultiToSingleDimensionPartitionMapping, "customer"), "globex|south", ["globex"]
    ),
    "the same": (CUSTOMERS, CUSTOMERS, (dg.IdentityPartitionMapping,), "acme", ["acme"]),
}  # fmt: skip


@pytest.fixture
def stored(resources, tmp_path):
    return {**resources, "io_manager": dg.FilesystemIOManager(base_dir=str(tmp_path / "store"))}


def hash_of(result):
    return materializations(result)["training_file"].metadata["sha256"].value


@pytest.mark.parametrize("given", [dg.AssetDep, dg.AssetIn])
@pytest.mark.parametrize("kind", MAPPINGS)
def test_a_model_learns_from_the_partitions_that_its_mapping_names(run, stored, rows, kind, given):
    before, own, (mapping, *arguments), partition, learned = MAPPINGS[kind]
    slices = {key: rows[number % 7 * 2 :][:12] for number, key in enumerate(before.get_partition_keys())}

    @dg.asset(partitions_def=before)
    def tickets(context):
        return slices[str(context.partition_key)]

    assets = fine_tuned_model_assets(
        "mapped",
        training_data=given(tickets.key, partition_mapping=mapping(*arguments)),
        model="gpt-4o-mini",
        partitions_def=own,
    )
    whole = fine_tuned_model_assets(
        "whole", training_data=[row for key in learned for row in slices[key]], model="gpt-4o-mini"
    )
    for key in learned:
        run([tickets], partition_key=key, resources=stored)

    made = run([tickets, *assets], resources=stored, selection=[assets.training_file], partition_key=partition)

    assert hash_of(made) == hash_of(run(whole, selection=[whole.training_file]))


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("metadata", dg.AssetIn("tickets", metadata={"a": 1})), ("no key", dg.AssetIn(partition_mapping=None))],
)
def test_what_an_input_can_not_have_here_is_named_when_it_is_defined(field, wrong):
    with pytest.raises(InvalidSpec, match=field):
        fine_tuned_model_assets("router", training_data=wrong, model="gpt-4o-mini")


class Tables(dg.ConfigurableIOManager):
    """A warehouse: it has what others wrote."""

    rows: list

    def handle_output(self, context, obj):
        raise AssertionError("nothing is written here")

    def load_input(self, context):
        return self.rows


@pytest.mark.parametrize("how", ["its own I/O manager", "another one for this input"])
def test_an_external_asset_is_training_data_where_an_io_manager_can_read_it(run, resources, rows, how):
    table = dg.AssetSpec("table")
    given = dg.AssetIn(table.key, input_manager_key="warehouse")
    if how == "its own I/O manager":
        given = table = table.with_io_manager_key("warehouse")
    assets = fine_tuned_model_assets("router", training_data=given, model="gpt-4o-mini")
    check = training_data_check(given)

    result = run([table, *assets, check], resources=resources | {"warehouse": Tables(rows=rows)})

    assert materializations(result)["training_file"].metadata["rows"].value == 24


def observed(version):
    @dg.observable_source_asset(name="observed")
    def looked_at():
        return dg.DataVersion(version)

    return looked_at


OTHERS = {
    "an external asset": lambda: dg.AssetSpec("external"),
    "an asset that Dagster observes": lambda: observed("1"),
    "a key": lambda: dg.AssetKey("external"),
    "a dependency": lambda: dg.AssetDep("external"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_not_made_by_dagster_can_be_depended_on_and_trains_when_it_is_new(run, instance, resources, data, kind):
    other = OTHERS[kind]()
    assets = fine_tuned_model_assets(
        "router", training_data=str(data), model="gpt-4o-mini", deps=[other], observe=None,
        automation_condition=dg.AutomationCondition.eager(),
    )  # fmt: skip
    key = other.asset_key if isinstance(other, dg.AssetDep) else other if isinstance(other, dg.AssetKey) else other.key
    real = other if kind == "an asset that Dagster observes" else dg.AssetSpec(key)
    defs = dg.Definitions(assets=[real, *assets], resources=resources)
    cursor = None

    def asked():
        nonlocal cursor
        result = dg.evaluate_automation_conditions(defs=defs, instance=instance, cursor=cursor)
        cursor = result.cursor
        return {one.key.path[-1] for one in result.results if isinstance(one.key, dg.AssetKey) and one.true_subset.size}

    def is_new(number):
        if kind == "an asset that Dagster observes":
            dg.materialize([observed(str(number))], instance=instance, selection=[key])
        else:
            instance.report_runless_asset_event(dg.AssetMaterialization(key))

    for number in range(2):
        assert asked() == set()
        is_new(number)
        assert asked() == {"training_file", "job", "fine_tuned_model", "registered_model"}
        run([real, *assets])
