"""Paths and URLs as data: a file that changes is noticed, and trains again by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from support.dagster_runs import jobs_on
from support.datasets import write

from dagster_tuneway import fine_tuned_model_assets

ROLES = ("training_file", "job", "fine_tuned_model", "registered_model")


class Automation:
    """Dagster's daemon, a minute later at each look; a person does what it asks for."""

    def __init__(self, assets, run, instance, resources):
        self.assets, self.run, self.instance = assets, run, instance
        self.defs = dg.Definitions(assets=assets, resources=resources)
        self.cursor, self.moment = None, datetime(2026, 1, 1, 0, 4, 30, tzinfo=UTC)

    def look(self):
        """What is asked for: the partitions of each asset."""
        self.moment += timedelta(minutes=1)
        result = dg.evaluate_automation_conditions(
            defs=self.defs, instance=self.instance, cursor=self.cursor, evaluation_time=self.moment
        )
        self.cursor = result.cursor
        asked = {one.key: one.true_subset for one in result.results if isinstance(one.key, dg.AssetKey)}
        return {
            key.path[-1]: {*subset.expensively_compute_partition_keys()} if subset.is_partitioned else None
            for key, subset in asked.items()
            if not subset.is_empty
        }

    def look_and_do(self):
        """What was asked for and done."""
        asked = self.look()
        for partition in {key for keys in asked.values() for key in keys or [None]}:
            wanted = [
                key for key in self.keys if key.path[-1] in asked and partition in (asked[key.path[-1]] or [None])
            ]
            self.run(self.assets, selection=wanted, partition_key=partition)
        return {*asked}

    @property
    def keys(self):
        return [key for asset in self.assets for key in asset.keys]


@pytest.fixture
def automated(run, instance, resources):
    def make(name, **more):
        assets = fine_tuned_model_assets(
            name, model="gpt-4o-mini", automation_condition=dg.AutomationCondition.eager(), **more
        )
        return Automation(assets, run, instance, resources)

    return make


@pytest.mark.parametrize("kind", ["path", "file URL", "store"])
def test_a_file_that_changes_is_trained_on_by_itself_and_once(automated, service, data, rows, kind):
    place = {"path": data, "file URL": data.as_uri(), "store": f"memory://{data}"}[kind]

    def change(rows):
        write(data, rows)
        if kind == "store":
            pytest.importorskip("fsspec").filesystem("memory").pipe_file(str(data), data.read_bytes())

    change(rows)
    daemon = automated("watched", training_data=str(place), observe="* * * * *")

    assert daemon.look_and_do() == {"training_data"}, "Dagster doesn't know the file yet"
    assert daemon.look_and_do() == {"training_data", *ROLES}
    assert daemon.look_and_do() == {"training_data"}, "it is the same"
    change(rows[1:])
    assert daemon.look_and_do() == {"training_data"}
    assert daemon.look_and_do() == {"training_data", *ROLES}
    assert len(jobs_on(service, "watched/job")) == 2


def test_it_is_looked_at_when_the_schedule_says(automated, data):
    daemon = automated("scheduled", training_data=str(data), observe="10 * * * *")

    looks = [("training_data" in daemon.look_and_do(), daemon.moment.minute) for _ in range(8)]

    assert [minute for looked, minute in looks if looked] == [5, 10]


def test_the_files_of_both_fields_are_observed_and_nothing_else(automated, data, rows):
    both = automated("both", training_data=data, validation_data=str(data))
    rows_ = automated("rows", training_data=rows, validation_data=0.2)
    never = automated("never", training_data=data, observe=None)
    by_hand = fine_tuned_model_assets("by_hand", training_data=str(data), model="gpt-4o-mini")

    assert {key.path[-1] for key in both.keys} == {"training_data", "validation_data", *ROLES}
    assert [{key.path[-1] for key in one.keys} for one in (rows_, never)] == [{*ROLES}] * 2
    assert {key.path[-1] for asset in by_hand for key in asset.keys} == {*ROLES}


def test_the_file_of_each_partition_is_observed_for_itself(automated, service, tmp_path, rows):
    for customer in ("acme", "globex"):
        write(tmp_path / f"{customer}.jsonl", rows)
    customers = dg.StaticPartitionsDefinition(["acme", "globex"])
    daemon = automated(
        "shop", training_data=str(tmp_path / "{partition_key}.jsonl"), partitions_def=customers, observe="* * * * *"
    )
    daemon.look_and_do()
    daemon.look_and_do()
    assert len(jobs_on(service, "shop/job")) == 2

    write(tmp_path / "globex.jsonl", rows[1:])
    daemon.look_and_do()

    assert daemon.look() == {"training_data": {"acme", "globex"}, **{role: {"globex"} for role in ROLES}}


def test_one_run_can_look_at_the_files_of_all_partitions(automated, run, instance, tmp_path, rows):
    write(tmp_path / "acme.jsonl", rows)
    customers = dg.StaticPartitionsDefinition(["acme", "globex"])
    daemon = automated("shop", training_data=str(tmp_path / "{partition_key}.jsonl"), partitions_def=customers)
    (file,) = [key for key in daemon.keys if key.path[-1] == "training_data"]

    tags = {"dagster/asset_partition_range_start": "acme", "dagster/asset_partition_range_end": "globex"}
    run(daemon.assets, selection=[file], tags=tags)

    seen = instance.fetch_observations(file, limit=10).records
    assert [record.asset_observation.partition for record in seen] == ["acme"], "the other isn't there yet"


def test_a_file_that_is_not_there_yet_is_waited_for(automated, service, tmp_path, rows):
    path = tmp_path / "later.jsonl"
    daemon = automated("later", training_data=str(path), observe="* * * * *")

    assert daemon.look_and_do() == daemon.look_and_do() == {"training_data"}
    assert jobs_on(service, "later/job") == []
    write(path, rows)
    daemon.look_and_do()

    assert daemon.look_and_do() == {"training_data", *ROLES}


def test_a_translation_changes_the_observed_file_too(automated, data):
    daemon = automated(
        "router",
        training_data=str(data),
        observe="* * * * *",
        translation=lambda spec: spec.replace_attributes(key=["ml", *spec.key.path], group_name="ml"),
    )

    daemon.look_and_do()

    assert daemon.look_and_do() == {"training_data", *ROLES}
    assert {key.path[0] for key in daemon.keys} == {"ml"}


def test_a_password_in_a_url_is_in_nothing_that_dagster_keeps(automated, instance, run):
    daemon = automated("secret", training_data="http://me:hidden@127.0.0.1:1/train.jsonl?sig=hidden")
    (file,) = [key for key in daemon.keys if key.path[-1] == "training_data"]

    result = run(daemon.assets, selection=[file], fails=True)

    told = "\n".join(record.event_log_entry.to_json() for record in instance.get_records_for_run(result.run_id).records)
    assert "127.0.0.1" in told
    assert "hidden" not in told
