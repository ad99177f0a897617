"""Functions become commands: those of this package, and those that other packages add."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from tuneway.cli._help import Command, Root
from tuneway.cli._options import unfolded
from tuneway.errors import MissingExtra, TunewayError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "tuneway.commands"
"""The entry points by which other packages add commands: a name, and a function with typer's annotations."""

SETTINGS = {"help_option_names": ["-h", "--help"]}

_OURS = "tuneway"


def add(app: typer.Typer, function: Callable[..., None], name: str, *, panel: str) -> None:
    """Add a function to an app as a command, in this panel of the help."""
    settings = SETTINGS | getattr(function, "context_settings", {})
    register = app.command(name, cls=Command, rich_help_panel=panel, context_settings=settings)
    register(unfolded(function))


class OpenRoot(Root):
    """The root command, to which other packages add commands.

    Their commands are looked up only for the help and for a name that this package doesn't have: reading the
    entry points takes about 40 ms where many packages are installed.
    """

    _own: dict[str, Any]
    _all: dict[str, Any] | None

    @property
    def commands(self) -> Any:
        """All commands. No other package can replace one of this package."""
        if self._all is None:
            self._all = self._own | {name: one for name, one in _others().items() if name not in self._own}
        return self._all

    @commands.setter
    def commands(self, own: Any) -> None:
        self._own = own
        self._all = None

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Find a command; the others are looked up only if none of this package has the name."""
        return self._own.get(cmd_name) or super().get_command(ctx, cmd_name)


def _others() -> dict[str, Any]:
    """The commands of other packages. One that can't be imported doesn't stop the others."""
    from importlib.metadata import entry_points

    found = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name, reverse=True):
        app = typer.Typer(add_completion=False, rich_markup_mode="rich")
        add(app, _load(point), point.name, panel="Service" if _is_ours(point) else "More")
        found[point.name] = typer.main.get_command(app)
    return found


def _is_ours(point: EntryPoint) -> bool:
    return point.dist is not None and point.dist.name == _OURS


def _load(point: EntryPoint) -> Callable[..., None]:
    """The function behind an entry point. A module that it lacks, now or when it runs, is named."""
    try:
        function = point.load()
    except Exception as error:  # noqa: BLE001 - whatever another package raises when it is imported
        return _unavailable(point, error)

    @functools.wraps(function)
    def command(**values: Any) -> None:
        try:
            function(**values)
        except ModuleNotFoundError as error:
            raise _problem(point, error) from error

    return command


def _unavailable(point: EntryPoint, error: Exception) -> Callable[..., None]:
    """A command in place of one that can't be imported; it says why."""

    def command() -> NoReturn:
        raise _problem(point, error) from error

    command.__doc__ = "Not available: what it needs can't be imported. Run it to see why."
    command.context_settings = {"allow_extra_args": True, "ignore_unknown_options": True}  # type: ignore[attr-defined]
    return command


def _problem(point: EntryPoint, error: Exception) -> TunewayError:
    """Why a command can't run, and what to install."""
    package = point.dist.name if point.dist else point.module.partition(".")[0]
    if not isinstance(error, ImportError):
        return TunewayError(
            f"`tuneway {point.name}` can't be loaded: {type(error).__name__}: {error}",
            hint=f"The command comes from the package {package}: install a version that works with this one.",
        )
    message = f"`tuneway {point.name}` needs {error.name or point.module}, which isn't installed"
    if package == _OURS:
        return MissingExtra(message, extra="local")
    return TunewayError(message, hint=f"Install it. The command comes from the package {package}, which needs it.")
