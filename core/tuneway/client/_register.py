"""Registering a model: gather what the service knows, add what this side knows, write it down once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from tuneway import flows
from tuneway.client._settings import is_local
from tuneway.flows import Account, Flow, Trained
from tuneway.models import Job, JobSpec
from tuneway.progress import Listener

if TYPE_CHECKING:
    from tuneway.registry import Cost, GateLike, ModelVersion, Origin
    from tuneway.registry.build import Choice, DataFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What the caller gives; see `Client.register`."""

    name: str
    alias: str | None
    registry: str | None
    checkpoint: Choice
    gates: Sequence[GateLike]
    spec: JobSpec | None
    requested: Mapping[str, Any] | None
    data: Iterable[DataFacts | Mapping[str, Any]]
    cost: Cost | None
    origin: Origin | str | None
    by: str | None
    reason: str | None
    service_url: str

    def write(self, trained: Trained) -> ModelVersion:
        """Write the record; blocking."""
        from tuneway.registry import build_record, default_uri, git_state, open_registry

        record = build_record(
            trained.job,
            name=self.name,
            checkpoint=self.checkpoint,
            checkpoints=trained.checkpoints,
            files=trained.files,
            data=self.data,
            rows=trained.rows,
            spec=self.spec,
            requested=self.requested,
            base_model=trained.base_model,
            cost=self.cost or cost_of(trained.job, self.service_url),
            git=git_state(),
            origin=self.origin,
            service_url=self.service_url,
        )
        return open_registry(self.registry or default_uri()).register(
            record, alias=self.alias, gates=self.gates, by=self.by, reason=self.reason, curve=trained.rows
        )


def cost_of(job: Job, service_url: str) -> Cost | None:
    """What a hosted training cost, by the dated table of prices; a service on this machine sends no bill."""
    from tuneway.dataset import price_of
    from tuneway.registry import Cost

    price = price_of(job.model, {})
    if price is None or job.trained_tokens is None or is_local(service_url):
        return None
    return Cost(
        amount=price.usd_per_million * job.trained_tokens / 1e6,
        price_date=date.fromisoformat(price.as_of) if price.as_of else None,
    )


def register(account: Account, job: str | Job, registration: Registration) -> Flow[ModelVersion]:
    """Gather, then write."""
    trained = yield from flows.trained(account, job if isinstance(job, str) else job.id)

    def write(_listener: Listener) -> ModelVersion:
        return registration.write(trained)

    return (yield from flows.work(write))
