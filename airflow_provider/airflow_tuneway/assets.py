"""Models as assets: a DAG that is scheduled on one runs when it has a new version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias

from airflow_tuneway._literals import is_literal, is_mapped
from tuneway._escape import url_segment

if TYPE_CHECKING:
    from airflow.sdk import Context

ALIAS = "tuneway-models"
"""The alias of models whose names aren't known when the DAG file is parsed."""


def model_asset(name: str, **more: Any) -> Asset:
    """The asset of a registered model, over all its versions.

        with DAG("evaluate", schedule=model_asset("support-router")): ...

    Args:
        name: The model's name in the registry.
        more: What else an `Asset` takes: `extra`, `group`, `watchers`.
    """
    return Asset(name=f"model {name}", uri=f"tuneway://models/{url_segment(name)}", **more)


def version_of(event: Any) -> dict[str, Any]:
    """The version in an event of a model's asset, whether a task, a watcher or Airflow's API made the event."""
    version: dict[str, Any] = event.extra.get("payload", event.extra)
    return version


def outlets_for(operator: Any, name: str | None, arguments: dict[str, Any]) -> dict[str, Any]:
    """An operator's arguments, with an outlet for the model that it registers.

    That is the model's asset, if its name is known when the DAG file is parsed. Else it is an alias, to which the
    asset is added when the task runs: what Airflow has stored of a DAG doesn't say which assets these are.
    """
    if name is None or arguments.get("outlets"):
        return arguments
    known = not is_mapped(operator) and is_literal(name)
    return arguments | {"outlets": [model_asset(name) if known else AssetAlias(ALIAS)]}


def tell_asset(context: Context, name: str, told: dict[str, Any]) -> None:
    """Put the version into the event of the model's asset, if the task has the asset or the alias as an outlet."""
    asset = model_asset(name)
    for outlet in context["task"].outlets:  # of a mapped task the context's own are those of before the mapping
        if getattr(outlet, "uri", None) == asset.uri:
            context["outlet_events"][asset].extra = told
        elif isinstance(outlet, AssetAlias) and outlet.name == ALIAS:
            context["outlet_events"][outlet].add(asset, extra=told)
