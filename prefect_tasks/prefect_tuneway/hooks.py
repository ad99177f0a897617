"""The hook that cancels the paid jobs of a flow run that a person cancels."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.logging.loggers import flow_run_logger

from prefect_tuneway import _runs
from prefect_tuneway.credentials import FineTuningCredentials, resolve
from tuneway._escape import one_line

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.objects import FlowRun, State

LABEL = "tuneway.credentials."
"""Labels on a flow run: the credential blocks that its jobs were created with, for a hook in another process."""

MOST_REMEMBERED = 1000

_remembered: OrderedDict[str, list[FineTuningCredentials]] = OrderedDict()


def cancel_jobs(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Cancel the fine-tuning jobs that a flow run has made, when a person cancels the run.

        @flow(on_cancellation=[cancel_jobs])
        def nightly(): ...

    The jobs are found by the mark that they carry, so the flow's own process may be gone, and may have been
    killed in the middle of a create. A run that ends for another reason (its worker is shut down or evicted)
    leaves its jobs alone: the next attempt adopts them. Jobs that the run only waited for, or that it adopted from
    another by `reuse="content"`, carry another mark and are left alone as well.

    The service is asked with the credential blocks that the run has used; if it used none, as the environment of
    this process says. See `cancel_jobs_with` for others. Where TUNEWAY_DEPLOYMENT is set, it is part of the mark:
    set it for the worker too.
    """
    _hook(flow, flow_run, state, None)


def cancel_jobs_with(
    credentials: FineTuningCredentials | str,
) -> Callable[[Flow[..., Any], FlowRun, State[Any]], None]:
    """The hook `cancel_jobs` with these credentials: a block, or the name of a stored one."""

    def cancel_jobs(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
        _hook(flow, flow_run, state, credentials)

    return cancel_jobs


def note_credentials(run: _runs.Run, access: FineTuningCredentials) -> None:
    """Note on the flow run which credentials its job is about to be created with."""
    if run.home is None:
        return
    known = _remembered.setdefault(run.home, [])
    if access not in known:
        known.append(access)
    while len(_remembered) > MOST_REMEMBERED:
        _remembered.popitem(last=False)
    document, name = access._block_document_id, access._block_document_name  # noqa: SLF001 - there are no public names
    if document is not None and name:
        with _runs.asking() as client:
            client.update_flow_run_labels(UUID(run.home), {f"{LABEL}{document}": name})


def _hook(
    flow: Flow[..., Any], flow_run: FlowRun, state: State[Any], credentials: FineTuningCredentials | str | None
) -> None:
    log = flow_run_logger(flow_run, flow)
    if not cancel_if_asked(flow_run, log, credentials):
        log.info("No person has cancelled this run (%s): its fine-tuning jobs are left alone", state.message)


def cancel_if_asked(
    flow_run: FlowRun, log: logging.Logger | logging.LoggerAdapter[Any], credentials: FineTuningCredentials | str | None
) -> bool:
    """Cancel the jobs of a run if a person has cancelled it; gives whether that is so."""
    from tuneway.errors import TunewayError

    found = _runs.home_of(flow_run)
    home = found.run
    if home.state is None or not (home.state.is_cancelling() or home.state.is_cancelled()):
        return False
    trouble: TunewayError | None = None
    for access in [resolve(credentials)] if credentials is not None else _used_by(home):
        for origin in found.origins:
            try:
                with access.get_client() as client:
                    jobs = client.cancel_made_by(origin, marks=found.marks)
            except TunewayError as error:  # the jobs on other accounts are still cancelled
                trouble = error
                continue
            for job in jobs:
                log.info("The run was cancelled: %s is %s", one_line(job.id), one_line(job.status))
    if trouble is not None:
        raise trouble
    return True


def is_attached(flow: Flow[..., Any] | None) -> bool:
    """Whether a flow has the hook."""
    hooks = (flow.on_cancellation_hooks if flow else None) or []
    return any(getattr(hook, "__module__", None) == __name__ for hook in hooks)


def _used_by(home: FlowRun) -> list[FineTuningCredentials]:
    """The credentials that a run has used, as far as they are known here; else those of the environment."""
    found = {str(access.client_settings()): access for access in _remembered.get(str(home.id), [])}
    for label, name in (home.labels or {}).items():
        if label.startswith(LABEL):
            access = resolve(str(name))
            found[str(access.client_settings())] = access
    return list(found.values()) or [FineTuningCredentials()]
