"""Split rows into training and validation data by the hash of each row's input.

The side of a row depends on nothing but its input and the share. So a row stays on its side when others are added or
removed, and rows with equal inputs are on the same side.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json

from tuneway.data._values import NotJson, plain


def is_held_out(line: bytes, share: float) -> bool:
    """Whether a row is validation data. A line that isn't a row is training data, where the check reports it."""
    try:
        row = from_json(line)
    except ValueError:
        return False
    if not isinstance(row, dict):
        return False
    try:  # as rows are written: without what is null, and with one way to write a number
        asked = plain(input_of(row))
    except NotJson:
        return False
    text = json.dumps(asked, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") < share * 2**64


def input_of(row: Mapping[str, Any]) -> Any:
    """What is asked in a row: everything but the answer."""
    messages = row.get("messages")
    if not isinstance(messages, list):  # else a prompt or an input beside it is a field for the grader
        names = ("input", "prompt") if "preferred_output" in row else ("prompt", "input")
        return next((row[name] for name in names if row.get(name) is not None), dict(row))
    if messages and isinstance(messages[-1], dict) and messages[-1].get("role") == "user":
        return messages  # reinforcement: the answer isn't in the data
    for place in range(len(messages) - 1, -1, -1):
        message = messages[place]
        if isinstance(message, dict) and message.get("role") == "assistant":
            return messages[:place]
    return messages
