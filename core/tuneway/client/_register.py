"""Registering a model: gather what the service knows, add what this side knows, write it down once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuneway import flows
from tuneway.choices import Choice
from tuneway.flows import Account, Flow
from tuneway.models import Job, TrainingSpec
from tuneway.outcome import Outcome
from tuneway.progress import Listener
from tuneway.requester import Requester

if TYPE_CHECKING:
    from tuneway.registry import Cost, GateLike, ModelVersion, Origin
    from tuneway.registry.build import DataFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What the caller gives; see `Client.register`."""

    name: str
    registry: str | None
    alias: str | None
    checkpoint: Choice
    gates: Sequence[GateLike]
    reason: str | None
    spec: TrainingSpec | None
    requested: Mapping[str, Any] | None
    data: Iterable[DataFacts | Mapping[str, Any]]
    cost: Cost | None
    origin: Requester | Origin | str | None
    by: str | None

    def check(self) -> None:
        """Refuse what can't be registered that way, before the service is asked for anything."""
        from tuneway.registry import check_registration

        check_registration(
            name=self.name, registry=self.registry, alias=self.alias, checkpoint=self.checkpoint, gates=self.gates
        )

    def write(self, outcome: Outcome) -> ModelVersion:
        """Write the record; blocking."""
        from tuneway.registry import build_record, default_uri, git_state, open_registry

        trained = outcome.trained
        record = build_record(
            trained.job,
            name=self.name,
            checkpoint=self.checkpoint,
            checkpoints=trained.checkpoints,
            files=trained.files,
            data=self.data,
            rows=trained.curve,
            spec=self.spec,
            requested=self.requested,
            base_model=trained.base_model,
            cost=self.cost or outcome.cost,
            git=git_state(),
            origin=self.origin,
            service_url=outcome.service_url,
        )
        return open_registry(self.registry or default_uri()).register(
            record, alias=self.alias, gates=self.gates, by=self.by, reason=self.reason, curve=trained.curve
        )


def outcome(
    account: Account, job: str | Job, service_url: str, *, log: bool = False, forgiving: bool = False
) -> Flow[Outcome]:
    """Gather what came of a job."""
    trained = yield from flows.trained(account, job, log=log, forgiving=forgiving)
    return Outcome(trained=trained, service_url=service_url, free=account.local)


def register(account: Account, job: str | Job, service_url: str, registration: Registration) -> Flow[ModelVersion]:
    """Gather, then write."""
    yield from flows.work(lambda _listener: registration.check())
    found = yield from outcome(account, job if isinstance(job, str) else job.id, service_url)

    def write(_listener: Listener) -> ModelVersion:
        return registration.write(found)

    return (yield from flows.work(write))
