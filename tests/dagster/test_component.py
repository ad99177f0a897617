"""The component: YAML in, definitions out, and errors that name the line."""

from __future__ import annotations

import inspect
import subprocess
import sys
import traceback
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster.components.testing import create_defs_folder_sandbox
from support.dagster_runs import checks, jobs_on, materializations
from support.datasets import write
from support.support_chats import chats

from dagster_tuneway import AssetFields, FineTunedModelComponent, FineTuningResource, fine_tuned_model_assets
from tuneway.registry import open_registry

PYPROJECT = """
[project]
name = "shop"
version = "0.1"
requires-python = ">=3.11"
dependencies = []

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "shop"
"""
DEFINITIONS = """
from pathlib import Path

from dagster import definitions, load_from_defs_folder


@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A Dagster project, as `create-dagster project` makes it."""
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    package = tmp_path / "src" / "shop"
    (package / "defs").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "defs" / "__init__.py").touch()
    (package / "definitions.py").write_text(DEFINITIONS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "src"))
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    return tmp_path


def dg_command(project, *words):
    program = Path(sys.executable).parent / "dg"
    done = subprocess.run([program, *words], cwd=project, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def load(tmp_path):
    """Gives the definitions that a YAML file with these attributes makes."""

    def definitions(**attributes):
        attributes = {"name": "router", "base_model": "gpt-4o-mini", "training_data": "train.jsonl"} | attributes
        content = {"type": "dagster_tuneway.FineTunedModelComponent", "attributes": attributes}
        with create_defs_folder_sandbox() as sandbox:
            place = sandbox.scaffold_component(FineTunedModelComponent, "router", defs_yaml_contents=content)
            with sandbox.load_component_and_build_defs(place) as (_, defs):
                return defs, place

    return definitions


def test_a_few_lines_of_yaml_are_the_four_assets_with_a_resource_of_their_own(load):
    defs, _ = load()

    keys = {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()}
    assert keys == {f"router/{name}" for name in ("training_file", "job", "fine_tuned_model", "registered_model")}
    assert set(defs.resources) == {"tuneway_router"}


def test_what_the_yaml_says_is_what_is_trained(load, run, server, service, data, rows, registry):
    defs, _ = load(
        training_data=str(data),
        method={"type": "supervised", "n_epochs": 2},
        seed=11,
        alias="champion",
        gates=[{"metric": "train_loss", "max": 5, "no_worse_than_champion": True, "tolerance": 0.1}],
        service={"base_url": service.base_url, "registry": registry, "timeout": 20},
    )
    job = dg.Definitions.merge(defs, dg.Definitions(executor=dg.in_process_executor))
    result = job.resolve_implicit_global_asset_job_def().execute_in_process()

    sent = server.service.jobs[0]
    assert (sent["seed"], sent["suffix"]) == (11, "router")
    assert sent["method"]["supervised"]["hyperparameters"]["n_epochs"] == 2
    assert {"train_loss_max_5", "train_loss_no_worse_than_the_champions"} <= set(checks(result))
    assert open_registry(registry).aliases("router") == {"champion": 1}
    assert len(jobs_on(service, "router/job")) == 1


def test_a_number_in_the_yaml_is_a_share_of_the_data(load, service, tmp_path, registry):
    path = write(tmp_path / "all.jsonl", chats(60, seed=5))
    defs, _ = load(
        training_data=str(path), validation_data=0.4, service={"base_url": service.base_url, "registry": registry}
    )

    job = dg.Definitions.merge(defs, dg.Definitions(executor=dg.in_process_executor))
    made = materializations(job.resolve_implicit_global_asset_job_def().execute_in_process())

    facts = made["training_file"].metadata
    assert facts["rows"].value + facts["validation_rows"].value == 60


def test_each_field_of_the_assets_is_one_of_the_yaml():
    shared = AssetFields.__annotations__.keys() - {"model"}  # Dagster's own method has this name: it is base_model

    assert shared <= FineTunedModelComponent.model_fields.keys()


def test_each_option_of_the_assets_is_one_of_the_yaml():
    own = inspect.signature(fine_tuned_model_assets).parameters.keys() - {"fields"}

    assert own <= FineTunedModelComponent.model_fields.keys()


def test_the_yaml_says_how_steps_run_and_how_assets_are_described(load):
    defs, _ = load(
        deps=["raw/tickets"],
        retry_policy={"max_retries": 3, "delay": 10, "backoff": "EXPONENTIAL", "jitter": "FULL"},
        code_version="7",
        op_tags={"dagster-k8s/config": {"container_config": {"image": "trainer"}}},
        translation={"key_prefix": "ml", "group_name": "models", "metadata": {"team": "support"}},
    )

    graph = defs.resolve_asset_graph()
    keys = [dg.AssetKey(["ml", "router", name]) for name in ("training_file", "job", "fine_tuned_model")]
    assert [graph.get(key).parent_keys for key in keys] == [{dg.AssetKey(["raw", "tickets"])}, {keys[0]}, {keys[1]}]
    assert (graph.get(keys[0]).group_name, graph.get(keys[0]).metadata["team"]) == ("models", "support")
    assert graph.get(keys[1]).code_version == "7"
    step = defs.resolve_assets_def(keys[0]).op
    policy = dg.RetryPolicy(max_retries=3, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.FULL)
    assert step.retry_policy == policy
    assert "trainer" in step.tags["dagster-k8s/config"]


def test_paths_are_relative_to_the_yaml(load, run, service):
    defs, place = load(service={"base_url": service.base_url})
    (upload,) = [asset for asset in defs.assets if asset.keys == {dg.AssetKey(["router", "training_file"])}]

    assert not place.exists(), "the sandbox is gone, so what it looks for can be told by the error"
    job = dg.Definitions(assets=[upload], resources=defs.resources).resolve_implicit_global_asset_job_def()
    with pytest.raises(dg.Failure, match=str(place / "train.jsonl")):
        job.execute_in_process()


def test_the_yaml_can_name_an_asset_partitions_a_pool_and_a_condition(load):
    defs, _ = load(
        training_data={"asset": "raw/tickets"},
        partitions_def={"type": "static", "partition_keys": ["acme", "globex"]},
        automation_condition="{{ automation_condition.eager() }}",
        pool="gpu",
        owners=["team:ml"],
        resource_key="shared",
        key_prefix=["ml"],
    )

    @dg.asset(key=["raw", "tickets"], partitions_def=dg.StaticPartitionsDefinition(["acme", "globex"]))
    def tickets():
        return []

    more = dg.Definitions(assets=[tickets], resources={"shared": FineTuningResource()})
    defs = dg.Definitions.merge(defs, more)

    graph = defs.resolve_asset_graph()
    node = graph.get(dg.AssetKey(["ml", "router", "training_file"]))
    assert node.parent_keys == {dg.AssetKey(["raw", "tickets"])}
    assert node.partitions_def == dg.StaticPartitionsDefinition(["acme", "globex"])
    assert node.automation_condition == dg.AutomationCondition.eager()
    assert node.owners == ["team:ml"]


def test_the_yaml_can_say_which_partitions_of_an_asset_are_read_and_by_what(load):
    defs, _ = load(
        training_data={
            "asset": "raw/tickets",
            "partition_mapping": "last",
            "input_manager_key": "warehouse",
        },
        backfill_policy={"type": "multi_run"},
    )

    tickets = dg.AssetSpec(["raw", "tickets"], partitions_def=dg.StaticPartitionsDefinition(["old", "new"]))
    more = dg.Definitions(assets=[tickets], resources={"warehouse": dg.InMemoryIOManager()})
    defs = dg.Definitions.merge(defs, more)
    step = defs.resolve_assets_def(dg.AssetKey(["router", "training_file"]))
    (dep,) = step.get_asset_spec().deps
    assert (dep.asset_key.to_user_string(), dep.partition_mapping) == ("raw/tickets", dg.LastPartitionMapping())
    assert step.op.input_dict["training_data"].input_manager_key == "warehouse"
    assert step.backfill_policy == dg.BackfillPolicy.multi_run()


def test_the_yaml_can_say_when_a_file_is_looked_at(load):
    defs, _ = load(automation_condition="{{ dg.AutomationCondition.eager() }}", observe="0 7 * * *")

    file = defs.resolve_asset_graph().get(dg.AssetKey(["router", "training_data"]))
    assert (file.is_observable, "0 7 * * *" in file.automation_condition.get_label()) == (True, True)


def test_dynamic_partitions_can_be_named(load):
    defs, _ = load(partitions_def={"type": "dynamic", "name": "customers"})

    node = defs.resolve_asset_graph().get(dg.AssetKey(["router", "job"]))
    assert node.partitions_def == dg.DynamicPartitionsDefinition(name="customers")


def test_a_sensor_comes_with_what_waits_for_it(load):
    defs, _ = load(wait="sensor")

    assert [sensor.name for sensor in defs.sensors] == ["router_jobs"]
    assert defs.resolve_implicit_global_asset_job_def()


def test_the_key_stays_in_the_environment(load):
    defs, _ = load(service={"api_key_env": "THE_KEY"})

    assert defs.resources["tuneway_router"].api_key == dg.EnvVar("THE_KEY")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"max_dollars": 3}, "max_dollars"),
        ({"base_model": None}, "base_model"),
        ({"reuse": "always"}, "reuse"),
        ({"gates": [{"metric": "loss"}]}, "has no bound"),
        ({"method": {"type": "supervised", "epochs": 3}}, "n_epochs"),
        ({"partitions_def": {"type": "monthly"}}, "partitions_def"),
        ({"training_data": {"asset": "tickets", "partition_mapping": "newest"}}, "partition_mapping"),
    ],
)
def test_a_mistake_is_named(load, wrong, words):
    with pytest.raises(Exception) as caught:
        load(**wrong)

    assert words in "".join(traceback.format_exception(caught.value))


