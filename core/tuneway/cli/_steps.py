"""What an earlier command printed with `--json`, given to a later one in place of an id."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, TypeAlias

import typer

from tuneway._folders import expanded
from tuneway.errors import InvalidInput

StepOutput: TypeAlias = str | dict[str, Any]
"""An id, or the JSON that a step printed."""

JOB_HELP = "A job's id; or what a command printed about it with --json: as text, as a file, or - for standard input."

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help=JOB_HELP, show_default=False)]

_LONGEST = 1_000_000
"""Bytes of the largest file that is read for the output of a step. Training data may be much longer."""


def step_output(text: str) -> StepOutput:
    """An argument as it is meant: JSON, a file of JSON or standard input as the object that it is, else an id.

    Raises:
        InvalidInput: It begins like JSON and isn't, or it is the path of a file without the output of a step.
    """
    if text == "-":
        text = sys.stdin.read().strip()
    elif not text.lstrip().startswith("{"):
        return _in_file(text) or text
    if not text.lstrip().startswith("{"):
        return text
    try:
        return dict(json.loads(text))
    except ValueError as error:
        raise InvalidInput(
            f"an argument that begins with {{ is not the JSON of an earlier step: {error}",
            hint="Give an id, or all of what a command printed with --json.",
        ) from None


def job_id_in(text: str) -> str:
    """The id of a job in an argument, see `step_output`.

    Raises:
        InvalidInput: There is none in it.
    """
    from tuneway.steps import job_id_of

    return job_id_of(step_output(text))


def _in_file(text: str) -> dict[str, Any] | None:
    """The output of a step from a file; None if there is no such file."""
    try:
        path = expanded(text)
        if not path.is_file():
            return None
        found = json.loads(path.read_bytes()) if path.stat().st_size <= _LONGEST else None
    except OSError:  # no path can be that long, or it can't be read
        return None
    except ValueError:
        found = None
    if isinstance(found, dict) and not found.keys().isdisjoint(("job_id", "file_id", "object")):
        return found
    # the likeliest mistake: a data file stands where an id belongs
    raise InvalidInput(
        f"{text} is a file on this machine, not an id or the output of a step",
        hint=f"`tuneway upload {text}` prints the id of an uploaded file; `tuneway run {text}` does all steps.",
    )
