"""A job as the database stores it: the columns of its row, with the JSON among them decoded."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from tuneway_service.states import JobStatus

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class JobBody:
    """What a job was created with, defaults filled in. It never changes.

    Args:
        model: The model to start from, by the name that the client used.
        training_file: The id of the training file.
        method: The method as the API spells it: `{"type": "dpo", "dpo": {…}}`.
        seed: The seed, chosen by the service if the client gave none.
        validation_file: The id of the validation file.
        suffix: The client's part of the new model's name.
        metadata: The client's pairs.
        integrations: The integrations, each with the id of its run.
        gpus: How many GPUs the client wants for it.
    """

    model: str
    training_file: str
    method: Mapping[str, Any]
    seed: int
    validation_file: str | None = None
    suffix: str | None = None
    metadata: Mapping[str, str] | None = None
    integrations: Sequence[Mapping[str, Any]] = ()
    gpus: int | None = None

    @classmethod
    def decode(cls, text: str) -> Self:
        """From the column `body`; fields that this version doesn't know are ignored."""
        content = json.loads(text)
        return cls(**{field.name: content[field.name] for field in fields(cls) if field.name in content})

    def encode(self) -> str:
        """The text of the column `body`."""
        return json.dumps(vars(self))

    @property
    def method_name(self) -> str:
        """The method: "supervised", "dpo" or "reinforcement"."""
        name: str = self.method["type"]
        return name

    @property
    def method_settings(self) -> Mapping[str, Any]:
        """The settings of the method: its hyperparameters, and the grader of reinforcement."""
        settings: Mapping[str, Any] = self.method[self.method_name]
        return settings

    @property
    def requested(self) -> Mapping[str, Any]:
        """The hyperparameters that the client asked for; a value may be "auto"."""
        return self.method_settings.get("hyperparameters") or {}


@dataclass(frozen=True)
class JobRow:
    """One row of the table `jobs`; `schema.py` says what each column means."""

    seq: int
    id: str
    created_at: int
    finished_at: int | None
    status: JobStatus
    trainer: str
    body: JobBody
    hyperparameters: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    fine_tuned_model: str | None
    result_file: str | None
    trained_tokens: int | None
    estimated_finish: int | None
    usage: Mapping[str, Any]
    occupied: bool
    attempt: int
    losses: int
    step: int
    step_at_start: int
    journal_read: int

    @classmethod
    def decode(cls, row: sqlite3.Row) -> Self:
        """From a row as SQLite returns it."""
        values = {field.name: row[field.name] for field in fields(cls)}
        return cls(
            **values
            | {
                "status": JobStatus(row["status"]),
                "body": JobBody.decode(row["body"]),
                "hyperparameters": _optional(row["hyperparameters"]),
                "error": _optional(row["error"]),
                "usage": _optional(row["usage"]) or {},
                "occupied": bool(row["occupied"]),
            }
        )

    @property
    def model_name(self) -> str:
        """The name of the model that the job makes: its base, the client's suffix, and a part of the job's id."""
        base = self.body.model
        if tuned := re.match(r"ft:(.+?):local:", base):
            base = tuned[1]
        suffix = re.sub(r"[^A-Za-z0-9._-]+", "-", self.body.suffix or "")
        return f"ft:{base}:local:{suffix}:{self.id.removeprefix('ftjob-')[:8]}"


def _optional(text: str | None) -> dict[str, Any] | None:
    return json.loads(text) if text else None


def encoded(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values for columns: objects and lists become JSON, everything else stays."""
    return {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in changes.items()}