@pytest.mark.slow
def test_a_scaffolded_project_passes_its_checks(project):
    status, said = dg_command(project, "scaffold", "defs", "dagster_tuneway.FineTunedModelComponent", "support_router")
    assert status == 0, said
    place = project / "src" / "shop" / "defs" / "support_router"
    assert yaml.safe_load((place / "defs.yaml").read_text()) == {
        "type": "dagster_tuneway.FineTunedModelComponent",
        "attributes": {"name": "support_router", "base_model": "gpt-4o-mini", "training_data": "train.jsonl"},
    }

    for what in ("yaml", "defs"):
        status, said = dg_command(project, "check", what)
        assert status == 0, said
    status, said = dg_command(project, "list", "defs", "--json")
    assert '"support_router/registered_model"' in said


@pytest.mark.slow
def test_a_mistake_in_the_yaml_is_named_with_its_line(project):
    place = project / "src" / "shop" / "defs" / "support_router"
    place.mkdir()
    (place / "defs.yaml").write_text(
        "type: dagster_tuneway.FineTunedModelComponent\n\nattributes:\n  name: router\n  base_model: m\n"
        "  training_data: t.jsonl\n  max_dollars: 3\n"
    )

    status, said = dg_command(project, "check", "yaml")

    assert status != 0
    assert "max_dollars" in said
    assert "defs.yaml:7" in said
