"""Operations on graders: check one, or run it on a sample, before a job is paid for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuneway.calls._http import Call, Request, reading
from tuneway.models import GraderRun, GraderValidation

ROOT = "/fine_tuning/alpha/graders"


def validate(grader: Mapping[str, Any]) -> Call[GraderValidation]:
    """Ask the service whether a grader is valid."""
    return Call(Request("POST", f"{ROOT}/validate", json={"grader": dict(grader)}), reading(GraderValidation))


def run(grader: Mapping[str, Any], *, model_sample: str, item: Mapping[str, Any] | None = None) -> Call[GraderRun]:
    """Score one sample with a grader."""
    body = {"grader": dict(grader), "model_sample": model_sample} | ({"item": dict(item)} if item is not None else {})
    return Call(Request("POST", f"{ROOT}/run", json=body), reading(GraderRun))
