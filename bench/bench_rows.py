"""Preparing the rows of a job, beside the bare tokenizer: each conversation rendered once and tokenised once.

Ours is the whole of it: it reads and hashes the file, makes tokens and labels, checks them, and writes the files that
every process and every resume reads. Both sides run in this process, in turn, on one processor; CPU seconds count. The
bare tokenizer takes one conversation after another, as TRL's trainers do; a second figure has it take many at once. The
model is SmolLM2-135M-Instruct. The memory is that of a process of its own which goes over all rows once.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _figures import figure

from tuneway_service.trainers.hf import ENVIRONMENT, smol
from tuneway_service.trainers.hf.base import find_base
from tuneway_service.trainers.hf.models import load_tokenizer
from tuneway_service.trainers.hf.preparing import BATCH, Preparer
from tuneway_service.trainers.hf.reading import RowReading
from tuneway_service.trainers.hf.tokens import Encoder

ROUNDS = 5
ROOT = Path(__file__).parent.parent
WORDS = [word for page in sorted((ROOT / "docs").rglob("*.md")) for word in page.read_text(encoding="utf-8").split()]
KINDS = {"supervised of 20 turns": (20, 400), "supervised of 1 turn": (1, 6_000), "dpo of 20 turns": (20, 200)}
IN_MEMORY = 4_000

Messages = list[dict[str, str]]


def main() -> None:
    """Print the figures."""
    os.environ |= ENVIRONMENT
    tokenizer = load_tokenizer(find_base("smol"))
    encoder = Encoder(tokenizer, [tokenizer.eos_token_id], smol.CONTEXT_LENGTH)
    with tempfile.TemporaryDirectory() as name:
        for kind, (turns, count) in KINDS.items():
            conversations = [conversation(random.Random(number), turns) for number in range(count)]
            beside_the_tokenizer(kind, encoder, conversations, Path(name))
    memory()


def conversation(rng: random.Random, turns: int) -> Messages:
    """Questions and answers in turn, each of some dozen words."""

    def said(role: str) -> dict[str, str]:
        return {"role": role, "content": " ".join(rng.choices(WORDS, k=rng.randint(5, 55)))}

    return [said("system"), *(said(role) for _ in range(turns) for role in ("user", "assistant"))]


def row_of(method: str, messages: Messages) -> dict[str, Any]:
    """The row of a conversation. The other answer of a pair is the preferred one, reversed."""
    if method == "supervised":
        return {"messages": messages}
    *asked, answer = messages
    other = {"role": "assistant", "content": answer["content"][::-1]}
    return {"input": {"messages": asked}, "preferred_output": [answer], "non_preferred_output": [other]}


def beside_the_tokenizer(kind: str, encoder: Encoder, conversations: list[Messages], folder: Path) -> None:
    """Both sides in turn."""
    method = kind.split(maxsplit=1)[0]
    rows = [row_of(method, messages) for messages in conversations]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    texts = conversations
    if method == "dpo":
        texts = [[*row["input"]["messages"], *row[name]] for row in rows for name in
                 ("preferred_output", "non_preferred_output")]  # fmt: skip
    ours, bare, many, again = [], [], [], []
    for number in range(ROUNDS):
        preparer = Preparer(encoder, folder / f"prepared-{number}", processes=1)
        bare.append(cpu_seconds(lambda: tokenised(encoder.tokenizer, texts, at_once=1)))
        many.append(cpu_seconds(lambda: tokenised(encoder.tokenizer, texts, at_once=BATCH)))
        ours.append(cpu_seconds(lambda maker=preparer: maker.prepared(path, RowReading(method))))
        again.append(cpu_seconds(lambda maker=preparer: maker.prepared(path, RowReading(method))))
    what = f"{len(rows):,} conversations, {kind}"
    figure(
        f"preparing {what}: conversations a CPU second, beside the bare tokenizer, median of {ROUNDS}",
        ours=len(rows) / statistics.median(ours),
        peer=len(rows) / statistics.median(bare),
        unit="1/CPU s",
        at_least=0.9,
    )
    figure(
        f"the same, {kind}, beside the tokenizer with {BATCH} conversations at once",
        ours=len(rows) / statistics.median(ours),
        peer=len(rows) / statistics.median(many),
        unit="1/CPU s",
    )
    figure(
        f"reading them again at a resume, {what}, beside the bare tokenizer",
        ours=statistics.median(again),
        peer=statistics.median(bare),
        unit="CPU s",
        at_most=0.1,
    )


def tokenised(tokenizer: Any, conversations: list[Messages], *, at_once: int) -> None:
    """What anyone has to do for conversations."""
    for start in range(0, len(conversations), at_once):
        texts = tokenizer.apply_chat_template(conversations[start : start + at_once], tokenize=False)
        tokenizer(texts, add_special_tokens=False)


def cpu_seconds(work: Any) -> float:
    """The CPU seconds of this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


def memory() -> None:
    """What rows of 20 turns cost the process that trains, beside the same examples in lists."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "rows.jsonl"
        with path.open("w", encoding="utf-8") as file:
            for number in range(IN_MEMORY):
                messages = conversation(random.Random(number), 20)
                file.write(json.dumps({"messages": messages}) + "\n")
        _, mapped, listed = (held(side, Path(name)) for side in ("prepared", "mapped", "listed"))
    figure(
        f"memory of {IN_MEMORY:,} prepared conversations of 20 turns, beside the same in lists",
        ours=mapped / 2**20,
        peer=listed / 2**20,
        unit="MiB",
        at_most=0.2,
    )


def held(side: str, folder: Path) -> int:
    """The bytes of memory of its own that a process takes for these rows."""
    command = [sys.executable, "-W", "ignore", __file__, side, str(folder)]
    return int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.split()[-1])


def hold(side: str, folder: Path) -> None:
    """The process that holds them; prints the bytes that it took more."""
    os.environ |= ENVIRONMENT
    tokenizer = load_tokenizer(find_base("smol"))
    encoder = Encoder(tokenizer, [tokenizer.eos_token_id], smol.CONTEXT_LENGTH)
    preparer = Preparer(encoder, folder / "prepared", processes=1)
    encoder.segments.whole(" ".join(WORDS[:1000]))  # whatever the first time takes
    before = own_memory()
    prepared = preparer.prepared(folder / "rows.jsonl", RowReading("supervised"))
    kept = [
        prepared.examples(row) for row in range(len(prepared)) if side == "listed" or prepared.examples(row) is None
    ]
    print(own_memory() - before, file=sys.stdout)
    assert len(kept) in (0, len(prepared))


def own_memory() -> int:
    """The memory that belongs to this process alone; mapped files, which the system can drop, aren't in it."""
    words = Path("/proc/self/status").read_text().split()
    return int(words[words.index("RssAnon:") + 1]) * 1024


if __name__ == "__main__":
    if len(sys.argv) == 3:
        hold(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
