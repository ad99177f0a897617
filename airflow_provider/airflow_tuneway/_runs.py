"""Who a task is to the core, and whose job a task may cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_tuneway._compat import conf

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from airflow.sdk.types import RuntimeTaskInstanceProtocol

    from tuneway import Job, Requester

OVER = frozenset({"failed", "success", "skipped", "upstream_failed", "removed"})
"""The states in which a person, or the end of the DAG run, ends a waiting task.

Every other state means that the task goes on: deferred, when only its triggerer changed; running, when its worker was
evicted; queued or scheduled, when it was cleared.
"""


def requester_of(ti: RuntimeTaskInstanceProtocol, *, retries: int, key: str | None = None) -> Requester:
    """The task as a requester: the same for each try of this task in this run.

    Airflow distinguishes a clear from a retry by `max_tries`, which grows when a task is cleared and stays while it is
    retried. So `reuse="never"` makes a new job after each clear, and retries adopt it.

    Args:
        ti: The task instance.
        retries: How often the task is retried.
        key: The user's word for deliberate repeats.
    """
    from tuneway import Requester

    return Requester(
        engine="airflow",
        pipeline=ti.dag_id,
        run=ti.run_id,
        step=ti.task_id,
        key=key,
        occasion=f"since-try-{ti.max_tries - retries + 1}",
        keep_origin=True,  # a step that waits for the job knows by it whether its run has made the job
        **_deployment(),
    )


def run_of(ti: Any) -> Requester:
    """The task's whole run as a requester: what any of its tasks asked for."""
    from tuneway import Requester

    return Requester(engine="airflow", pipeline=ti.dag_id, run=ti.run_id, **_deployment())


def as_arguments(requester: Requester) -> dict[str, Any]:
    """A requester as the arguments that make it again in another process, where the environment may differ."""
    from dataclasses import asdict

    given = {name: value for name, value in asdict(requester).items() if value}
    return given | {"deployment": requester.deployment}


def is_own(job: Job, requester: Requester, *, marks: Collection[str] = ()) -> bool:
    """Whether this requester has made the job, so that its kill may cancel it.

    A requester without a step stands for all tasks of its run: a step that waits doesn't know which task made the job.
    `marks` are those of the creates that this very try has sent.
    """
    from tuneway.flows import has_key, made_by, made_within

    if any(has_key(job, mark) for mark in marks):
        return True
    return made_by(job, requester) if requester.step is not None else made_within(job, requester)


def is_over(ti: Any) -> bool:
    """Whether a task that was told to stop is over, or will go on elsewhere; blocking.

    Airflow stops a task for many reasons and doesn't say which, but the task's state shows it. If the state can't be
    read, the task counts as going on: a job that runs on can be adopted, a cancelled one is lost.
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states: Mapping[str, Mapping[str, str | None]] = RuntimeTaskInstance.get_task_states(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
    )
    return any(state in OVER for state in states.get(ti.run_id, {}).values())


def _deployment() -> dict[str, Any]:
    """`[tuneway] deployment` if it is set; without it, the core reads its own variable."""
    configured = conf.get("tuneway", "deployment", fallback=None)
    return {"deployment": configured} if configured else {}
