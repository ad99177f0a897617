"""Waiting for a job where a person may lose patience, and a machine may stop the process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from tuneway.cli._exits import Stopped, Terminated, exit_code
from tuneway.cli._words import duration, figure
from tuneway.cli.jobs import trainer

if TYPE_CHECKING:
    from tuneway.cli._told import Line
    from tuneway.cli._watch import Watch
    from tuneway.client import Client
    from tuneway.models import Job
    from tuneway.progress import Listener, News

PANEL = "Waiting"


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """How to wait."""

    timeout: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="SECONDS", help="Give up waiting after so long; the job goes on.", rich_help_panel=PANEL
        ),
    ] = None
    cancel_on_interrupt: Annotated[
        bool, typer.Option("--cancel-on-interrupt", help="Ctrl-C cancels the job as well.", rich_help_panel=PANEL)
    ] = False


def wait_for(client: Client, job_id: str, waiting: Waiting, listener: Listener) -> Job:
    """Wait until a job has succeeded; an interruption says how to go on."""
    try:
        return client.wait(job_id, timeout=waiting.timeout, on_event=listener)
    except KeyboardInterrupt as stop:
        if waiting.cancel_on_interrupt:
            after = client.cancel(job_id)
            raise Stopped(
                f"interrupted; {job_id} is {after.status}", job_id=job_id, exit_code=exit_code(stop)
            ) from None
        raise detached(job_id, stop) from None
    except Terminated as stop:
        raise detached(job_id, stop) from None


def both(one: Listener, other: Listener) -> Listener:
    """A listener that passes news on to two."""

    def hear(news: News) -> None:
        one(news)
        other(news)

    return hear


def detached(job_id: str, stop: BaseException) -> Stopped:
    """The waiting is over, the job isn't."""
    return Stopped(
        f"stopped waiting; {job_id} goes on",
        hint=f"Wait on: tuneway wait {job_id}\nCancel:  tuneway cancel {job_id}",
        job_id=job_id,
        exit_code=exit_code(stop),
    )


def outcome(job: Job, watch: Watch) -> Line:
    """How a job ended, in one line."""
    parts = []
    if job.finished_at and job.created_at:
        parts.append(f"in {duration(job.finished_at - job.created_at)}")
    if watch.train:
        first, last = figure(watch.train[0]), figure(watch.train[-1])
        parts.append(f"{watch.measure} {first} → {last}" if len(watch.train) > 1 else f"{watch.measure} {last}")
    if watch.valid:
        parts.append(f"validation {figure(watch.valid[-1])}")
    if trainer(job):
        parts.append(f"trained by {trainer(job)}")
    return job.status, ", ".join(parts)
