"""What a run is to the core: who asks for a job, and whose job it is."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import MissingContextError, ObjectNotFound
from prefect.logging import get_run_logger

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

    from tuneway.registry import Origin


@dataclass(frozen=True, slots=True)
class Run:
    """Which step of which run this is.

    Args:
        task: What the step is called.
        task_run: Its id, the same for all its retries, another when its flow is run again.
        root: The flow run that everything began with: the same whatever is retried or started again.
        home: The flow run that a person can cancel: the nearest that has a process of its own.
        pipeline: The home's flow.
    """

    task: str
    task_run: str | None = None
    root: str | None = None
    home: str | None = None
    pipeline: str | None = None

    def key(self, *, reuse: str) -> str | None:
        """Who asks, the same on every attempt. None outside of any run: then the content decides.

        Prefect gives a task's call another id each time that its flow is run again, so a call is known by
        its task's name, and by what it asks for, which the core adds.
        """
        if self.root is None or reuse == "never":
            return f"prefect/{self.task_run}" if self.task_run else None
        return f"prefect/{self.root}/{self.task}"

    @property
    def origin(self) -> str | None:
        """Whose job it is, in words, and exactly: a cancelled run's jobs are found by it."""
        if self.home is None:
            return f"prefect: task run {self.task_run}" if self.task_run else None
        return origin_of(self.pipeline or "flow", self.home)

    @property
    def registry_origin(self) -> Origin | None:
        """The same for the model registry."""
        from tuneway.registry import Origin

        if self.origin is None:
            return None
        return Origin(engine="prefect", pipeline=self.pipeline, run=self.home, text=self.origin)


def origin_of(pipeline: str, home: str) -> str:
    """The mark on every job that a run makes."""
    return f"prefect: {pipeline} / {home}"


def current_run() -> Run:
    """Which step of which run asks; blocking, since Prefect's API is asked about the runs around it.

    Raises:
        LookupFailed: Prefect's API doesn't tell. To guess would be to pay twice.
    """
    task, flow = TaskRunContext.get(), FlowRunContext.get()
    name = task.task.name if task else "step"
    task_run = str(task.task_run.id) if task else None
    run_id = (task.task_run.flow_run_id if task else None) or (flow.flow_run.id if flow and flow.flow_run else None)
    if run_id is None:
        return Run(name, task_run)
    known = flow.flow_run if flow and flow.flow_run and flow.flow_run.id == run_id else None
    line = _line(known, run_id)
    home = next((run for run in line if run.deployment_id is not None), line[-1])
    pipeline = flow.flow.name if known and home.id == known.id and flow and flow.flow else _flow_name(home)
    return Run(name, task_run, str(line[-1].id), str(home.id), pipeline)


def home_of(flow_run: FlowRun) -> tuple[FlowRun, list[str]]:
    """The run with a process of its own that this is part of; and the origins of all that it has made.

    A flow that is tried again starts what it deployed anew: what those made before it belongs to them.
    """
    line = _line(flow_run, flow_run.id)
    home = next((run for run in line if run.deployment_id is not None), line[-1])
    pipeline = _flow_name(home)
    with asking() as client:
        home = client.read_flow_run(home.id)  # its state now, which tells why it ends
        runs = [home, *_earlier(client, home)]
    return home, [origin_of(pipeline, str(run.id)) for run in runs]


def _earlier(client: SyncPrefectClient, home: FlowRun) -> list[FlowRun]:
    """What ran before in the same place of the same parent."""
    from prefect.client.schemas.filters import FlowRunFilter

    if home.parent_task_run_id is None:
        return []
    place = FlowRunFilter.model_validate({"parent_task_run_id": {"any_": [home.parent_task_run_id]}})
    return [run for run in client.read_flow_runs(flow_run_filter=place) if run.id != home.id]


def _line(run: FlowRun | None, run_id: UUID) -> list[FlowRun]:
    """A run, the run that it is part of, and so on."""
    if run is not None and run.parent_task_run_id is None:
        return [run]
    with asking() as client:
        line = [run or client.read_flow_run(run_id)]
        while (above := _above(client, line[-1])) is not None:
            line.append(above)
    return line


def _above(client: SyncPrefectClient, run: FlowRun) -> FlowRun | None:
    if run.parent_task_run_id is None:
        return None
    try:
        parent = client.read_task_run(run.parent_task_run_id)
        return client.read_flow_run(parent.flow_run_id) if parent.flow_run_id else None
    except ObjectNotFound:
        return None  # deleted: what is left is on its own from now on


def _flow_name(run: FlowRun) -> str:
    with asking() as client:
        return client.read_flow(run.flow_id).name


@contextmanager
def asking() -> Iterator[SyncPrefectClient]:
    """A client of Prefect's API, whose troubles are told as ours."""
    try:
        with get_client(sync_client=True) as client:
            yield client
    except Exception as error:
        from tuneway.errors import LookupFailed

        raise LookupFailed(
            f"Prefect's API can't be asked about this run: {type(error).__name__}: {error}",
            hint="Nothing was created. Try again when it answers.",
        ) from error


def is_cancelled() -> bool:
    """Whether the flow run that this thread works for was ended.

    Prefect tells the threads of its task runner all at once, by an event for each of their tasks, and looks
    at it itself between a task's attempts; it has no public name that a task could look at.
    """
    flow = FlowRunContext.get()
    events = getattr(flow.task_runner if flow else None, "_cancel_events", None) or {}
    return any(event.is_set() for event in list(events.values())[:1])


def logger() -> logging.Logger | logging.LoggerAdapter[Any]:
    """The run's own log; outside of any run, ours."""
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("tuneway")
