"""Checking training data: how fast beside the `together` package's file checker, and how much memory it takes.

Both check the same file in turns in one process, and the best of each counts. Ours does more: it hashes the
file, holds every row to its format, looks for twins, and counts tokens. Memory is the peak of a fresh process
per size. On the command line, two processes check a large file; beside them, the same command on one processor.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from _figures import figure
from together.lib.utils.files import check_file

from tuneway.dataset import validate

MB = 10**6
ROUNDS = 15
COMMANDS = 3
SEED = 7
TEXT = """
the of and a to in is you that it for on are as with his they at be this from have or by one had not but what all were
when we there can an your which their said if do will each about how up out them then she many some so these would other
into has more her two like him see time could no make than first been its who now people my made over did down only way
find use may water long little very after words called just where most know order invoice delivery customer account
password reset subscription refund printer network update version settings
"""

WORDS = TEXT.split()

PEAK = """
import sys
from tuneway.dataset import validate
report = validate(sys.argv[1], tokenizer="estimate")
assert report.ok, report.counts
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) * 1024)
"""


def sentences(random_: random.Random, words: int) -> str:
    """Some text: sentences of plain words, and paragraphs."""
    parts = []
    while words > 0:
        length = min(words, random_.randint(6, 18))
        parts.append(
            " ".join(random_.choices(WORDS, k=length)).capitalize() + random_.choice([". ", ". ", ".\n\n", "? "])
        )
        words -= length
    return "".join(parts).strip()


def chats(random_: random.Random, *, turns: int, words: int) -> Iterator[bytes]:
    """Lines of chats without end: a system prompt, then turns of a question and a longer answer."""
    prompts = [sentences(random_, words) for _ in range(8)]
    for number in range(sys.maxsize):
        messages = [{"role": "system", "content": random_.choice(prompts)}]
        for _ in range(random_.randint(1, turns)):
            question = f"{number}: {sentences(random_, random_.randint(5, words // 2))}"
            messages.append({"role": "user", "content": question})
            messages.append({"role": "assistant", "content": sentences(random_, random_.randint(5, 2 * words))})
        yield json.dumps({"messages": messages}).encode() + b"\n"


def make(path: Path, size: int, *, turns: int, words: int) -> Path:
    """A file of chats of about a size. Beyond 100 MB its rows are those of before, numbered anew."""
    written = 0
    block: list[bytes] = []
    with path.open("wb") as file:
        for line in chats(random.Random(SEED), turns=turns, words=words):
            block.append(line)
            written += file.write(line)
            if written >= min(size, 100 * MB):
                break
        copy = 0
        while written < size:
            copy += 1
            for line in block:
                written += file.write(line.replace(b'"content": "', b'"content": "%d ' % copy, 1))
                if written >= size:
                    break
    return path


def side_by_side(path: Path, ours: Callable[[], object], peer: Callable[[], object]) -> tuple[float, float]:
    """The best speed of each in MB/s, taken in turns, so that noise hits both alike."""
    best = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        for place, run in enumerate((ours, peer)):
            start = time.perf_counter()
            run()
            best[place] = min(best[place], time.perf_counter() - start)
    size = path.stat().st_size / MB
    return size / best[0], size / best[1]


def speed(path: Path, what: str, *, tokenizer: str = "estimate", at_least: float | None = None) -> None:
    """Check a file with both."""

    def ours() -> None:
        report = validate(path, tokenizer=tokenizer)
        assert report.ok, report.counts

    def peer() -> None:
        assert check_file(path)["is_check_passed"]

    mine, theirs = side_by_side(path, ours, peer)
    size = f"{path.stat().st_size / MB:.0f} MB"
    figure(
        f"validate {size} of {what}, beside together's check_file",
        ours=mine,
        peer=theirs,
        unit="MB/s",
        at_least=at_least,
    )


def seconds(path: Path, processors: set[int], processes: int) -> float:
    """How long the command line takes to check a file on some processors."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)  # which the command inherits
    try:
        start = time.perf_counter()
        command = [sys.executable, "-m", "tuneway.cli", "validate", str(path), "--processes", str(processes)]
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - start
    finally:
        os.sched_setaffinity(0, allowed)


def command_line(path: Path, what: str) -> None:
    """Measure the command line on one file: with two processes, with one process, and on one processor."""
    two = set(sorted(os.sched_getaffinity(0))[:2])
    ways = {"two processes": (two, 2), "one process": (two, 1), "one processor": ({min(two)}, 2)}
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(COMMANDS):
        for name, (processors, processes) in ways.items():
            best[name] = min(best[name], seconds(path, processors, processes))
    size = path.stat().st_size / MB
    for name, least in (("one processor", 1.7), ("one process", None)):
        figure(
            f"tuneway validate, {size:.0f} MB of {what} with token counts: two processes, beside {name}",
            ours=size / best["two processes"],
            peer=size / best[name],
            unit="MB/s",
            at_least=least,
        )


def peak(path: Path) -> float:
    """The most memory that a process took to check a file, in MiB."""
    command = [sys.executable, "-c", PEAK, str(path)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 2**20


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory(prefix="tuneway-bench-") as folder:
        here = Path(folder)
        chat = make(here / "chat.jsonl", 100 * MB, turns=4, words=80)
        speed(chat, "chats of about 2 kB", at_least=1.5)
        short = make(here / "short.jsonl", 100 * MB, turns=1, words=20)
        speed(short, "chats of about 300 bytes", at_least=1.5)
        try:
            for path, what in ((chat, "chats of about 2 kB"), (short, "chats of about 300 bytes")):
                speed(path, f"{what} with exact token counts", tokenizer="o200k_base", at_least=1.0)
        except ValueError as error:
            print(f"left out: {error}")
        command_line(make(here / "many.jsonl", 500 * MB, turns=1, words=20), "chats of about 300 bytes")
        command_line(make(here / "large.jsonl", 1000 * MB, turns=4, words=80), "chats of about 2 kB")
        small = peak(make(here / "small.jsonl", 10 * MB, turns=4, words=80))
        for size, path in ((100, chat), (1000, here / "large.jsonl")):
            figure(f"peak memory for {size} MB, beside 10 MB", ours=peak(path), peer=small, unit="MiB", at_most=1.3)


if __name__ == "__main__":
    main()
