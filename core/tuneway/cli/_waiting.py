"""Waiting for jobs, and what an interruption does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from tuneway.cli._exits import Stopped, Terminated, exit_code
from tuneway.cli._options import group
from tuneway.errors import TunewayError

if TYPE_CHECKING:
    from tuneway.cli._live import Show
    from tuneway.client import Client
    from tuneway.models import Job
    from tuneway.progress import Finished, Listener, News


@group("Waiting")
class Waiting:
    """How to wait."""

    timeout: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="Stop waiting after this time; the job goes on."),
    ] = None
    cancel_on_interrupt: Annotated[
        bool, typer.Option("--cancel-on-interrupt", help="Let Ctrl-C cancel the job as well.")
    ] = False


def wait_for(client: Client, job_id: str, waiting: Waiting, listener: Listener) -> Job:
    """Wait until a job has succeeded."""
    try:
        return client.wait(job_id, timeout=waiting.timeout, on_event=listener)
    except (KeyboardInterrupt, Terminated) as stop:
        raise stopped(client, [job_id], waiting, stop) from None


def wait_for_all(client: Client, job_ids: Sequence[str], waiting: Waiting, show: Show, *, live: bool) -> list[Finished]:
    """Wait until all of these jobs have ended, well or not. Gives the end of each, in the order of the ids."""
    from tuneway.cli._fleet import Fleet

    fleet = Fleet(job_ids, show, live=live)
    try:
        client.wait_all(job_ids, timeout=waiting.timeout, on_event=fleet.hear)
    except (KeyboardInterrupt, Terminated) as stop:
        raise stopped(client, fleet.open or job_ids, waiting, stop) from None
    except TunewayError:
        if fleet.open:
            raise
    return [fleet.ended[job_id] for job_id in job_ids]


def stopped(client: Client, job_ids: Sequence[str], waiting: Waiting, stop: BaseException) -> Stopped:
    """What to say after an interruption. The jobs go on, unless `--cancel-on-interrupt` is given: then cancel them."""
    if not (waiting.cancel_on_interrupt and isinstance(stop, KeyboardInterrupt)):
        return detached(stop, *job_ids)
    ends = ", ".join(_cancelled(client, job_id) for job_id in job_ids)
    return Stopped(f"interrupted; {ends}", job_id=job_ids[0], exit_code=exit_code(stop))


def _cancelled(client: Client, job_id: str) -> str:
    """Cancel a job and say what became of it. One that can't be cancelled doesn't stop the others."""
    try:
        return f"{job_id} is {client.cancel(job_id).status}"
    except TunewayError as error:
        return f"{job_id} can't be cancelled: {error.message}"


def both(one: Listener, other: Listener) -> Listener:
    """A listener that passes news on to two."""

    def hear(news: News) -> None:
        one(news)
        other(news)

    return hear


def detached(stop: BaseException, *job_ids: str, why: str = "") -> Stopped:
    """What to say when the waiting has stopped and the jobs go on."""
    first, *others = job_ids
    hint = f"Wait on: tuneway wait {' '.join(job_ids)}"
    return Stopped(
        f"stopped waiting; {', '.join(job_ids)} {'go' if others else 'goes'} on{why}",
        hint=hint if others else f"{hint}\nCancel:  tuneway cancel {first}",
        job_id=first,
        exit_code=exit_code(stop),
    )
