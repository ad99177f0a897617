"""What a task is to the core: who asks for a job, and what became of the task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk.types import RuntimeTaskInstanceProtocol

    from tuneway.registry import Origin

OVER = frozenset({"failed", "success", "skipped", "upstream_failed", "removed"})
"""The states that a person (or a DAG run that ends) puts a waiting task in for good.

All others mean that the task goes on somewhere, or will: deferred, when only its triggerer has changed;
running, when its worker is evicted; queued or scheduled, when it was cleared.
"""


def key_of(ti: RuntimeTaskInstanceProtocol, *, reuse: str, retries: int) -> str:
    """Who asks, the same for each attempt of this task in this run.

    With `reuse="never"` each clear asks anew, and its retries adopt what it made. Airflow tells the two
    apart: `max_tries` grows when a task is cleared, and stays while it is retried.
    """
    key = f"airflow/{ti.dag_id}/{ti.run_id}/{ti.task_id}/{ti.map_index}"
    if reuse != "never":
        return key
    return f"{key}/since-try-{ti.max_tries - retries + 1}"


def origin_of(ti: RuntimeTaskInstanceProtocol) -> str:
    """The same in a person's words, kept on the job."""
    mapped = ti.map_index is not None and ti.map_index >= 0
    place = f"{ti.task_id}[{ti.map_index}]" if mapped else ti.task_id
    return f"airflow: {ti.dag_id} / {ti.run_id} / {place}"


def registry_origin(ti: RuntimeTaskInstanceProtocol) -> Origin:
    """The same for the model registry."""
    from tuneway.registry import Origin

    return Origin(engine="airflow", pipeline=ti.dag_id, run=ti.run_id, text=origin_of(ti))


def is_over(ti: Any) -> bool:
    """Whether a task that was told to stop is over, or will be run on elsewhere; blocking.

    Airflow tells a task to stop for many reasons and doesn't say which; the task's state does. When it
    can't be read, the task isn't over: a job that runs on can be adopted, one that is cancelled is lost.
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states: Mapping[str, Mapping[str, str | None]] = RuntimeTaskInstance.get_task_states(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
    )
    return any(state in OVER for state in states.get(ti.run_id, {}).values())
