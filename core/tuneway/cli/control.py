"""Making jobs, waiting for them, and stopping them: `create`, `wait`, `cancel`, `pause`, `resume`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuneway.cli._connect import Connection
from tuneway.cli._exits import Several
from tuneway.cli._live import showing
from tuneway.cli._output import Output
from tuneway.cli._spec import Reuse, Training, read_json
from tuneway.cli._waiting import Waiting, both, wait_for, wait_for_all
from tuneway.cli.jobs import JobId
from tuneway.errors import InvalidInput, JobError, TunewayError
from tuneway.requester import Requester

if TYPE_CHECKING:
    from tuneway.client import Client
    from tuneway.models import Job


def create(
    training_file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="The id of an uploaded file.", show_default=False)
    ] = None,
    *,
    model: Annotated[str | None, typer.Option("--model", "-m", metavar="NAME", help="The model to start from.")] = None,
    validation_file: Annotated[
        str | None, typer.Option("--valid", metavar="FILE", help="The id of an uploaded validation file.")
    ] = None,
    spec: Annotated[
        Path | None,
        typer.Option(metavar="JSON", help="A file with the create call's JSON, - for standard input; options win."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="WORDS", help="Who asks, the same on every retry. Without one, the content decides."),
    ] = None,
    reuse: Annotated[
        Reuse,
        typer.Option(help="Which existing jobs will do: what this key made, any with the same content, or none."),
    ] = Reuse.RUN,
    training: Training,
    connection: Connection,
    output: Output,
) -> None:
    """Have one job: adopt the one that exists, else create it. Prints its id.

    Repeating the same command gives the same job: nothing is paid twice.

    Examples:
        tuneway create file-abc123 --model gpt-4o-mini --epochs 3
        tuneway create --spec job.json --key nightly/2026-11-20
        JOB=$(tuneway create file-abc123 -m gpt-4o-mini) && tuneway wait $JOB
    """
    base = read_json(spec, "--spec") if spec else None
    for file in (training_file, validation_file):
        _check_id(file)
    wish = training.spec(base, model=model, training_file=training_file, validation_file=validation_file)
    with connection.client() as client, showing(output) as show:
        show.begin("creating")
        asker = Requester(engine="command line", key=key)
        job = client.submit(wish, requester=asker, reuse=reuse.value, on_event=show.hear)
    output.record(job) if output.json else output.result(job.id)


def _check_id(file: str | None) -> None:
    """A path where an id belongs is the likeliest mistake."""
    if file is not None and Path(file).is_file():
        raise InvalidInput(
            f"{file} is a file on this machine, not the id of an uploaded one",
            hint=f"`tuneway upload {file}` prints its id; `tuneway run {file}` does it all.",
        )


def wait(
    job: Annotated[list[str], typer.Argument(metavar="JOB", help="One job's id or more.", show_default=False)],
    *,
    waiting: Waiting,
    connection: Connection,
    output: Output,
) -> None:
    """Wait until all of these jobs have succeeded, and show how it goes.

    Prints the tuned models, in the order of the jobs. Ctrl-C stops the waiting, not the jobs; the same command goes
    on where it was. Several jobs share one poll, and are waited for to the last, however the others end: the exit
    code is that of the worst end, and with --json there is a line for each job.

    Examples:
        tuneway wait ftjob-abc123
        tuneway wait ftjob-abc123 --timeout 3600
        MODEL=$(tuneway wait ftjob-abc123)
        tuneway wait ftjob-abc123 ftjob-def456 --json | jq -r '.id + " " + .status'
    """
    job_ids = list(dict.fromkeys(job))
    if len(job_ids) > 1:
        _wait_for_several(job_ids, waiting, connection, output)
    else:
        _wait_for_one(job_ids[0], waiting, connection, output)


def _wait_for_one(job: str, waiting: Waiting, connection: Connection, output: Output) -> None:
    from tuneway.cli._told import end_of
    from tuneway.cli._watch import Watch

    with connection.client() as client:
        watch = Watch()
        with showing(output) as show:
            show.begin("waiting", job)
            client.jobs.retrieve(job)  # a mistyped id fails at once; a wait would bear with it for a while
            done = wait_for(client, job, waiting, both(watch.hear, show.hear))
            show.done(*end_of(done, watch))
    output.record(done) if output.json else output.result(done.fine_tuned_model or done.id)


def _wait_for_several(job_ids: list[str], waiting: Waiting, connection: Connection, output: Output) -> None:
    with connection.client() as client, showing(output) as show:
        show.begin("waiting", ", ".join(job_ids))
        for sight in client.look(job_ids):  # as above
            if isinstance(sight, TunewayError) and not (isinstance(sight, JobError) or sight.retryable):
                raise sight
        ends = wait_for_all(client, job_ids, waiting, show, live=output.live)
    for end in ends:
        if output.json and end.job is not None:
            output.record(end.job)
        elif not output.json and end.error is None:
            output.result((end.job and end.job.fine_tuned_model) or end.job_id)
    errors = [end.error for end in ends if end.error is not None]
    if errors:
        raise Several(errors)


def cancel(job: JobId, *, connection: Connection, output: Output) -> None:
    """Stop a job for good.

    One that has ended already stays as it is.

    Examples:
        tuneway cancel ftjob-abc123
    """
    _act(job, lambda client: client.cancel(job), connection, output)


def pause(job: JobId, *, connection: Connection, output: Output) -> None:
    """Stop a job for now.

    Examples:
        tuneway pause ftjob-abc123
    """
    _act(job, lambda client: client.pause(job), connection, output)


def resume(job: JobId, *, connection: Connection, output: Output) -> None:
    """Let a paused job go on.

    Examples:
        tuneway resume ftjob-abc123 && tuneway wait ftjob-abc123
    """
    _act(job, lambda client: client.resume(job), connection, output)


def _act(job: str, act: Callable[[Client], Job], connection: Connection, output: Output) -> None:
    with connection.client() as client:
        after = act(client)
    output.record(after) if output.json else output.result(f"{job} {after.status}")
