"""`run`: check, upload, create, wait, register. Killed anywhere and repeated, it pays nothing twice."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from tuneway.cli._connect import Connection
from tuneway.cli._live import showing
from tuneway.cli._output import Output
from tuneway.cli._reading import DATA, RowOptions, ValidationData, validation_of
from tuneway.cli._registry import Gates, Place, Reason, Registering, registration
from tuneway.cli._spec import Budget, ReuseOption, Training
from tuneway.cli._waiting import Waiting
from tuneway.requester import Requester


def run(
    training_data: Annotated[
        str, typer.Argument(metavar="TRAINING_DATA", help=f"The training data. {DATA}.", show_default=False)
    ],
    *,
    model: Annotated[str, typer.Option("--model", "-m", metavar="NAME", help="The base model.")],
    name: Annotated[
        str | None,
        typer.Option("--name", "-n", metavar="NAME", help="The model's name in the registry. Default: the file's."),
    ] = None,
    validation_data: ValidationData = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="WORDS", help="Who asks; the same on every retry. Default: the model's name."),
    ] = None,
    reuse: ReuseOption = "run",
    register: Annotated[bool, typer.Option("--register/--no-register", help="Register the model at the end.")] = True,
    reading: RowOptions,
    training: Training,
    budget: Budget,
    waiting: Waiting,
    registering: Registering,
    gates: Gates,
    reason: Reason,
    place: Place,
    connection: Connection,
    output: Output,
) -> None:
    """Check the data, upload it, create one job, wait for it, register the model.

    Prints the tuned model. Kill it at any point and run it again: it finds what was done before, and nothing is
    paid twice. The same name, data and settings mean the same job; for another job of the same, give
    --reuse never.

    Examples:
        tuneway run train.jsonl --model gpt-4o-mini --name support-router
        tuneway run train.jsonl -m gpt-4o-mini --validation-data valid.jsonl --checkpoint best --alias challenger
        tuneway run train.jsonl -m gpt-4o-mini --max-usd 20
        tuneway run s3://bucket/data.parquet -m gpt-4o-mini --row user=question --row assistant=answer
        MODEL=$(tuneway run train.jsonl -m gpt-4o-mini --quiet)
    """
    from tuneway.cli._run import RunCommand

    name = name or _name_of(training_data)
    recipe = training.recipe(
        model=model,
        training_data=training_data,
        validation_data=validation_of(validation_data),
        **reading.fields(),
        **budget.fields(**reading.checking()),
    )
    then = registration(registering, gates, reason, place)
    with connection.client() as client, showing(output) as show:
        command = RunCommand(client, show, Requester(engine="command line", key=key or name))
        made = command.go(recipe, waiting, reuse=reuse, name=name if register else None, **then)
    if output.json:
        output.record(command.result(made))
        return
    for line in command.next_steps(made):
        output.note(line)
    output.result(made.model or made.job.id)


def _name_of(data: str) -> str:
    """The name of data as a model's name: letters, digits, dots and dashes."""
    from tuneway.data import name_of, stem_of

    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem_of(name_of(data))).lstrip("._-")[:128] or "model"
