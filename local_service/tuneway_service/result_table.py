"""The result file of a job: the metrics of each step as CSV."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from tuneway_service.journal import read_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

COLUMNS = {
    "train_loss": "train_loss",
    "train_accuracy": "train_mean_token_accuracy",
    "valid_loss": "valid_loss",
    "valid_mean_token_accuracy": "valid_mean_token_accuracy",
}
REWARDS = ("train_mean_reward", "full_valid_mean_reward")
DURATIONS = {"sampling": "sampling", "training": "training", "eval": "eval", "full_iteration": "total"}
LONGEST_NAME = 1000
"""The characters of a grader's name that its columns have."""


def result_table(journal: Path) -> str:
    """The content of the result file, empty where nothing was measured."""
    steps = {record["step"]: record for record in read_all(journal) if record.get("kind") == "metrics"}
    rows = [{"step": step, **_cells(steps[step])} for step in sorted(steps)]
    names = list({name: None for row in rows for name in row}) if rows else ["step", *COLUMNS]
    text = io.StringIO()
    table = csv.DictWriter(text, names, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def _cells(record: Mapping[str, Any]) -> dict[str, Any]:
    metrics, groups = record["metrics"], record.get("groups")
    if not groups:
        return {column: metrics.get(name, "") for column, name in COLUMNS.items()}
    rewards = {name: metrics.get(name, "") for name in REWARDS}
    plain = {name: value for name, value in groups.items() if not isinstance(value, dict)}
    durations = {f"{word}_duration": groups["timing"]["step"][name] for name, word in DURATIONS.items()}
    samples = {f"usage/samples/{name}": value for name, value in groups["usage"]["samples"].items()}
    return rewards | plain | durations | samples | dict(_of_graders(groups))


def _of_graders(groups: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of each grader, under the names that the hosted service's file has."""
    for group in ("scores", "errors", "usage", "timing"):
        for grader in groups[group]["graders"]:
            # a reader of CSV takes no return in a name, and no name of any length
            name = grader["name"].replace("\r", " ")[:LONGEST_NAME]
            place = f"{group}/graders/{grader['type']}/{name}" + ("/errors" if group == "errors" else "")
            yield from ((f"{place}/{key}", value) for key, value in grader.items() if not isinstance(value, str))
