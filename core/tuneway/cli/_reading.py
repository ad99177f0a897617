"""Data on the command line: where it is, and how rows are made of it."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from tuneway._folders import expanded
from tuneway.choices import Order
from tuneway.cli._options import group
from tuneway.errors import InvalidInput

DATA = "A path or URL of JSONL, Parquet, Arrow or CSV"

ValidationData = Annotated[
    str | None,
    typer.Option(
        metavar="DATA",
        help="The validation data, or a share such as 0.1 to split off. The two are checked as a pair.",
    ),
]

_COLUMN = re.compile(r"[\w.-]+")


def validation_of(text: str | None) -> str | float | None:
    """Validation data as it was given: a number is the share of the training data, unless a file has that name."""
    try:
        share = float(text or "")
    except ValueError:
        return text
    return text if expanded(str(text)).exists() else share


@group("Data")
class RowOptions:
    """How rows are made of the data, and how it is read."""

    row: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COLUMN",
            help="Make rows of columns: --row user=question --row assistant=answer. A text with columns in braces "
            "is filled in: --row 'user=Translate: {question}'. Repeatable.",
        ),
    ] = None
    order: Annotated[
        Order,
        typer.Option(help='"content" sorts the rows, so that the same set of rows in any order is the same job.'),
    ] = "given"
    processes: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many processes check a large JSONL file on this machine.")
    ] = 2

    def checking(self) -> dict[str, Any]:
        """Further arguments of `tuneway.dataset.validate`."""
        return {"processes": self.processes}

    def fields(self) -> dict[str, Any]:
        """The fields of a recipe, which are also arguments of `tuneway.dataset.validate`."""
        made = {"row": dict(map(_named, self.row))} if self.row else {}
        return made if self.order == "given" else {**made, "order": self.order}


def _named(option: str) -> tuple[str, str]:
    name, mark, text = option.partition("=")
    if not mark or not name or not text:
        raise InvalidInput("--row is not NAME=COLUMN", hint="For example: --row user=question --row assistant=answer")
    return name, f"{{{text}}}" if _COLUMN.fullmatch(text) else text
