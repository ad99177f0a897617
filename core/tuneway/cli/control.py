"""Creating jobs, waiting for them, stopping them: `create`, `wait`, `cancel`, `pause`, `resume`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuneway.cli._connect import Connection
from tuneway.cli._exits import Several
from tuneway.cli._live import showing
from tuneway.cli._output import Output
from tuneway.cli._spec import ReuseOption, Training, read_json
from tuneway.cli._steps import JOB_HELP, JobArgument, StepOutput, step_output
from tuneway.cli._waiting import Waiting, both, wait_for, wait_for_all
from tuneway.errors import BadReply, JobError, TunewayError
from tuneway.requester import Requester

if TYPE_CHECKING:
    from tuneway.client import Client
    from tuneway.models import Job


def create(
    training_file: Annotated[
        str | None,
        typer.Argument(
            metavar="TRAINING_FILE",
            help="The id of an uploaded file, or what `tuneway upload --json` printed (text, file or -).",
            show_default=False,
        ),
    ] = None,
    *,
    model: Annotated[str | None, typer.Option("--model", "-m", metavar="NAME", help="The base model.")] = None,
    validation_file: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="The id of an uploaded validation file. Default: the one that `upload` printed."
        ),
    ] = None,
    spec: Annotated[
        Path | None,
        typer.Option(
            metavar="JSON",
            help="A file with the JSON of the create call, - for standard input; options win over it.",
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="WORDS", help="Who asks; the same on every retry. Default: the content alone decides."),
    ] = None,
    reuse: ReuseOption = "run",
    training: Training,
    connection: Connection,
    output: Output,
) -> None:
    """Create one job, or adopt the one that exists. Prints its id.

    The same command again gives the same job: nothing is paid twice.

    Examples:
        tuneway create file-abc123 --model gpt-4o-mini --epochs 3
        tuneway create file-abc123 --validation-file file-def456 -m gpt-4o-mini
        tuneway create --spec job.json --key nightly/2026-11-20
        JOB=$(tuneway create file-abc123 -m gpt-4o-mini) && tuneway wait $JOB
    """
    from tuneway.steps import job_summary

    base = read_json(spec, "--spec") if spec else None
    uploaded = step_output(training_file) if training_file else None
    beside = step_output(validation_file) if validation_file else None
    if isinstance(uploaded, dict) and beside is None:
        beside = uploaded.get("validation")
    asked_for, facts = training.spec(base, model=model, training_file=uploaded, validation_file=beside)
    with connection.client() as client, showing(output) as show:
        show.begin("creating")
        requester = Requester(engine="command line", key=key)
        job = client.start(asked_for, requester, reuse=reuse, on_event=show.hear).job
    output.record(job_summary(job, asked_for, data=facts, by=requester)) if output.json else output.result(job.id)


def wait(
    job: Annotated[
        list[str],
        typer.Argument(metavar="JOB", help=JOB_HELP, show_default=False),
    ],
    *,
    waiting: Waiting,
    connection: Connection,
    output: Output,
) -> None:
    """Wait until all of these jobs have succeeded, and show their progress.

    Prints the tuned models, in the order of the jobs. Ctrl-C stops the waiting, not the jobs; the same command
    waits on. Several jobs share one poll, and the command waits until all have ended: the exit code is that of the
    worst end, and with --json each job gets a line.

    Examples:
        tuneway wait ftjob-abc123
        tuneway wait ftjob-abc123 --timeout 3600
        MODEL=$(tuneway wait ftjob-abc123)
        tuneway wait ftjob-abc123 ftjob-def456 --json | jq -r '.job_id + " " + .status'
    """
    from tuneway.steps import job_id_of

    jobs = {job_id_of(given): given for given in map(step_output, job)}
    if len(jobs) > 1:
        _wait_for_several(jobs, waiting, connection, output)
    else:
        _wait_for_one(*next(iter(jobs.items())), waiting, connection, output)


def _wait_for_one(job_id: str, given: StepOutput, waiting: Waiting, connection: Connection, output: Output) -> None:
    from tuneway.cli._watch import Watch
    from tuneway.cli._wording import end_of

    with connection.client() as client:
        watch = Watch()
        with showing(output) as show:
            show.begin("waiting", job_id)
            client.jobs.retrieve(job_id)  # fails at once for a mistyped id; a wait would try for a while
            done = wait_for(client, job_id, waiting, both(watch.hear, show.hear))
            show.done(*end_of(done, watch))
    _print_end(done, given, output)


def _wait_for_several(jobs: Mapping[str, StepOutput], waiting: Waiting, connection: Connection, output: Output) -> None:
    with connection.client() as client, showing(output) as show:
        show.begin("waiting", ", ".join(jobs))
        _check_ids(client, list(jobs))
        ends = wait_for_all(client, list(jobs), waiting, show, live=output.live)
    for end in ends:
        if end.job is not None and (output.json or end.error is None):
            _print_end(end.job, jobs[end.job_id], output)
    errors = [end.error for end in ends if end.error is not None]
    if errors:
        raise Several(errors)


def _check_ids(client: Client, job_ids: Sequence[str]) -> None:
    """Fail at once for a mistyped id or address; a wait would try for a while."""
    for seen in client.look(job_ids):
        if not isinstance(seen, TunewayError) or isinstance(seen, JobError):
            continue
        if not seen.retryable or (isinstance(seen, BadReply) and seen.page):
            raise seen


def _print_end(job: Job, given: StepOutput, output: Output) -> None:
    from tuneway.steps import job_summary

    output.record(job_summary(job, given)) if output.json else output.result(job.fine_tuned_model or job.id)


def cancel(job: JobArgument, *, connection: Connection, output: Output) -> None:
    """Cancel a job. It can't be resumed.

    A job that has ended already stays as it is.

    Examples:
        tuneway cancel ftjob-abc123
        tuneway create file-abc123 -m gpt-4o-mini --json > job.json && tuneway cancel job.json
    """
    _act(job, lambda client, job_id: client.cancel(job_id), connection, output)


def pause(job: JobArgument, *, connection: Connection, output: Output) -> None:
    """Pause a job; `tuneway resume` continues it.

    Examples:
        tuneway pause ftjob-abc123
    """
    _act(job, lambda client, job_id: client.pause(job_id), connection, output)


def resume(job: JobArgument, *, connection: Connection, output: Output) -> None:
    """Continue a paused job.

    Examples:
        tuneway resume ftjob-abc123 && tuneway wait ftjob-abc123
    """
    _act(job, lambda client, job_id: client.resume(job_id), connection, output)


def _act(job: str, act: Callable[[Client, str], Job], connection: Connection, output: Output) -> None:
    from tuneway.steps import job_id_of, job_summary

    given = step_output(job)
    job_id = job_id_of(given)
    with connection.client() as client:
        after = act(client, job_id)
    output.record(job_summary(after, given)) if output.json else output.result(f"{job_id} {after.status}")
