"""Runs of Dagster assets, and what they have left behind."""

from __future__ import annotations

from dagster_tuneway import FineTuningResource
from tuneway import Client


def resources_of(service, registry, folder):
    quick = {"minimum": 0.05, "maximum": 0.1}
    resource = FineTuningResource(
        base_url=service.base_url, registry=registry, reports=str(folder / "reports"), settle=0.05, poll=quick
    )
    return {"tuneway": resource}


def jobs_on(service, origin):
    """The jobs of this service whose origin names this asset, oldest first."""
    with Client(base_url=service.base_url) as client:
        jobs = [job for job in client.jobs.list() if origin in (job.metadata or {}).get("tuneway_origin", "")]
    return jobs[::-1]


def materializations(result):
    """What a run has materialized, by the last part of the key."""
    found = {}
    for event in result.get_asset_materialization_events():
        materialization = event.materialization
        found[materialization.asset_key.path[-1]] = materialization
    return found


def checks(result):
    return {one.check_name: one for one in result.get_asset_check_evaluations()}


def failure(result):
    """The failure of the step that failed."""
    (event,) = [event for event in result.all_events if event.is_step_failure]
    return event.step_failure_data


def said(result):
    """What the failed step said."""
    data = failure(result)
    told = data.user_failure_data
    return f"{told.description if told else ''}\n{data.error.to_string() if data.error else ''}"
