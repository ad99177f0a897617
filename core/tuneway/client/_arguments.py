"""Convert the arguments of client methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from tuneway._escape import excerpt
from tuneway._folders import expanded
from tuneway.calls import segment
from tuneway.client._checks import TrainingPlan
from tuneway.errors import InvalidSpec
from tuneway.flows import Account, WaitToken, deadline_after
from tuneway.models import Job, JobSpec
from tuneway.recipe import Recipe
from tuneway.requester import Requester


def file_source(file: str | PathLike[str] | bytes, filename: str | None) -> tuple[Path | bytes, str]:
    """The source of an upload's bytes, and its file name."""
    if isinstance(file, bytes):
        return file, filename or "data.jsonl"
    path = expanded(file)
    return path, filename or path.name


def specification(spec: object) -> JobSpec:
    """The specification of a job; anything else is refused here, where it has a name."""
    if isinstance(spec, JobSpec):
        return spec
    raise InvalidSpec(
        f"spec: {excerpt(spec)} is not a JobSpec",
        field="spec",
        hint="Make one: JobSpec(model=…, training_file=…). For data that isn't uploaded yet, use a Recipe and `start`.",
    )


def plan_of(recipe: object, account: Account, requester: Requester | None, reuse: str, then: Any) -> TrainingPlan:
    """The plan of a training; what is neither a recipe nor a specification is refused."""
    if not isinstance(recipe, Recipe | JobSpec):
        raise InvalidSpec(
            f"recipe: {excerpt(recipe)} is neither a Recipe nor a JobSpec",
            field="recipe",
            hint="Make one: Recipe(model=…, training_data=…).",
        )
    return TrainingPlan(recipe=recipe, requester=requester or Requester(), reuse=reuse, account=account, then=then)


def carries(job: Job, metadata: Mapping[str, str] | None) -> bool:
    """Whether a job has these metadata pairs; `{}` asks for a job without any. Some services ignore the filter."""
    if metadata is not None and not metadata:
        return not job.metadata
    return all((job.metadata or {}).get(name) == value for name, value in (metadata or {}).items())


def as_json(grader: Mapping[str, Any] | BaseModel) -> Mapping[str, Any]:
    """A grader as the JSON that the API takes."""
    return grader.model_dump(mode="json", exclude_none=True) if isinstance(grader, BaseModel) else grader


def requester(key: str | None, given: Requester | None) -> Requester:
    """The requester as given, with the key if there is one."""
    if given is None:
        return Requester(key=key)
    return given if key is None else replace(given, key=key)


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that have a value; None counts as not given."""
    return {name: value for name, value in fields.items() if value is not None}


def token(job: str | Job | WaitToken, timeout: float | None, now: float) -> WaitToken:
    """The resume token of a wait: a token keeps its own deadline unless there is a new time-out."""
    deadline = deadline_after(timeout, now)
    if isinstance(job, WaitToken):
        return job if deadline is None else job.model_copy(update={"deadline": deadline})
    try:
        job_id = job if isinstance(job, str) else job.id
        segment(job_id)
        return WaitToken(job_id=job_id, deadline=deadline)
    except (AttributeError, ValidationError, InvalidSpec):
        raise InvalidSpec(f"{excerpt(job)} is neither a job nor a job's id", field="job") from None
