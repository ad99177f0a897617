"""Questions with expected answers, read from rows in the formats of training data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from tuneway._escape import path_shown
from tuneway._folders import expanded
from tuneway.errors import InvalidInput, InvalidSpec

Message: TypeAlias = Mapping[str, Any]
EvaluationRows: TypeAlias = str | Path | Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class Question:
    """A question, the expected answer, and where both stand: the line of a file, or the number of an example."""

    messages: Sequence[Message]
    expected: str
    where: str = ""


def questions_in(held_out: EvaluationRows) -> list[Question]:
    """Read the questions and the expected answers, without asking a model.

    Raises:
        InvalidInput: The file can't be read, a row has no question with an answer, or there are no rows.
    """
    questions = [_question(row, where) for where, row in _rows(held_out)]
    if not questions:
        raise InvalidSpec("there are no examples to ask about", field="held_out", hint="Give at least one example.")
    return questions


def _rows(held_out: EvaluationRows) -> Iterable[tuple[str, Any]]:
    if not isinstance(held_out, str | Path):
        return ((f"example {number}", row) for number, row in enumerate(held_out, start=1))
    path = expanded(held_out)
    try:
        with path.open(encoding="utf-8") as lines:
            return [_row(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    except InvalidInput:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no path, or not UTF-8"
        raise InvalidInput(f"{path_shown(path)} can't be read: {reason}") from None


def _row(path: Path, number: int, line: str) -> tuple[str, Any]:
    where = f"{path_shown(path)}, line {number}"
    try:
        return where, json.loads(line)
    except ValueError as error:
        raise InvalidInput(f"{where}: not JSON: {error}") from None


def _question(row: Any, where: str) -> Question:
    row = row if isinstance(row, Mapping) else {}
    if isinstance(row.get("prompt"), str) and isinstance(row.get("completion"), str):
        return Question([{"role": "user", "content": row["prompt"]}], row["completion"], where)
    messages = row.get("messages")
    if isinstance(messages, list) and len(messages) > 1 and all(isinstance(message, Mapping) for message in messages):
        *asked, answer = messages
        if answer.get("role") == "assistant" and isinstance(answer.get("content"), str):
            return Question([_as_asked(message) for message in asked], answer["content"], where)
    raise InvalidSpec(
        f"{where}: no question with an expected answer",
        field="held_out",
        hint="Give 'messages' that end with the assistant's answer as text, or 'prompt' and 'completion'.",
    )


def _as_asked(message: Message) -> Message:
    """A message of a row without the field that only training knows, which services refuse."""
    return {name: value for name, value in message.items() if name != "weight"}


def fingerprint(questions: Sequence[Question]) -> str:
    """The hash of the questions and expected answers; it doesn't depend on the file that had them."""
    digest = hashlib.sha256()
    for question in questions:
        row = [list(map(dict, question.messages)), question.expected]
        digest.update(json.dumps(row, sort_keys=True, default=str).encode() + b"\n")
    return digest.hexdigest()
