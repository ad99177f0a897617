"""The rules once more, as plainly as can be: the whole file in memory, the standard parser, no shortcuts.

Covers chat and completions without tools and images; counts breaches by rule.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

ROLES = ["system", "user", "assistant", "tool", "function", "developer"]
CHAT = {"messages", "tools", "functions", "parallel_tool_calls", "function_call"}


def count_problems(data: bytes, format_: str) -> tuple[int, Counter[str]]:
    """How many rows there are, and how often each rule is broken."""
    counts: Counter[str] = Counter()
    if data.startswith(b"\xef\xbb\xbf"):
        counts["file.bom"] = 1
        data = data[3:]
    lines = data.split(b"\n")
    unended = lines.pop()
    if any(line.endswith(b"\r") for line in lines):
        counts["file.crlf"] = 1
    rows: list[bytes] = []
    for line, ended in [*((line, True) for line in lines), *([(unended, False)] if unended else [])]:
        row = _parse(line, ended, counts)
        if isinstance(row, dict):
            (_chat if format_ == "chat" else _completions)(row, counts)
            rows.append(line.rstrip(b"\r\n"))
    counts["row.duplicate"] = len(rows) - len(set(rows))
    if not rows:
        counts["file.empty"] = 1
    elif len(rows) < 10:
        counts["file.too_few_rows"] = 1
    return len(rows), +counts


def _parse(line: bytes, ended: bool, counts: Counter[str]) -> Any:
    if not line.strip():
        counts["jsonl.blank_line"] += 1
        return None
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        cut = not ended and error.reason == "unexpected end of data"
        counts["jsonl.truncated" if cut else "file.encoding"] += 1
        return None
    notes: Counter[str] = Counter()

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        notes["jsonl.duplicate_key"] += sum(n > 1 for n in Counter(key for key, _ in items).values())
        return dict(items)

    def constant(_: str) -> None:
        notes["jsonl.nan"] += 1

    try:
        row = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except json.JSONDecodeError as error:
        # strategies cut lines inside of strings only, where there is no doubt about it
        counts["jsonl.truncated" if not ended and "Unterminated" in error.msg else "jsonl.syntax"] += 1
        return None
    counts.update(notes)
    if not isinstance(row, dict):
        counts["jsonl.not_object"] += 1
    elif any("\ud800" <= letter <= "\udfff" for letter in json.dumps(row, ensure_ascii=False)):
        counts["jsonl.lone_surrogate"] += 1
    return row


def _chat(row: dict[str, Any], counts: Counter[str]) -> None:
    if "messages" not in row:
        counts["row.format"] += 1
        return
    counts["row.extra_key"] += len(row.keys() - CHAT)
    messages = row["messages"]
    if not isinstance(messages, list) or messages == []:
        counts["chat.messages"] += 1
        return
    for message in messages:
        if not isinstance(message, dict):
            counts["chat.message"] += 1
        elif message.get("role") not in ROLES:
            counts["chat.role"] += 1
        else:
            _message(message, counts)
    answers = [message for message in messages if isinstance(message, dict) and message.get("role") == "assistant"]
    if not answers:
        counts["chat.no_assistant"] += 1
    elif all("weight" in message and message["weight"] in (0, False) for message in answers):
        counts["chat.nothing_trained"] += 1


def _message(message: dict[str, Any], counts: Counter[str]) -> None:
    role, content = message["role"], message.get("content")
    if isinstance(content, list) and content:
        for part in content:
            good = isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
            counts["chat.content_part"] += not good
    elif not isinstance(content, str):
        counts["chat.content"] += 1
    name = message.get("name", "" if role == "function" else "none is needed")
    counts["chat.name"] += not isinstance(name, str) or (role == "function" and not name)
    if role == "tool":
        counts["chat.tool_call_id"] += 1
    if "weight" in message and role == "assistant":
        weight = message["weight"]
        counts["chat.weight"] += weight is not None and (isinstance(weight, bool) or weight not in (0, 1))
    elif "weight" in message:
        counts["chat.weight_role"] += 1
    counts["chat.message_key"] += len(message.keys() - {"role", "content", "name", "weight"})


def _completions(row: dict[str, Any], counts: Counter[str]) -> None:
    if not row.keys() & {"prompt", "completion"}:
        counts["row.format"] += 1
        return
    for key in ("prompt", "completion"):
        counts[f"completions.{key}"] += not isinstance(row.get(key), str)
    counts["row.extra_key"] += len(row.keys() - {"prompt", "completion"})
