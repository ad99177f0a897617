"""What an earlier command printed with `--json`, given to a later one in place of an id."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

from tuneway._folders import expanded
from tuneway.errors import InvalidInput

StepOutput: TypeAlias = str | dict[str, Any]
"""An id, or the JSON that a step printed."""


def step_output(text: str) -> StepOutput:
    """An argument as it is meant: JSON as the object that it is, everything else as an id.

    Raises:
        InvalidInput: It begins like JSON and isn't, or it is the path of a file.
    """
    if not text.lstrip().startswith("{"):
        _refuse_a_path(text)
        return text
    try:
        return dict(json.loads(text))
    except ValueError as error:
        raise InvalidInput(
            f"an argument that begins with {{ is not the JSON of an earlier step: {error}",
            hint="Give an id, or all of what a command printed with --json.",
        ) from None


def _refuse_a_path(text: str) -> None:
    """Say so when a file stands where an id belongs: that is the likeliest mistake."""
    try:
        there = expanded(text).is_file()
    except OSError:  # no path can be that long
        return
    if there:
        raise InvalidInput(
            f"{text} is a file on this machine, not an id",
            hint=f"`tuneway upload {text}` prints the id of an uploaded file; `tuneway run {text}` does all steps.",
        )
