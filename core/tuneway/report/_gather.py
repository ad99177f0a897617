"""Everything that a service knows of a job, fetched for a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneway.models import Job
from tuneway.report._inputs import Report

if TYPE_CHECKING:
    from tuneway.client import Client


def gather(client: Client, job: Job | str, **more: Any) -> Report:
    """Fetch a job with its metrics, log and checkpoints: `render_html(gather(client, "ftjob-…"))`.

    Services differ in what they keep, so what one refuses to give is named in the report instead of raised.

    Args:
        client: The account to ask.
        job: The job, whatever its state.
        more: Further fields of the `Report`: `data`, `registered`, `cost`, `evaluation`, `samples`.

    Raises:
        TunewayError: The job itself can't be read.
    """
    return Report.of(client.outcome(job, log=True, forgiving=True), **more)
