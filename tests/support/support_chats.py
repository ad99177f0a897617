"""Support tickets and the queue that each belongs to, made by the script of the examples' own data."""

from __future__ import annotations

import itertools
import random
import runpy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "data" / "make_support_data.py"))
SYSTEM: str = _SCRIPT["SYSTEM"]
QUEUES: list[str] = list(_SCRIPT["PROBLEMS"])


def chats(count: int, *, seed: int, apart_from: Iterable[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    """Training rows: system, ticket, queue. No two tickets are the same, none is among `apart_from`."""
    seen = {_ticket_of(row) for row in apart_from}
    made = _SCRIPT["examples"](random.Random(seed))
    rows = list(itertools.islice((row for row in made if _ticket_of(row) not in seen), count))
    random.Random(seed).shuffle(rows)  # the script takes the queues in turn
    return rows


def preferences(count: int, *, seed: int) -> list[dict[str, Any]]:
    """Preference rows: the right queue rather than a wrong one."""
    choose = random.Random(seed)
    rows = []
    for row in chats(count, seed=seed):
        *asked, answer = row["messages"]
        wrong = choose.choice([queue for queue in QUEUES if queue != answer["content"]])
        rows.append(
            {
                "input": {"messages": asked},
                "preferred_output": [answer],
                "non_preferred_output": [{"role": "assistant", "content": wrong}],
            }
        )
    return rows


def answer(chat: Any, messages: list[dict[str, Any]], **options: Any) -> str:
    """The whole of a model's answer."""
    return "".join(chat.complete(messages, **options))


def right_answers(chat: Any, rows: Iterable[dict[str, Any]]) -> int:
    """How many rows the model answers exactly as they say."""
    return sum(answer(chat, row["messages"][:-1]) == row["messages"][-1]["content"] for row in rows)


def _ticket_of(row: dict[str, Any]) -> str:
    return str(row["messages"][1]["content"])
