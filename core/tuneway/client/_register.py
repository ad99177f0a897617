"""Registering a model: gather the facts from the service and from the steps before, then write one record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tuneway import flows
from tuneway.flows import Account, Flow
from tuneway.models import Job
from tuneway.outcome import Outcome
from tuneway.progress import Listener

if TYPE_CHECKING:
    from tuneway.dataset import DatasetReport
    from tuneway.registry import Cost, ModelVersion, RegistrationFields


def outcome(
    account: Account, job: str | Job, service_url: str, *, log: bool = False, forgiving: bool = False
) -> Flow[Outcome]:
    """Gather what came of a job."""
    trained = yield from flows.trained(account, job, log=log, forgiving=forgiving)
    return Outcome(trained=trained, service_url=service_url, free=account.local)


def register(
    account: Account,
    job: str | Job | Mapping[str, Any],
    service_url: str,
    then: RegistrationFields,
    *,
    by: str | None,
    data: Iterable[DatasetReport | Mapping[str, Any]],
    requested: Mapping[str, Any] | None,
    cost: Cost | None,
    **record: Any,
) -> Flow[ModelVersion]:
    """Gather the facts from the service and from the steps before, then write the record.

    Args:
        account: The account to send requests with.
        job: The job, or the output of a step.
        service_url: The service's address.
        then: How the model is registered. It is checked before the service is asked for anything.
        by: Who registers.
        data: What is known of the data, besides what the step's output has.
        requested: The hyperparameters that were asked for; else what the step's output has.
        cost: What the training cost; else what a table of prices says.
        record: Further arguments of `build_record`.
    """
    from tuneway.registry import build_record, check_registration, default_uri, git_state, open_registry
    from tuneway.steps import as_made, data_facts, job_id_of, requested_in

    output = job if isinstance(job, Mapping) else None
    yield from flows.work(lambda _listener: check_registration(**then))
    found = yield from outcome(account, job_id_of(job), service_url)
    trained = found.trained

    def write(_listener: Listener) -> ModelVersion:
        written = build_record(
            as_made(trained.job, output),
            name=str(then["name"]),
            checkpoint=then["checkpoint"],
            checkpoints=trained.checkpoints,
            files=trained.files,
            data=[*data_facts(output), *data],
            rows=trained.curve,
            requested=requested or requested_in(output),
            base_model=trained.base_model,
            cost=cost or found.cost,
            git=git_state(),
            service_url=service_url,
            **record,
        )
        registry = open_registry(then["registry"] or default_uri())
        return registry.register(
            written, alias=then["alias"], gates=then["gates"], by=by, reason=then["reason"], curve=trained.curve
        )

    return (yield from flows.work(write))
