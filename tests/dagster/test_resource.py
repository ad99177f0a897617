"""The resource: from settings to a client, which is closed with the run; and what the names cost to import."""

from __future__ import annotations

import subprocess
import sys

import dagster as dg
import pytest

import dagster_tuneway
from dagster_tuneway import FineTuningResource
from tuneway.dialects import AZURE


def test_settings_become_the_clients(monkeypatch):
    monkeypatch.setenv("THE_KEY", "sk-1")
    seen = {}

    @dg.asset
    def looking(tuneway: FineTuningResource):
        with tuneway.new_client() as client:
            seen.update(wire=client._wire, poll=client._account.poll)

    resource = FineTuningResource(
        base_url="https://llm.example/v1",
        api_key=dg.EnvVar("THE_KEY"),
        organization="org-1",
        poll={"minimum": 7, "tolerance": 3},
        dialect="azure",
        service_options={"training_type": "standard"},
    )
    assert dg.materialize([looking], resources={"tuneway": resource}).success

    assert seen["wire"].base_url == "https://llm.example/v1/openai/v1"
    assert seen["wire"].dialect.exchange is not AZURE.exchange
    assert seen["wire"].api_key == "sk-1"
    assert seen["wire"].organization == "org-1"
    assert (seen["poll"].minimum, seen["poll"].tolerance) == (7, 3)


def test_what_is_left_out_comes_from_the_environment(service, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", service.base_url)

    with FineTuningResource().new_client() as client:
        assert client.base_url == service.base_url


def test_the_client_is_one_for_the_run_and_closes_with_it(service):
    clients = []

    @dg.asset
    def first(tuneway: FineTuningResource):
        clients.append(tuneway.client)

    @dg.asset(deps=[first])
    def second(tuneway: FineTuningResource):
        clients.append(tuneway.client)
        assert not clients[0]._http.is_closed

    assert dg.materialize([first, second], resources={"tuneway": FineTuningResource(base_url=service.base_url)}).success

    assert clients[0] is clients[1]
    assert clients[0]._http.is_closed


def test_the_client_closes_with_a_run_that_fails_too(service):
    clients = []

    @dg.asset
    def failing(tuneway: FineTuningResource):
        clients.append(tuneway.client)
        raise RuntimeError("no")

    resources = {"tuneway": FineTuningResource(base_url=service.base_url)}
    assert not dg.materialize([failing], resources=resources, raise_on_error=False).success

    assert clients[0]._http.is_closed


def test_an_async_asset_has_an_async_client(service, server):
    server.service.add_job()
    clients = []

    @dg.asset
    async def looking(tuneway: FineTuningResource):
        async with tuneway.async_client() as client:
            clients.append(client)
            return [job.id async for job in client.jobs.list()]

    result = dg.materialize([looking], resources={"tuneway": FineTuningResource(base_url=service.base_url)})

    assert result.output_for_node("looking") == ["ftjob-1"]
    assert clients[0]._http.is_closed


def test_a_key_is_not_shown():
    assert "sk-1" not in repr(FineTuningResource(api_key="sk-1"))


@pytest.mark.parametrize("name", dagster_tuneway.__all__)
def test_every_name_can_be_imported(name):
    assert getattr(dagster_tuneway, name).__name__ == name


def test_a_name_that_is_not_there_is_named():
    with pytest.raises(AttributeError, match="no attribute 'fine_tuned'"):
        _ = dagster_tuneway.fine_tuned


HEAVY = ("numpy", "starlette", "uvicorn", "resvg_py", "tuneway.report", "tuneway_service", "tuneway.cli", "httpx")


def test_definitions_load_without_what_only_runs_need():
    program = (
        "import sys, dagster; before = set(sys.modules)\n"
        "from dagster_tuneway import FineTuningResource, fine_tuned_model_assets, fine_tuning_sensor\n"
        f"print([name for name in {HEAVY!r} if name in set(sys.modules) - before])"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
