"""The commands, in the order and the panels of the help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from tuneway._version import __version__
from tuneway.cli import control, data, doctor, jobs, metrics, models, report, run
from tuneway.cli._commands import SETTINGS, OpenRoot, add

PANELS: dict[str, list[Callable[..., None]]] = {
    "Jobs": [
        run.run,
        control.create,
        control.wait,
        jobs.list_,
        jobs.show,
        jobs.events,
        metrics.metrics,
        control.cancel,
        control.pause,
        control.resume,
    ],
    "Data": [data.validate, data.estimate, data.upload],
    "Models": [
        models.models,
        models.register,
        models.promote,
        models.rollback,
        models.lineage,
        models.ask,
        report.report,
    ],
    "Service": [doctor.doctor],
}

app = typer.Typer(
    cls=OpenRoot, name="tuneway", rich_markup_mode="rich", pretty_exceptions_enable=False, context_settings=SETTINGS
)


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it like this
    if wanted:
        typer.echo(f"tuneway {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Fine-tuning jobs: check the data, upload it, create one job, wait for it, register the model.

    Results go to standard output, everything else to standard error.

    Examples:
        tuneway serve --model gpt-4o-mini=bytes &       # a service on this machine
        export OPENAI_BASE_URL=http://127.0.0.1:8765/v1
        tuneway run train.jsonl --model gpt-4o-mini     # all steps; safe to repeat
    """
    if context.invoked_subcommand is None:
        context.get_help()


for panel, functions in PANELS.items():
    for function in functions:
        add(app, function, function.__name__.rstrip("_"), panel=panel)
