"""Models as assets: a DAG that is scheduled on one runs when it has a new version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset

from tuneway._escape import url_segment

if TYPE_CHECKING:
    from airflow.sdk import Context


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
    """An operator's arguments, with the model's asset among its outlets where its name is known now."""
    mapped = getattr(operator, "_BaseOperator__from_mapped", False)
    if mapped or not isinstance(name, str) or "{{" in name or arguments.get("outlets"):
        return arguments
    return arguments | {"outlets": [model_asset(name)]}


def tell_asset(context: Context, name: str, told: dict[str, Any]) -> None:
    """Put the version into the asset's event, if the task has the asset as an outlet."""
    asset = model_asset(name)
    if any(getattr(outlet, "uri", None) == asset.uri for outlet in context["outlets"]):
        context["outlet_events"][asset].extra = told
