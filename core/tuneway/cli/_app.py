"""The commands, in the order and the panels of the help."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, NoReturn

import typer

from tuneway._version import __version__
from tuneway.cli import control, data, jobs, metrics, models, report, run
from tuneway.cli._help import Command, Root
from tuneway.cli._options import unfolded
from tuneway.errors import MissingExtra

GROUP = "tuneway.commands"
"""The entry points by which other packages add commands: a name, and a function with typer's annotations."""


def added() -> Iterator[Callable[..., None]]:
    """The commands of other packages, the local service among them. None of them can stop the others."""
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name, reverse=True):
        try:
            yield point.load()
        except ImportError as error:
            yield _unavailable(point, error)


def _unavailable(point: EntryPoint, error: ImportError) -> Callable[..., None]:
    """A command in place of one that can't be imported: it says what is missing."""

    def command() -> NoReturn:
        missing = error.name or point.module
        raise MissingExtra(f"`tuneway {point.name}` needs {missing}, which isn't installed", extra="local")

    command.__name__ = point.name
    command.__doc__ = "Not available here: a package that it needs isn't installed."
    command.context_settings = {"allow_extra_args": True, "ignore_unknown_options": True}  # type: ignore[attr-defined]
    return command


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
    "Service": [*added()],
}

SETTINGS = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    cls=Root, name="tuneway", rich_markup_mode="rich", pretty_exceptions_enable=False, context_settings=SETTINGS
)


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer's own way to call
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
        tuneway serve --model gpt-4o-mini=bytes &       # a service of your own
        export OPENAI_BASE_URL=http://127.0.0.1:8765/v1
        tuneway run train.jsonl --model gpt-4o-mini     # all steps; safe to repeat
    """
    if context.invoked_subcommand is None:
        context.get_help()


for panel, commands in PANELS.items():
    for command in commands:
        settings = SETTINGS | getattr(command, "context_settings", {})
        register = app.command(
            command.__name__.rstrip("_"), cls=Command, rich_help_panel=panel, context_settings=settings
        )
        register(unfolded(command))
