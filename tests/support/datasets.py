"""Rows of training data, and files of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Line = bytes | str | dict[str, Any] | list[Any]


def say(role: str, content: Any = "hello", **more: Any) -> dict[str, Any]:
    """A message."""
    return {"role": role, "content": content, **more}


def chat(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A chat example; without messages, a good one."""
    return {"messages": list(messages) or [say("user"), say("assistant")], **more}


def preference(**more: Any) -> dict[str, Any]:
    """A good preference example, but for `more`."""
    return {
        "input": {"messages": [say("user")]},
        "preferred_output": [say("assistant", "yes")],
        "non_preferred_output": [say("assistant", "no")],
        **more,
    }


def good_rows(format_: str = "chat", count: int = 10, *, start: int = 0) -> list[dict[str, Any]]:
    """Faultless rows, all different."""
    make = {
        "chat": lambda n: chat(say("user", f"question {n}"), say("assistant", f"answer {n}")),
        "completions": lambda n: {"prompt": f"question {n}", "completion": f"answer {n}"},
        "preference": lambda n: preference(input={"messages": [say("user", f"question {n}")]}),
        "reinforcement": lambda n: {"messages": [say("user", f"question {n}")], "answer": f"answer {n}"},
    }[format_]
    return [make(n) for n in range(start, start + count)]


def to_bytes(lines: Iterable[Line], end: bytes = b"\n") -> bytes:
    """Rows as lines; bytes stay as they are."""
    made = []
    for line in lines:
        text = line if isinstance(line, bytes | str) else json.dumps(line)
        made.append(text if isinstance(text, bytes) else text.encode())
    return b"".join(line + end for line in made)


def write(path: Path, lines: Iterable[Line]) -> Path:
    """A file of rows."""
    path.write_bytes(to_bytes(lines))
    return path
