"""`report`: a page about a training, or its curve as a picture."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneway.cli._connect import Connection
from tuneway.cli._live import showing
from tuneway.cli._output import Output
from tuneway.cli._reading import DATA, RowOptions, ValidationData, validation_of
from tuneway.cli._registry import Place
from tuneway.cli._steps import JobArgument, job_id_in
from tuneway.errors import InvalidInput, RegistryError

if TYPE_CHECKING:
    from tuneway.client import Client
    from tuneway.models import Job
    from tuneway.progress import Listener
    from tuneway.registry import Evaluation


def report(
    job: JobArgument,
    *,
    to: Annotated[
        str,
        typer.Option(
            *("--output", "-o"),
            metavar="FILE",
            help="A page (.html) or the curve (.svg, .png), here or in an object store; - prints the page.",
        ),
    ] = "report.html",
    training_data: Annotated[
        str | None, typer.Option(metavar="DATA", help=f"The training data, to describe it. {DATA}.")
    ] = None,
    validation_data: ValidationData = None,
    held_out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Data whose questions both models are asked.")
    ] = None,
    reading: RowOptions,
    place: Place,
    connection: Connection,
    output: Output,
) -> None:
    """Write a page about a job, or its curve as a picture.

    The page needs no network. It has curves, settings, data, cost and lineage, and answers of the base model and
    the tuned one.

    Examples:
        tuneway report ftjob-abc123
        tuneway report ftjob-abc123 -o report.html --training-data train.jsonl --held-out valid.jsonl
        tuneway report ftjob-abc123 -o curve.png
        tuneway report ftjob-abc123 -o s3://reports/ftjob-abc123.html
    """
    from tuneway.report import check_report_place, gather, render_html, write_report

    job_id = job_id_in(job)
    if to != "-":
        check_report_place(to, field="--output")
    with connection.client() as client, showing(output) as show:
        show.begin("gathering", job_id)
        found = client.jobs.retrieve(job_id)
        more: dict[str, Any] = {}
        if training_data is not None or validation_data is not None:
            more["data"] = client.validate(
                training_data, validation_data=validation_of(validation_data), model=found.model, on_event=show.hear,
                **reading.fields(), **reading.checking(),
            )  # fmt: skip
        if held_out is not None:
            show.begin("asking", "both models")
            more["evaluation"] = _evaluation(client, found, held_out, show.hear)
        gathered = gather(client, found, registered=_version(place, found), **more)
    if to == "-":
        sys.stdout.write(render_html(gathered))
    else:
        to = write_report(gathered, to, field="--output")
    for note in gathered.notes:
        output.note(note, style="yellow")
    if to != "-":
        output.record({"job_id": job_id, "output": to}) if output.json else output.result(to)


def _evaluation(client: Client, job: Job, held_out: Path, on_event: Listener) -> Evaluation:
    if not (job.fine_tuned_model and job.model):
        raise InvalidInput(f"{job.id} has no model to ask yet: it is {job.status}", job_id=job.id)
    return client.evaluate(held_out, base=job.model, tuned=job.fine_tuned_model, on_event=on_event)


def _version(place: Place, job: Job) -> Any:
    """The job's version in the registry, if there is one and the registry can be read."""
    try:
        versions = place.open().find(job_id=job.id)
    except RegistryError:
        return None
    return versions[-1] if versions else None
