"""`run`: check, upload, create, wait, register. Killed anywhere and repeated, it pays nothing twice."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from tuneway.cli._connect import Connection
from tuneway.cli._live import showing
from tuneway.cli._output import Output
from tuneway.cli._registry import Gates, Place, Registering
from tuneway.cli._spec import Reuse, Training
from tuneway.cli._waiting import Waiting


def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The training data, JSONL.", show_default=False)],
    *,
    model: Annotated[str, typer.Option("--model", "-m", metavar="NAME", help="The model to start from.")],
    name: Annotated[
        str | None, typer.Option("--name", "-n", metavar="NAME", help="What to call the result; else the file's name.")
    ] = None,
    valid: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Validation data, measured during training.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="WORDS", help="Who asks, the same on every retry; else the name.")
    ] = None,
    reuse: Annotated[
        Reuse,
        typer.Option(help="Which existing jobs will do: what this key made, any with the same content, or none."),
    ] = Reuse.RUN,
    register: Annotated[bool, typer.Option("--register/--no-register", help="Register the model in the end.")] = True,
    training: Training,
    waiting: Waiting,
    registering: Registering,
    gates: Gates,
    place: Place,
    connection: Connection,
    output: Output,
) -> None:
    """Check the data, upload it, create one job, wait for it, register the model.

    Prints the tuned model. Kill it wherever you like and run it again: what was done is found again, and
    nothing is paid twice. The same name, data and settings mean the same job; for another one of the same, use
    --reuse never.

    Examples:
        tuneway run train.jsonl --model gpt-4o-mini --name support-router
        tuneway run train.jsonl -m gpt-4o-mini --valid valid.jsonl --checkpoint best --alias challenger
        MODEL=$(tuneway run train.jsonl -m gpt-4o-mini --quiet)
    """
    from tuneway.cli._journey import Journey

    name = name or _name_of(file)
    if register:
        _check_names(name, registering.alias)
    with connection.client() as client, showing(output) as show:
        journey = Journey(client, show, name=name, model=model, training=training)
        journey.check(file, valid)
        journey.upload()
        journey.submit(key=key or name, reuse=reuse.value)
        journey.wait(waiting)
        if register:
            journey.register(registering, gates.all(), place.registry)
    if output.json:
        output.record(journey.result())
        return
    for line in journey.farewell():
        output.note(line)
    output.result(journey.tuned)


def _name_of(file: Path) -> str:
    """A file's name as a model's name: letters, digits, dots and dashes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).lstrip("._-")[:128] or "model"


def _check_names(name: str, alias: str | None) -> None:
    """Refuse bad names before anything is paid for."""
    from tuneway.registry.records import check_alias, check_name

    check_name(name)
    if alias is not None:
        check_alias(alias)
