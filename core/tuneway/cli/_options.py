"""Options that several commands share are dataclasses: a parameter of such a type becomes one option per field.

@group("Connection")
class Connection:
    base_url: Annotated[str | None, typer.Option(help="The service.")] = None

@unfolded
def wait(job: str, *, connection: Connection) -> None: ...   # typer sees: job, base_url
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from inspect import Parameter, Signature
from typing import Any, TypeVar, dataclass_transform, get_type_hints

Group = TypeVar("Group", bound=type)

_panels: dict[type, str | None] = {}


@dataclass_transform(frozen_default=True, kw_only_default=True)
def group(panel: str | None = None) -> Callable[[Group], Group]:
    """Make a class a group of options, shown in this panel of the help."""

    def decorate(kind: Group) -> Group:
        _panels[kind] = panel
        return dataclass(frozen=True, kw_only=True)(kind)  # type: ignore[return-value]

    return decorate


def unfolded(command: Callable[..., None]) -> Callable[..., None]:
    """A command with an option for each field of its dataclass parameters; called, it makes the dataclasses again."""
    hints = get_type_hints(command, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if isinstance(kind, type) and is_dataclass(kind)}

    @functools.wraps(command)
    def run(**values: Any) -> None:
        for name, kind in groups.items():
            values[name] = kind(**{field.name: values.pop(field.name) for field in fields(kind)})
        command(**values)

    shown: list[Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name in groups:
            shown += _fields(groups[parameter.name])
        else:
            shown.append(parameter.replace(annotation=hints[parameter.name], kind=Parameter.KEYWORD_ONLY))
    del run.__wrapped__  # else typer would read the signature of the wrapped function
    run.__signature__ = Signature(shown)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return run


def _fields(kind: type) -> list[Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    for hint in hints.values():
        for option in getattr(hint, "__metadata__", ()):
            option.rich_help_panel = _panels.get(kind, option.rich_help_panel)
    return [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(kind)
    ]
