"""The job of an earlier try, kept in Airflow's store of task states: from Airflow 3.3, which keeps it over tries.

XComs are no such place: Airflow deletes a task's own when it is tried again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context

    from tuneway import JobSpec, Recipe, Requester
    from tuneway.choices import Reuse

JOB = "tuneway_job"
"""The name under which the store has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierJob:
    """What an earlier try of this task has submitted, or adopted.

    Args:
        known: The output of the step that submitted: the job's id, what was asked for, and what is known of its data.
        occasion: The requester's: the same for retries, another one after a clear.
        arguments: A hash of the task's arguments.
        source: Where the data came from, if that is a place; None for rows, frames and uploaded files.
        mapped: Whether the task is mapped. Its map index isn't its identity: after a clear the same index may stand
            for another file.
    """

    known: Mapping[str, Any]
    occasion: str | None
    arguments: str
    source: list[str] | None
    mapped: bool

    def is_retried(self, requester: Requester, arguments: str) -> bool:
        """Whether this try repeats the earlier one on the same input. For a mapped task, its arguments are compared."""
        return self.occasion == requester.occasion and (not self.mapped or self.arguments == arguments)

    def is_about(self, what: Recipe | JobSpec, requester: Requester, reuse: Reuse) -> bool:
        """Whether that job was for this input, so that the data of now may be compared with it."""
        if not requester.adopts(self.occasion, reuse):
            return False
        return not self.mapped or (self.source is not None and self.source == source_of(what))


def keeps_jobs(context: Context) -> bool:
    """Whether this Airflow has a place for a task's job that a retry can read."""
    return context.get("task_state_store") is not None


def read_earlier(context: Context, log: Any) -> EarlierJob | None:
    """What an earlier try has stored. If it can't be read, the job is found by its data, as without a store."""
    store: Any = context.get("task_state_store")
    if store is None:
        return None
    try:
        found = store.get(JOB)
    except Exception:
        log.exception("The job of an earlier try can't be read from Airflow, so it is looked for by its data")
        return None
    return EarlierJob(**found) if found else None


def store_earlier(context: Context, job: EarlierJob, log: Any) -> None:
    """Store the job for later tries, where Airflow has a place for it."""
    store: Any = context.get("task_state_store")
    if store is None:
        return
    try:
        store.set(JOB, asdict(job))
    except Exception:
        log.exception("The job can't be stored in Airflow, so a later try looks for it by its data")


def is_mapped_instance(ti: Any) -> bool:
    """Whether a task instance is one of a mapped task."""
    return ti.map_index is not None and ti.map_index >= 0


def source_of(what: Recipe | JobSpec) -> list[str] | None:
    """Where the data comes from, without secrets; None if that doesn't tell one input from another."""
    from tuneway import Recipe
    from tuneway.data import is_place, name_of

    if not isinstance(what, Recipe):
        return None
    given = [data for data in (what.training_data, what.validation_data) if data is not None]
    if not all(map(is_place, given)):
        return None
    return [str(data) if isinstance(data, int | float) else name_of(data) for data in given]


def hash_of(arguments: Mapping[str, Any]) -> str:
    """A hash of a task's arguments, as they are after rendering."""
    text = json.dumps(arguments, default=repr, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
