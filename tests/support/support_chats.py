"""Support tickets and the queue that each belongs to, made up on the spot: data that a model can learn from.

A ticket is a sentence that decides, among greetings, closings and asides that don't.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SYSTEM = "You route support tickets. Answer with the name of one queue and nothing else."

QUEUES: dict[str, list[str]] = {
    "billing": [
        "I was charged twice for {month}",
        "The invoice for {month} shows the wrong amount",
        "My card was declined when paying",
        "Why did the price of my plan go up in {month}",
        "Please send me a receipt for {month}",
        "There is a payment on my statement that I don't recognise",
        "The discount code was not taken off the bill",
        "VAT is missing on the invoice",
    ],
    "refunds": [
        "I want my money back for order {number}",
        "Please refund order {number}",
        "When will the refund for {number} reach my bank",
        "I returned the {product} and got nothing back",
        "Can I get a reimbursement for the {product}",
        "The refund for the {product} was less than I paid",
        "Cancel order {number} and give the money back",
        "I sent the {product} back two weeks ago and am still waiting for my refund",
    ],
    "shipping": [
        "My parcel {number} has not arrived",
        "Where is my delivery of the {product}",
        "The tracking number {number} does not work",
        "The courier left the {product} at the wrong address",
        "Can you ship the {product} to another country",
        "The package {number} was lost in the post",
        "Delivery of order {number} is late",
        "I need to change the delivery address of {number}",
    ],
    "accounts": [
        "I can't log in since {day}",
        "Please reset my password",
        "My account is locked after {day}",
        "How do I change the e-mail address of my profile",
        "The two-factor code never comes",
        "Please delete my account",
        "Somebody else signed in to my profile on {day}",
        "I forgot my username",
    ],
    "bugs": [
        "The app crashes when I open {feature}",
        "{feature} shows an error since {day}",
        "The page with {feature} stays blank",
        "The button in {feature} does nothing",
        "{feature} freezes after the update",
        "I get error code {number} in {feature}",
        "The screen flickers when I scroll through {feature}",
        "{feature} is broken since the last version",
    ],
    "features": [
        "Could you add dark mode to {feature}",
        "It would be great to have an export in {feature}",
        "Please support {feature} on tablets",
        "I would love a shortcut for {feature}",
        "My suggestion: let us sort {feature} by date",
        "Do you plan an integration of {feature} with our calendar",
        "A wish for {feature}: more languages",
        "Can you make {feature} work offline some day",
    ],
    "sales": [
        "I'd like a quote for {count} seats",
        "Do you offer volume pricing for {count} users",
        "We are {count} people and want a demo",
        "Which plan fits a team of {count}",
        "Can we talk to somebody about an enterprise contract",
        "Is there a trial for {count} seats",
        "We consider buying licences for {count} people",
        "Do schools get a better price for {count} licences",
    ],
    "complaints": [
        "Your agent was rude to me on {day}",
        "I waited {count} minutes on the phone",
        "Nobody answers my messages since {day}",
        "I am very unhappy with your service",
        "This is the worst support that I ever had",
        "I want to speak to a manager",
        "I have been promised a call back on {day} and nothing happened",
        "Your staff keeps ignoring me",
    ],
}
_OPENINGS = ["Hi,", "Hello,", "Good morning,", "Dear team,", "Hey there,", "Hi support,", "Hello again,", "", ""]
_ASIDES = [
    "I bought it in {month}.",
    "My order number is {number}.",
    "I already wrote to you on {day}.",
    "I use the {product} every day.",
    "My colleague {name} told me to write here.",
    "We use {feature} a lot.",
    "",
    "",
]
_CLOSINGS = [
    "Thanks!",
    "Please help.",
    "Can you look into it?",
    "Kind regards, {name}",
    "{name}",
    "It is urgent.",
    "I have been a customer for {count} years.",
    "Sent from my phone",
    "",
]
_WORDS = {
    "month": ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October"],
    "day": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "yesterday", "last week", "the weekend"],
    "product": ["blue lamp", "desk chair", "headphones", "kettle", "bike helmet", "camera bag", "garden hose"],
    "feature": ["the report", "the search", "the dashboard", "settings", "the inbox", "checkout", "the map"],
    "name": ["Ana", "Bilal", "Chen", "Dora", "Emil", "Fatima", "Goran", "Hana", "Ivo", "Jana", "Kofi", "Lena"],
}


def chats(count: int, *, seed: int, apart_from: Iterable[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    """Training rows: system, ticket, queue. No two tickets are the same, none is among `apart_from`."""
    choose = random.Random(seed)
    seen = {_ticket_of(row) for row in apart_from}
    rows: list[dict[str, Any]] = []
    while len(rows) < count:
        ticket, queue = _ticket(choose)
        if ticket not in seen:
            seen.add(ticket)
            rows.append({"messages": [_says("system", SYSTEM), _says("user", ticket), _says("assistant", queue)]})
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
                "non_preferred_output": [_says("assistant", wrong)],
            }
        )
    return rows


def write_jsonl(path: Path, rows: Iterable[Any]) -> Path:
    """The rows as a file; the path again."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def answer(chat: Any, messages: list[dict[str, Any]], **options: Any) -> str:
    """The whole of a model's answer."""
    return "".join(chat.complete(messages, **options))


def right_answers(chat: Any, rows: Iterable[dict[str, Any]]) -> int:
    """How many rows the model answers exactly as they say."""
    return sum(answer(chat, row["messages"][:-1]) == row["messages"][-1]["content"] for row in rows)


def _ticket(choose: random.Random) -> tuple[str, str]:
    queue = choose.choice(list(QUEUES))
    middle = [choose.choice(QUEUES[queue]) + ".", choose.choice(_ASIDES)]
    if choose.random() < 0.3:
        middle.reverse()
    parts = [choose.choice(_OPENINGS), *middle, choose.choice(_CLOSINGS)]
    words = {slot: choose.choice(options) for slot, options in _WORDS.items()}
    text = " ".join(part for part in parts if part)
    return text.format(**words, number=choose.randrange(10_000, 99_999), count=choose.randrange(2, 400)), queue


def _ticket_of(row: dict[str, Any]) -> str:
    return str(row["messages"][1]["content"])


def _says(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
