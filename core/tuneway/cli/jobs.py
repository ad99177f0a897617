"""Looking at jobs: `list`, `show`, `events`."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneway._escape import one_line
from tuneway._words import ago, duration, moment
from tuneway.cli._connect import Connection
from tuneway.cli._output import Output
from tuneway.cli._spec import pairs
from tuneway.cli._steps import JobArgument, job_id_in

if TYPE_CHECKING:
    from tuneway.models import Event, Job

ROWS = 20


def list_(
    *,
    status: Annotated[
        list[str] | None,
        typer.Option(metavar="STATUS", help="Only jobs with this status: running, failed, …; repeatable."),
    ] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="Only jobs with this metadata pair; repeatable.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, metavar="N", help="The number of jobs.")] = ROWS,
    connection: Connection,
    output: Output,
) -> None:
    """List jobs, the newest first.

    Examples:
        tuneway list
        tuneway list --status running --status queued
        tuneway list --metadata team=support --json | jq -r .id
    """
    wanted = set(status or ())
    with connection.client() as client:
        jobs = client.jobs.list(metadata=pairs(metadata or (), "--metadata") or None, limit=min(limit, 100))
        found = list(islice((job for job in jobs if not wanted or job.status in wanted), limit))
    now = time.time()
    output.listing(
        found,
        ["job", "status", "model", "created", "made by", "tuned model"],
        lambda job: (job.id, job.status, job.model, ago(job.created_at, now), _origin(job), job.fine_tuned_model),
    )
    if not found and not output.json:
        output.note(
            "No such jobs." if wanted or metadata else "No jobs yet. `tuneway run --help` says how to make one."
        )


def show(job: JobArgument, *, connection: Connection, output: Output) -> None:
    """Show all facts about a job.

    Examples:
        tuneway show ftjob-abc123
        tuneway show ftjob-abc123 --json | jq .hyperparameters
    """
    with connection.client() as client:
        found = client.jobs.retrieve(job_id_in(job))
    if output.json:
        output.record(found)
        return
    output.facts(_facts(found, time.time()))


def _facts(job: Job, now: float) -> dict[str, Any]:
    fault = job.error
    own = {name: value for name, value in (job.metadata or {}).items() if not name.startswith("tuneway_")}
    facts = {
        "job": job.id,
        "status": job.status,
        "why": " ".join(filter(None, [fault.message, f"({fault.code})" if fault.code else None])) if fault else None,
        "tuned model": job.fine_tuned_model,
        "from": job.model,
        "method": job.kind,
        **{name.replace("_", " "): value for name, value in sorted(job.resolved.items())},
        "seed": job.seed,
        "data": job.training_file,
        "validation": job.validation_file,
        "made by": _origin(job),
        "created": f"{moment(job.created_at)} ({ago(job.created_at, now)})" if job.created_at else None,
        "took": duration(job.seconds) if job.seconds is not None else None,
        "trained by": job.trainer,
        "should end": moment(job.estimated_finish) if job.estimated_finish and not job.done else None,
        "tokens": f"{job.trained_tokens:,}" if job.trained_tokens is not None else None,
        "results": ", ".join(job.result_files or []),
    }
    return facts | {f"metadata {name}": value for name, value in own.items()}


def _origin(job: Job) -> str | None:
    return (job.metadata or {}).get("tuneway_origin")


def events(
    job: JobArgument,
    *,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, metavar="N", help="The number of lines, the last ones.")
    ] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing until the job has ended.")] = False,
    connection: Connection,
    output: Output,
) -> None:
    """Print a job's log, the oldest line first.

    Examples:
        tuneway events ftjob-abc123
        tuneway events ftjob-abc123 --follow
        tuneway events ftjob-abc123 --json | jq 'select(.type == "metrics") | .data'
    """
    job_id = job_id_in(job)
    with connection.client() as client:
        if follow:
            _follow(client, job_id, output)
            return
        last = list(islice(client.jobs.events(job_id, limit=min(limit, 100)), limit))
    for event in reversed(last):
        _print_event(event, output)


def _follow(client: Any, job_id: str, output: Output) -> None:
    from tuneway.errors import JobError
    from tuneway.progress import Logged

    def hear(news: object) -> None:
        if isinstance(news, Logged):
            _print_event(news.event, output)

    client.jobs.retrieve(job_id)  # fails at once for a mistyped id; a wait would try for a while
    try:
        client.wait(job_id, on_event=hear)
    except JobError as end:
        output.note(end.message)


def _print_event(event: Event, output: Output) -> None:
    if output.json:
        output.record(event)
    else:
        level = "" if event.level in (None, "info") else f"{event.level}: "
        output.result(f"{moment(event.created_at)}  {level}{one_line(event.message or '', 2000)}")
