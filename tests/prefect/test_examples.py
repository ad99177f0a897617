"""The examples, run to their end as they are."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from support.real_prefect import Prefect
from support.service import running_service
from support.support_chats import chats

from tuneway import Client
from tuneway.registry import open_registry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def registry(prefect, real_service, monkeypatch, tmp_path):
    """The registry that the examples use, and the environment that leads to a real service."""
    monkeypatch.setenv("OPENAI_BASE_URL", real_service.base_url)
    monkeypatch.setenv("TUNEWAY_REGISTRY_URI", f"sqlite:///{tmp_path / 'models.db'}")
    return open_registry(f"sqlite:///{tmp_path / 'models.db'}")


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / "prefect" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_nightly_model_becomes_the_champion(registry):
    told = example("nightly").nightly()
    champion = registry.get("support-router@champion")
    assert champion.record.job_id == told["job_id"]
    assert champion.record.metrics["full_valid_loss"] <= 1.0


def test_a_model_is_trained_for_each_file(registry, monkeypatch, tmp_path):
    for language, seed in {"de": 31, "en": 32, "fr": 33}.items():
        (tmp_path / f"{language}.jsonl").write_text("\n".join(map(json.dumps, chats(12, seed=seed))) + "\n")
    monkeypatch.setenv("LANGUAGES_DATA", str(tmp_path))
    told = example("many_models").many_models()
    assert [version["name"] for version in told] == ["router-de", "router-en", "router-fr"]
    assert len({version["job_id"] for version in told}) == 3


def test_the_deployments_run_on_a_worker(tmp_path):
    place = f"sqlite:///{tmp_path / 'models.db'}"
    with (
        running_service() as service,
        Prefect.running(
            EXAMPLES / "prefect" / "nightly.py",
            OPENAI_BASE_URL=service.base_url,
            TUNEWAY_REGISTRY_URI=place,
            SUPPORT_DATA=str(EXAMPLES / "data"),
        ) as prefect,
    ):
        for file in (EXAMPLES / "prefect").iterdir():
            if file.is_file():
                shutil.copy(file, prefect.home)
        prefect.run("--no-prompt", "deploy", "--all")
        prefect.start_worker()
        deployment = prefect.api("GET", "/deployments/name/patient/patient")["id"]
        run_id = prefect.trigger(deployment)
        resume = prefect.api("GET", "/deployments/name/resume_ended_runs/resume")["id"]
        prefect.until_state(run_id, "Suspended", "Completed")  # a quick training may have ended already
        with Client(base_url=service.base_url) as client:
            prefect.until(lambda: all(job.done for job in client.jobs.list()))
        prefect.trigger(resume)
        prefect.until_state(run_id, "Completed")
        nightly = prefect.api("GET", "/deployments/name/nightly/nightly")["id"]
        scheduled = {"deployment_id": {"any_": [nightly]}, "state": {"type": {"any_": ["SCHEDULED"]}}}
        prefect.until(lambda: prefect.api("POST", "/flow_runs/filter", flow_runs=scheduled))
        answering = prefect.api("GET", "/deployments/name/answer/when-registered")["id"]
        prefect.until(lambda: prefect.runs_of(answering))  # the registration has started it
        (asked,) = prefect.runs_of(answering)
        prefect.until_state(asked["id"], "Completed")
        assert asked["parameters"]["ref"] == "support-router:1"
    assert open_registry(place).get("support-router").version == 1
