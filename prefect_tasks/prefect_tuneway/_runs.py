"""Which run a step belongs to: who asks for a job, and by which mark a cancel finds it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import MissingContextError, ObjectNotFound
from prefect.logging import get_run_logger

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

    from tuneway import Job, Requester

ENGINE = "prefect"

CANCEL_EVENTS = "_cancel_events"
"""An attribute of Prefect's task runner that isn't public: see `is_cancelled`."""
SUSPENSION = "flow_run_suspension_request"
"""An attribute of Prefect's context that its documentation doesn't mention: see `step_aside`."""

MARK = "tuneway.mark."
"""Labels on a flow run: the marks of its jobs that don't have their origin, for a hook in another process."""


@dataclass(frozen=True, slots=True)
class Run:
    """The step that runs now, and the flow runs around it.

    Args:
        task: The task's name.
        task_run: The task run's id: the same for all its retries, another when its flow is run again.
        root: The outermost flow run: the same whatever is retried or run again.
        home: The nearest flow run with a process of its own, which a person can cancel.
        pipeline: The name of the home's flow.
        pool: The work pool that the home was started from.
    """

    task: str
    task_run: str | None = None
    root: str | None = None
    home: str | None = None
    pipeline: str | None = None
    pool: str | None = None

    def requester(self, key: str | None = None) -> Requester:
        """Who asks for a job in this step.

        Prefect gives a task call another id each time that its flow is run again, so the step is known by its
        task's name; the id distinguishes a deliberate repeat from a retry. Outside of a flow a task run stands for
        itself, and outside of any run the content decides.
        """
        from tuneway import Requester

        if self.root is None or self.home is None:
            return Requester(engine=ENGINE, run=self.task_run, key=key, occasion=self.task_run, keep_origin=True)
        return Requester(
            engine=ENGINE,
            pipeline=self.pipeline,
            run=self.root,
            step=self.task,
            key=key,
            occasion=self.task_run,
            mark=mark_of(self.pipeline, self.home),
            keep_origin=True,  # the hook finds the jobs of a cancelled run by it
        )


def mark_of(pipeline: str | None, home: str) -> str:
    """The origin mark on every job that a flow run makes."""
    from tuneway import Requester

    return Requester(engine=ENGINE, pipeline=pipeline, run=home).origin


def current_run() -> Run:
    """The step that runs now. It blocks: Prefect's API is asked about the flow runs around it.

    Raises:
        LookupFailed: Prefect's API doesn't answer. A guess could pay for a second job.
    """
    task, flow, run_id = TaskRunContext.get(), FlowRunContext.get(), _flow_run_id()
    name = task.task.name if task else "step"
    task_run = str(task.task_run.id) if task else None
    if run_id is None:
        return Run(name, task_run)
    known = flow.flow_run if flow and flow.flow_run and flow.flow_run.id == run_id else None
    line = _line(known, run_id)
    home = next((run for run in line if run.deployment_id is not None), line[-1])
    pipeline = flow.flow.name if known and home.id == known.id and flow and flow.flow else _flow_name(home)
    return Run(name, task_run, str(line[-1].id), str(home.id), pipeline, home.work_pool_name)


def is_own(job: Job) -> bool:
    """Whether the flow run around this step has made the job, and not only adopted it or been given its id."""
    from tuneway import Requester
    from tuneway.flows import has_key, made_by

    run_id = _flow_run_id()
    if run_id is None:
        return False
    with asking() as client:
        flow_run = client.read_flow_run(run_id)
    home = home_of(flow_run)
    return any(has_key(job, mark) for mark in home.marks) or any(
        made_by(job, Requester(engine=ENGINE, mark=origin)) for origin in home.origins
    )


def _flow_run_id() -> UUID | None:
    """The flow run that the running task or flow belongs to."""
    task, flow = TaskRunContext.get(), FlowRunContext.get()
    return (task.task_run.flow_run_id if task else None) or (flow.flow_run.id if flow and flow.flow_run else None)


@dataclass(frozen=True, slots=True)
class Home:
    """A flow run with a process of its own, and how the jobs that it made are found.

    Args:
        run: The flow run.
        origins: The origin marks of its jobs.
        marks: The marks of the jobs that don't have their origin.
    """

    run: FlowRun
    origins: list[str]
    marks: list[str]


def home_of(flow_run: FlowRun) -> Home:
    """The flow run with a process of its own that this one is part of.

    A parent flow that is retried starts its deployed flows as new runs. The jobs of the earlier ones carry the
    marks of those runs, so their marks are given as well.
    """
    line = _line(flow_run, flow_run.id)
    home = next((run for run in line if run.deployment_id is not None), line[-1])
    pipeline = _flow_name(home)
    with asking() as client:
        home = client.read_flow_run(home.id)  # its state now, which shows why it ends
        runs = [home, *_earlier(client, home)]
    return Home(
        home,
        origins=[mark_of(pipeline, str(run.id)) for run in runs],
        marks=[label.removeprefix(MARK) for run in runs for label in run.labels or {} if label.startswith(MARK)],
    )


def note_mark(home: str, mark: str) -> None:
    """Note on a flow run the mark of a job that is about to be created, and that won't have its origin."""
    with asking() as client:
        client.update_flow_run_labels(UUID(home), {f"{MARK}{mark}": True})


def _earlier(client: SyncPrefectClient, home: FlowRun) -> list[FlowRun]:
    """The other runs that the same task run of the parent started."""
    from prefect.client.schemas.filters import FlowRunFilter

    if home.parent_task_run_id is None:
        return []
    place = FlowRunFilter.model_validate({"parent_task_run_id": {"any_": [home.parent_task_run_id]}})
    return [run for run in client.read_flow_runs(flow_run_filter=place) if run.id != home.id]


def _line(run: FlowRun | None, run_id: UUID) -> list[FlowRun]:
    """A flow run, its parent, the parent's parent and so on."""
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
        return None  # it was deleted: the run below it counts as the outermost


def _flow_name(run: FlowRun) -> str:
    with asking() as client:
        return client.read_flow(run.flow_id).name


@contextmanager
def asking() -> Iterator[SyncPrefectClient]:
    """A client of Prefect's API; whatever it raises becomes `LookupFailed`."""
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

    Prefect's task runner sets an event for each of its tasks, all at once, and checks it between the attempts of a
    task. There is no public name for it. If Prefect renames it, this gives False, and a submitted wait
    (`wait_for_fine_tuning_job.submit(…)`) keeps the process of a cancelled flow run until its job has ended.
    Nothing else uses it: jobs are cancelled by `cancel_jobs`, which doesn't need it.
    """
    flow = FlowRunContext.get()
    events = getattr(flow.task_runner if flow else None, CANCEL_EVENTS, None) or {}
    return any(event.is_set() for event in list(events.values())[:1])


def step_aside() -> None:
    """End this step if a person has suspended the flow run: by Prefect's signal, which no step catches.

    Prefect itself looks for that between steps only. If it renames the attribute, a run that a person suspends keeps
    its process until its job has ended; nothing else uses it.
    """
    request = getattr(FlowRunContext.get(), SUSPENSION, None)
    if request is not None:
        request.raise_if_requested()


def logger() -> logging.Logger | logging.LoggerAdapter[Any]:
    """The run's log; outside of any run, the logger `tuneway`."""
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("tuneway")
