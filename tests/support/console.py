"""Data for commands, and readers of what they print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support import datasets


def write(path: Path, rows: int, *, start: int = 0) -> Path:
    """A file with this many chats, each with a question of its own."""
    return datasets.write(path, datasets.good_rows(count=rows, start=start))


def lines_of(result: Any) -> list[dict[str, Any]]:
    """Standard output as JSON lines."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def error_of(result: Any) -> dict[str, Any]:
    """Standard error as one JSON error."""
    error: dict[str, Any] = json.loads(result.stderr)["error"]
    return error
