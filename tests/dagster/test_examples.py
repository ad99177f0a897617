"""The examples, as they are."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import dagster as dg
import pytest
from support.dagster_runs import checks, materializations

from tuneway.registry import open_registry

EXAMPLES = Path(__file__).parents[2] / "examples" / "dagster"


@pytest.fixture
def load(real, registry, monkeypatch):
    """Gives an example's definitions, as `dagster dev -f` loads them."""
    monkeypatch.setenv("OPENAI_BASE_URL", real.base_url)
    monkeypatch.setenv("TUNEWAY_REGISTRY_URI", registry)

    def definitions(name):
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return definitions


def executed(module, instance, **arguments):
    defs = dg.Definitions.merge(module.defs, dg.Definitions(executor=dg.in_process_executor))
    job = defs.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(instance=instance, raise_on_error=True, **arguments)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_can_be_loaded(load, path):
    dg.Definitions.validate_loadable(load(path.stem).defs)


@pytest.mark.slow
def test_the_router_is_trained_checked_and_champion(load, instance, registry):
    result = executed(load("support_router"), instance)

    assert {"full_valid_loss_max_1", "within_budget", "valid_data"} <= checks(result).keys()
    assert open_registry(registry).aliases("support_router") == {"champion": 1}


@pytest.mark.slow
def test_an_asset_of_ones_own_is_trained_and_champion(load, instance, registry):
    result = executed(load("one_asset"), instance)

    assert materializations(result)["support_router"].metadata["version"].value == 1


@pytest.mark.slow
def test_a_customers_run_ends_with_the_submission(load, instance):
    result = executed(load("by_customer"), instance, partition_key="acme")

    assert materializations(result).keys() == {"training_file", "job"}
