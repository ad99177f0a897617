"""What Prefect stores of the data that a flow is given: where it comes from, its rows and its hash, and never a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Flow
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture

from prefect_tuneway import _runs
from tuneway.data import is_place, shown_input
from tuneway.errors import LookupFailed
from tuneway.recipe import DATA

PLACES = (*DATA, "report_to")
"""The parameters that may be a place with a secret in it: data, and where a report is written."""

P = ParamSpec("P")
R = TypeVar("R")


class DataFlow(Flow[P, R]):
    """A flow with training data among its parameters, of which Prefect stores a description instead of the rows.

    A deployment is given its parameters through Prefect's API, so Prefect stores those as they are.
    """

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Describe data, and leave the other parameters to Prefect."""
        hidden = _hidden(parameters)
        return super().serialize_parameters({**parameters, **{name: shown_input(hidden[name]) for name in hidden}})

    def with_options(self, **options: Any) -> DataFlow[P, R]:
        """The same flow with other options."""
        flow = super().with_options(**options)
        flow.__class__ = type(self)  # Prefect makes a plain flow of it
        return cast("DataFlow[P, R]", flow)


def data_flow(**options: Any) -> Callable[[Callable[P, R]], DataFlow[P, R]]:
    """Like Prefect's `flow`, for a flow with training data among its parameters."""
    return lambda function: DataFlow(function, **options)


def describe_inputs(fields: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Add rows and hash to what Prefect stores of data that this flow run was given. It blocks.

    Args:
        fields: What the flow was given.
        facts: The output of the step that uploaded it.
    """
    context, hidden = FlowRunContext.get(), _hidden(fields)
    run = context.flow_run if context else None
    if run is None or not hidden:
        return
    known = {"training_data": facts, "validation_data": facts.get("validation")}
    told = {name: shown_input(data, known[name]) for name, data in hidden.items() if name in run.parameters}
    try:
        with _runs.asking() as client:
            client.update_flow_run(run.id, parameters={**run.parameters, **told}).raise_for_status()
    except LookupFailed as error:
        _runs.logger().debug("The parameters of this run say nothing of its data: %s", error)


def _hidden(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The data and places among the parameters that aren't to be stored as they are."""
    given = {name: parameters[name] for name in PLACES if name in parameters}
    later = (PrefectFuture, State)  # data that isn't there yet
    return {name: data for name, data in given.items() if not isinstance(data, later) and not is_place(data)}
