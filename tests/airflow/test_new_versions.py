"""The trigger that fires when a model has a new version."""

from __future__ import annotations

import asyncio
import json

import pytest
from blockbuster import blockbuster_ctx

from airflow_tuneway.triggers import ModelVersionTrigger
from tuneway.registry import ModelRecord, open_registry


class Store:
    """What Airflow keeps for an asset."""

    def __init__(self):
        self.kept = {}

    async def aget(self, key, default=None):
        return self.kept.get(key, default)

    async def aset(self, key, value):
        self.kept[key] = value


@pytest.fixture
def registry(tmp_path):
    return open_registry(f"sqlite:///{tmp_path / 'models.db'}")


def register(registry, number, alias=None):
    registry.register(ModelRecord(name="router", model_id=f"ft:{number}", job_id=f"ftjob-{number}"), alias=alias)


def watching(registry, store=None, **more):
    trigger = ModelVersionTrigger("router", registry=registry.uri, poke_interval=0.05, **more)
    path, stored = trigger.serialize()
    assert path.endswith(".ModelVersionTrigger")
    trigger = ModelVersionTrigger(**json.loads(json.dumps(stored)))
    trigger.asset_state_store = store
    return trigger


def next_event(trigger, meanwhile):
    async def main():
        with blockbuster_ctx():
            events = trigger.run()
            waiting = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0.3)
            assert not waiting.done()
            await asyncio.to_thread(meanwhile)
            event = await asyncio.wait_for(waiting, 10)
            await events.aclose()
            return event.payload

    return asyncio.run(main())


def test_a_new_version_is_told_and_those_that_were_there_are_not(registry):
    register(registry, 1)

    told = next_event(watching(registry), lambda: register(registry, 2))

    assert (told["ref"], told["model_id"], told["job_id"]) == ("router:2", "ft:2", "ftjob-2")


def test_the_first_version_of_a_model_is_told(registry):
    told = next_event(watching(registry), lambda: register(registry, 1))

    assert told["ref"] == "router:1"


def test_with_an_alias_only_what_it_has_moved_to_is_told(registry):
    register(registry, 1, alias="champion")

    def meanwhile():
        register(registry, 2)
        register(registry, 3, alias="champion")

    told = next_event(watching(registry, alias="champion"), meanwhile)

    assert told["ref"] == "router:3"


def test_what_is_registered_while_no_triggerer_runs_is_told_later(registry):
    register(registry, 1)
    store = Store()
    next_event(watching(registry, store), lambda: register(registry, 2))
    store.kept = {"tuneway_seen_router": 2}
    register(registry, 3)

    async def first():
        with blockbuster_ctx():
            return (await asyncio.wait_for(anext(watching(registry, store).run()), 10)).payload

    assert asyncio.run(first())["ref"] == "router:3"
