"""A crash between any two writes leaves nothing half done: readers see all or nothing, the next writer goes on."""

from __future__ import annotations

import importlib.util

import pytest
from support.registries import (
    Killed,
    StatementFault,
    assert_nothing_is_left_over,
    at_once,
    kill_at_every_statement,
    make_record,
)

from tuneway.errors import RegistryUnavailable
from tuneway.registry import open_registry


def on_mlflow(test):
    """Run a test on MLflow's client with a database: a server has no other calls."""
    test = pytest.mark.parametrize("uri", ["mlflow database"], indirect=True)(pytest.mark.slow(test))
    return pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="needs tuneway[mlflow]")(test)


BEFORE, AFTER = {"champion": 1}, {"champion": 2, "previous": 1}


@pytest.mark.slow
def test_a_process_killed_at_any_sql_statement_leaves_all_or_nothing(tmp_path, name):
    (found,) = at_once(kill_at_every_statement, [(str(tmp_path), name)])
    assert len(found) > 8, found
    for number, (seen, again, aliases, history) in enumerate(found, start=1):
        if number % 2:
            assert seen in ([(1, ["champion"])], [(2, ["champion"]), (1, ["previous"])])
            assert (again, aliases, history) == (2, AFTER, ["registered", "registered"])
        else:
            assert seen in ([], [(1, ["champion"])])
            assert (again, aliases, history) == (1, BEFORE, ["registered"])


@on_mlflow
@pytest.mark.parametrize("kind", ["kill", "request", "reply"])
def test_a_registration_broken_at_any_call_is_completed_by_the_next(uri, name, kind):
    broken = list(breaks(uri, name, kind, lambda registry, model: registry.register(second(model), alias="champion")))
    assert len(broken) > 20
    for model in broken:
        after = open_registry(uri)
        assert after.aliases(model) in (BEFORE, AFTER)
        assert (2 in {version.version for version in after.versions(model)}) == (after.aliases(model) == AFTER)
        assert after.register(second(model), alias="champion").version == 2
        assert after.aliases(model) == AFTER
        assert [event.action for event in after.history(model)] == ["registered", "registered"]
        assert_nothing_is_left_over(after, model)


@on_mlflow
@pytest.mark.parametrize("kind", ["kill", "request", "reply"])
def test_a_promotion_broken_at_any_call_is_completed_by_the_next(uri, name, kind):
    for model in breaks(uri, name, kind, lambda registry, model: registry.promote(f"{model}:2"), also=second):
        after = open_registry(uri)
        assert after.aliases(model) in (BEFORE, AFTER)
        assert after.promote(f"{model}:2").aliases == ["champion"]
        assert after.aliases(model) == AFTER
        assert [event.action for event in after.history(model)] == ["registered", "registered", "moved"]
        assert_nothing_is_left_over(after, model)


def second(model):
    return make_record(model, "2")


def breaks(uri, name, kind, work, also=None):
    """Break a piece of work at its first call, its second, and so on; yields a model name for each."""
    for at in range(1, 200):
        model = f"{name[:70]}-{kind}-{at}"
        open_registry(uri).register(make_record(model, "1"), alias="champion")
        if also:
            open_registry(uri).register(also(model))
        registry = open_registry(uri)
        fault = StatementFault(registry, kind, at)
        try:
            work(registry, model)
        except Killed:
            assert kind == "kill"
        except RegistryUnavailable:
            assert kind != "kill"
        yield model
        if fault.count < at:
            return
    pytest.fail("the work never came to its end")
