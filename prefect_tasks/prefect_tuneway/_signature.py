"""Signatures whose parameters are declared once, in the core's typed dictionaries.

A function that takes `**fields: Unpack[RecipeFields]` is fully typed for type checkers. At run time it has one
parameter without a name, and Prefect needs names: for a deployment's form, for `.map`, for cache policies.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, Required, TypeVar, get_args, get_origin, get_type_hints

Function = TypeVar("Function", bound=Callable[..., Any])

_SECTION = re.compile(r"^(?:Args|Attributes):\n((?:(?: +.*)?(?:\n|$))+)", re.MULTILINE)
_ENTRY = re.compile(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", re.MULTILINE)


def spell_out(
    *described_in: object,
    types: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Callable[[Function], Function]:
    """Give a function that ends in `**fields: Unpack[SomeFields]` a parameter for each field.

    A field's default is None unless another is given. It is described by the function's own docstring, else by those
    of `described_in`. Required parameters come first, the others in the order of the descriptions.

    Args:
        described_in: Objects whose docstrings describe the fields, under "Args:" or "Attributes:".
        types: The types of single parameters, where Prefect can't make a form of the field's own.
        defaults: The defaults of single parameters.
    """

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        *own, unpacked = signature.parameters.values()
        hints = get_type_hints(function)
        (kind,) = get_args(hints.pop(unpacked.name))
        told = _descriptions(*described_in, function)
        spelt = [one.replace(annotation=hints[one.name]) for one in own]
        for name, declared in get_type_hints(kind, include_extras=True).items():
            required = get_origin(declared) is Required
            hint = (types or {}).get(name, get_args(declared)[0] if required else declared)
            default = inspect.Parameter.empty if required else (defaults or {}).get(name)
            spelt.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=hint, default=default))
        place = {name: number for number, name in enumerate(told)}  # empty where Python left docstrings out
        spelt.sort(key=lambda one: (one.kind, one.default is not inspect.Parameter.empty, place.get(one.name, 0)))
        function.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=spelt, return_annotation=hints["return"]
        )
        function.__annotations__ = {one.name: one.annotation for one in spelt} | {"return": hints["return"]}
        entries = "".join(f"    {one.name}: {told[one.name]}\n" for one in spelt if one.name in told)
        summary = _SECTION.sub("", inspect.getdoc(function) or "").rstrip()
        function.__doc__ = f"{summary}\n\nArgs:\n{entries}".rstrip()
        return function

    return decorate


def _descriptions(*sources: object) -> dict[str, str]:
    """What the docstrings say of each parameter or field; later ones win."""
    found: dict[str, str] = {}
    for source in sources:
        for section in _SECTION.findall(inspect.getdoc(source) or ""):
            found |= {name: text.rstrip() for name, text in _ENTRY.findall(section)}
    return found
