"""Make the example data: support tickets, each with the queue that it belongs to.

    python examples/data/make_support_data.py

writes `support_train.jsonl` (200 examples) and `support_valid.jsonl` (40) beside this file, the same ones each
time. A ticket's queue follows from its words, so a small model can learn it; greetings, names, products and
closings vary, so it has to find out which words matter. No ticket is in both files; but every problem is among
those to learn from, three or four times, so that what is asked later can be known.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

HERE = Path(__file__).parent
SEED = 20_261_120
SIZES = {"support_train.jsonl": 200, "support_valid.jsonl": 40}

SYSTEM = "You route support tickets. Answer with the name of one queue and nothing else."

PROBLEMS = {
    "billing": [
        "I was charged twice for {month}.",
        "The invoice for {month} shows the wrong amount.",
        "My credit card was declined although the {product} subscription is active.",
        "Could you send me a receipt with our VAT number on it?",
        "Why did the price on my invoice go up in {month}?",
        "There is a charge on my statement that I don't recognise.",
        "I need to change the payment method from card to bank transfer.",
    ],
    "refunds": [
        "I would like my money back for the {product}.",
        "When will the refund for order {number} arrive?",
        "I returned the {product} two weeks ago and have not been refunded.",
        "Please refund order {number}, it was a mistake.",
        "The refund for the {product} was less than I paid for it.",
        "Can I be refunded if I send the {product} back unopened?",
        "You promised a refund in {month}, and nothing has happened.",
    ],
    "shipping": [
        "My parcel {number} has been stuck in customs since {month}.",
        "The tracking page for order {number} has not moved for a week.",
        "The courier delivered the {product} to the wrong address.",
        "Where is my package? It should have been delivered on Monday.",
        "Can you ship the {product} to Norway?",
        "The {product} was dispatched in {month} and never delivered.",
        "I need a new delivery date for parcel {number}.",
    ],
    "account_access": [
        "I can't log in since I changed my phone.",
        "The password reset e-mail never reaches me.",
        "My account is locked after too many attempts to log in.",
        "The login code for user {number} is always rejected as expired.",
        "I forgot the password of my {product} account.",
        "Two-factor authentication asks for a device that I no longer own.",
        "Somebody else seems to have logged in to my account in {month}.",
    ],
    "bug_report": [
        "The app crashes whenever I open the settings.",
        "Since the update in {month} the screen of the {product} freezes.",
        "I get error {number} when I press save.",
        "The export button does nothing in the latest version.",
        "Dark mode crashes the {product} app on my tablet.",
        "Search shows an error page with the code {number}.",
        "The app freezes for a minute after each start.",
    ],
    "cancellation": [
        "Please cancel my {product} subscription at the end of {month}.",
        "How do I cancel my plan? I can't find it anywhere.",
        "I want to cancel before the trial ends.",
        "We are closing our office, so please terminate contract {number}.",
        "Cancel the renewal of membership {number}, please.",
        "I no longer need the {product}, please end my subscription.",
        "Confirm in writing that my membership was cancelled in {month}.",
    ],
    "product_question": [
        "Does the {product} work with a Mac?",
        "Is the {product} compatible with the older model?",
        "What is the difference between the {product} and the pro edition?",
        "How many users does the team edition of the {product} support?",
        "Is there a manual for the {product} in Spanish?",
        "Does the {product} work without an internet connection?",
        "Which colours is the {product} available in?",
    ],
    "feedback": [
        "I just want to say that your team was wonderful in {month}.",
        "Here is an idea: the {product} should have a timeline view.",
        "I love the new design of the {product}, keep it up.",
        "My suggestion is to add keyboard shortcuts to the {product}.",
        "I was disappointed by how rude the answer to ticket {number} was.",
        "Great service, thank you, five stars from me.",
        "It would be a great idea to offer the {product} in green.",
    ],
}

GREETINGS = [
    "Hi,", "Hello,", "Hi there,", "Good morning,", "Dear support team,", "Hey,", "Good evening,",
    "To whom it may concern,", "",
]  # fmt: skip
ASIDES = [
    "I have been a customer for {years} years.",
    "This is the second time I write to you.",
    "I am on the {plan} plan.",
    "My colleague {name} told me to write here.",
    "I am writing from {city}.",
    "My reference is {number}.",
    "Your chat window was closed, hence this message.",
    "",
]
CLOSINGS = [
    "Thanks, {name}", "Kind regards, {name}", "Best, {name}", "Please help. {name}", "Cheers, {name}", "{name}",
    "Looking forward to your answer, {name}", "",
]  # fmt: skip
WORDS = {
    "product": [
        "desk lamp", "Orbit tracker", "photo editor", "espresso machine", "Lumen headset", "backup service",
        "standing desk", "Pixel notebook", "budget planner", "smart scale",
    ],
    "month": [
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    ],
    "name": [
        "Amara", "Jonas", "Priya", "Mateo", "Ingrid", "Kofi", "Yuki", "Leila", "Tomasz", "Chloé", "Nia", "Ravi",
    ],
    "city": ["Lisbon", "Nairobi", "Leeds", "Osaka", "Kraków", "Toronto", "Lagos", "Quito"],
    "plan": ["free", "team", "family", "starter", "business"],
    "years": ["two", "three", "four", "five", "nine"],
}  # fmt: skip


def ticket(random_: random.Random, problem: str) -> str:
    """Make up a ticket about a problem."""
    words = {name: random_.choice(choices) for name, choices in WORDS.items()}
    words["number"] = str(random_.randint(10_000, 99_999))
    parts = [random_.choice(GREETINGS), problem, random_.choice(ASIDES)]
    if random_.random() < 0.25:  # the aside first
        parts[1], parts[2] = parts[2], parts[1]
    text = " ".join(part for part in parts if part)
    closing = random_.choice(CLOSINGS)
    return (f"{text}\n{closing}" if closing else text).format_map(words)


def examples(random_: random.Random) -> Iterator[dict[str, object]]:
    """Examples without end: all queues in turn, each with all of its problems in turn; no ticket twice."""
    seen: set[str] = set()
    problems = {queue: cycle(random_.sample(known, len(known))) for queue, known in PROBLEMS.items()}
    for queue in cycle(PROBLEMS):
        problem = next(problems[queue])
        while (text := ticket(random_, problem)) in seen:
            pass
        seen.add(text)
        messages = [("system", SYSTEM), ("user", text), ("assistant", queue)]
        yield {"messages": [{"role": role, "content": content} for role, content in messages]}


def main(folder: Path = HERE) -> None:
    """Write both files."""
    random_ = random.Random(SEED)
    made = examples(random_)
    for name, size in SIZES.items():
        rows = [next(made) for _ in range(size)]
        random_.shuffle(rows)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
