"""Find out what a service is and what it keeps, by reading only: nothing is created."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tuneway import calls
from tuneway.errors import Forbidden, TunewayError, Unauthorized
from tuneway.flows._account import Account
from tuneway.flows._carrier import Carrier, Named, Suffix
from tuneway.flows._effects import Flow
from tuneway.flows._marks import KEY, read, suffix_shown
from tuneway.flows._offers import Offers
from tuneway.flows._request import once
from tuneway.models import Job, Model

NEWEST = 100
"""How many jobs are looked at."""

CARRIERS: dict[type, str] = {Named: "the id of a job", Suffix: "the suffix of a job"}
METADATA = "the metadata of a job"

OTHER_CARRIER = (
    'If a retry can\'t find its job, set service_options={"mark": "suffix"}: this service shows the suffix of a job.'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What is known of a service.

    Args:
        base_url: Its address.
        service: The name of its dialect.
        why: Why this dialect is used.
        offers: What the service offers.
        options: The service options that it takes, each with its meaning.
        carrier: Where a job has the mark by which a retry finds it.
        key: Whether the service accepts the key: "limited" means that it does, but that the key may not list jobs.
        error: Why the jobs can't be listed.
        marks: Whether the service keeps the mark.
        evidence: What shows it.
        jobs: How many jobs were looked at.
        models: The models that can be tuned; None if the service doesn't say.
        listed: How many models the service lists; None if they can't be listed.
    """

    base_url: str
    service: str
    why: str
    offers: Offers
    options: Mapping[str, str]
    carrier: str
    key: Literal["accepted", "limited", "refused", "unknown"]
    error: TunewayError | None = None
    marks: Literal["kept", "unknown"] = "unknown"
    evidence: str = ""
    jobs: int = 0
    models: list[str] | None = None
    listed: int | None = field(default=None)

    def as_json(self) -> dict[str, Any]:
        """The diagnosis as JSON."""
        plain = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        error = None if self.error is None else {"type": type(self.error).__name__, "message": self.error.message}
        return plain | {"offers": self.offers.as_json(), "options": dict(self.options), "error": error}


def doctor(account: Account, *, base_url: str, why: str, options: Mapping[str, str]) -> Flow[Diagnosis]:
    """Look at the jobs and the models of a service. An error of the service is a part of the diagnosis.

    Args:
        account: The account.
        base_url: The address, for the diagnosis.
        why: Why this dialect is used, for the diagnosis.
        options: The service options that it takes, for the diagnosis.
    """
    jobs: list[Job] = []
    error: TunewayError | None = None
    try:
        jobs = (yield from once(account, calls.jobs.listing(limit=NEWEST))).data
    except TunewayError as problem:
        error = problem
    models = yield from _models(account)
    marks, evidence = _judge(account.marking, jobs, error)
    return Diagnosis(
        base_url=base_url,
        service=account.service,
        why=why,
        offers=account.offers,
        options=options,
        carrier=CARRIERS.get(type(account.marking), METADATA),
        key=_key(error),
        error=error,
        marks=marks,
        evidence=evidence,
        jobs=len(jobs),
        models=_tunable(models),
        listed=None if models is None else len(models),
    )


def _models(account: Account) -> Flow[list[Model] | None]:
    try:
        return (yield from once(account, calls.models.listing())).data
    except TunewayError:
        return None


def _tunable(models: list[Model] | None) -> list[str] | None:
    known = [model for model in models or () if model.tunable is not None]
    return [model.id for model in known if model.tunable] if known else None


def _key(error: TunewayError | None) -> Literal["accepted", "limited", "refused", "unknown"]:
    if error is None:
        return "accepted"
    if isinstance(error, Unauthorized):
        return "refused"
    return "limited" if isinstance(error, Forbidden) else "unknown"


def _judge(carrier: Carrier, jobs: list[Job], error: TunewayError | None) -> tuple[Literal["kept", "unknown"], str]:
    """Whether the service keeps marks, and what shows it."""
    if isinstance(carrier, Named):
        return "kept", "the id of a job, which is chosen here, is its mark"
    if error is not None or not jobs:
        return "unknown", "the jobs can't be listed" if error is not None else "there is no job to look at"
    marked = _first(jobs, lambda job: (job.metadata or {}).get(KEY))
    if marked is not None:
        return "kept", f"{marked} has Tuneway's mark"
    suffixed = _first(jobs, suffix_shown)
    if isinstance(carrier, Suffix):
        found, what = suffixed, "shows its suffix"
        missing = f"none of {len(jobs)} jobs shows a suffix; perhaps none was given one"
    elif moved := _first(jobs, lambda job: (read(Suffix(), job).metadata or {}).get(KEY)):
        return "kept", f"{moved} has Tuneway's mark in its suffix, not in its metadata. {OTHER_CARRIER}"
    else:
        found, what = _first(jobs, lambda job: job.metadata), "has metadata"
        missing = f"none of {len(jobs)} jobs has metadata; perhaps none was given any"
        missing += f". {OTHER_CARRIER}" if suffixed is not None else ""
    return ("unknown", missing) if found is None else ("kept", f"{found} {what}")


def _first(jobs: list[Job], has: Callable[[Job], object]) -> str | None:
    """The id of the first job that has something."""
    return next((job.id for job in jobs if has(job)), None)
