"""Fetch all that a service knows of a job, for a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneway.models import Job
from tuneway.report._inputs import Report

if TYPE_CHECKING:
    from tuneway.client import Client


def gather(client: Client, job: Job | str, **more: Any) -> Report:
    """Fetch a job with its metrics, log and checkpoints, as in `render_html(gather(client, "ftjob-…"))`.

    Services differ in what they keep. So if a part can't be read, the report says so, and no error is raised.

    Args:
        client: The client.
        job: The job, in any status.
        more: More fields of the `Report`: `data`, `registered`, `cost`, `evaluation`, `samples`.

    Raises:
        TunewayError: The job itself can't be read.
    """
    return Report.of(client.outcome(job, log=True, forgiving=True), **more)
