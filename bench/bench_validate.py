"""Checking training data: how fast beside the `together` package's file checker, and how much memory it takes.

Both check the same file in turns in one process, and the best of each counts. Ours does more: it hashes the
file in a second thread, holds every row to its format, looks for twins, and counts tokens. CPU seconds are those of all
threads and processes, since what else a machine does is no part of them. Speeds, in which the second thread counts for
nothing, are only measured where nothing else keeps the processors busy.

What exact token counts add to the check stands beside the bare tokenizer, which gets the same texts. At rows of 2 kB
that tokenizer alone takes about twice as long as `check_file`, which counts nothing, so no check with counts can be as
fast as that. Texts that many rows begin with, as system prompts do, are counted once by ours.

Memory is the peak of a fresh process per size. On the command line, two processes check a large file. They share its
lines, so two free processors need at most 1 / 1.7 of the time of one if both processes together take at most 2 / 1.7 of
the CPU time of one.
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
from typing import NamedTuple

from _figures import figure
from together.lib.utils.files import check_file

from tuneway.dataset import validate

MB = 10**6
ROUNDS = 15
COMMANDS = 3
SEED = 7
ENCODING = "o200k_base"
BATCH = 4000
IDLE = 0.5
"""The most processes that may wait for a processor beside the bench, for its times to count."""
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


class Taken(NamedTuple):
    """What something took: seconds, and the CPU seconds of all its threads or processes."""

    wall: float
    cpu: float


ENDLESS = Taken(float("inf"), float("inf"))


def side_by_side(ways: dict[str, Callable[[], object]]) -> dict[str, Taken]:
    """The best times of each way, taken in turns, so that noise hits all alike."""
    best = dict.fromkeys(ways, ENDLESS)
    for _ in range(ROUNDS):
        for name, run in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            now = Taken(time.perf_counter() - wall, time.process_time() - cpu)
            best[name] = Taken(*map(min, best[name], now))
    return best


def is_idle() -> bool:
    """Whether nothing else keeps the processors busy. Says so if something does."""
    idle = os.getloadavg()[0] < IDLE
    if not idle:
        print("left out: times that aren't CPU time, since this machine is busy with something else")
    return idle


def checked(path: Path, tokenizer: str) -> None:
    """Check a file with ours."""
    report = validate(path, tokenizer=tokenizer)
    assert report.ok, report.counts


def checked_by_peer(path: Path) -> None:
    """Check a file with the peer."""
    assert check_file(path)["is_check_passed"]


def speed(path: Path, what: str) -> None:
    """Check a file with both."""
    idle = is_idle()
    best = side_by_side({"ours": lambda: checked(path, "estimate"), "peer": lambda: checked_by_peer(path)})
    size = path.stat().st_size / MB
    title = f"validate {size:.0f} MB of {what}, beside together's check_file"
    ours, peer = best["ours"], best["peer"]
    if idle:
        figure(title, ours=size / ours.wall, peer=size / peer.wall, unit="MB/s", at_least=1.5)
    figure(f"{title}, which hashes nothing", ours=ours.cpu, peer=peer.cpu, unit="CPU s", at_most=1.25)


def exact(path: Path, what: str) -> None:
    """Check a file with exact token counts, beside the bare tokenizer, and beside the peer, which counts none."""
    from splintr import Tokenizer

    tokenizer = Tokenizer.from_pretrained(ENCODING)
    rows = [json.loads(line)["messages"] for line in path.read_bytes().splitlines()]
    batches = [
        [one["content"] for row in rows[start : start + BATCH] for one in row] for start in range(0, len(rows), BATCH)
    ]

    def tokenised() -> None:
        for batch in batches:
            tokenizer.encode_batch_flat(batch)

    best = side_by_side(
        {
            "exact": lambda: checked(path, ENCODING),
            "estimate": lambda: checked(path, "estimate"),
            "bare": tokenised,
            "peer": lambda: checked_by_peer(path),
        }
    )
    title = f"validate {path.stat().st_size / MB:.0f} MB of {what}"
    figure(
        f"{title}: what exact token counts add to the check, beside the bare tokenizer",
        ours=best["exact"].cpu - best["estimate"].cpu,
        peer=best["bare"].cpu,
        unit="CPU s",
        at_most=1.25,
    )
    figure(
        f"{title} with exact token counts, beside together's check_file, which counts none",
        ours=best["exact"].cpu,
        peer=best["peer"].cpu,
        unit="CPU s",
    )


def taken(path: Path, processors: set[int], processes: int) -> Taken:
    """How long the command line takes to check a file on some processors."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)  # which the command inherits
    try:
        start, before = time.perf_counter(), os.times()
        command = [sys.executable, "-m", "tuneway.cli", "validate", str(path), "--processes", str(processes)]
        subprocess.run(command, check=True, capture_output=True)
        wall, after = time.perf_counter() - start, os.times()
    finally:
        os.sched_setaffinity(0, allowed)
    own = after.children_user - before.children_user
    return Taken(wall, own + after.children_system - before.children_system)


def command_line(path: Path, what: str) -> None:
    """Measure the command line on one file: with two processes, with one process, and on one processor."""
    idle = is_idle()
    two = set(sorted(os.sched_getaffinity(0))[:2])
    ways = {"two processes": (two, 2), "one process": (two, 1), "one processor": ({min(two)}, 2)}
    best = dict.fromkeys(ways, ENDLESS)
    for _ in range(COMMANDS):
        for name, (processors, processes) in ways.items():
            now = taken(path, processors, processes)
            best[name] = Taken(*map(min, best[name], now))
    size = path.stat().st_size / MB
    title = f"tuneway validate, {size:.0f} MB of {what} with token counts"
    both, one = best["two processes"], best["one process"]
    figure(f"{title}: two processes, beside one process", ours=both.cpu, peer=one.cpu, unit="CPU s", at_most=2 / 1.7)
    if not idle:
        return
    for name, least in (("one processor", 1.7), ("one process", None)):
        figure(
            f"{title}: two processes, beside {name}",
            ours=size / both.wall,
            peer=size / best[name].wall,
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
        speed(chat, "chats of about 2 kB")
        short = make(here / "short.jsonl", 100 * MB, turns=1, words=20)
        speed(short, "chats of about 300 bytes")
        try:
            for path, what in ((chat, "chats of about 2 kB"), (short, "chats of about 300 bytes")):
                exact(path, what)
        except (ImportError, ValueError) as error:
            print(f"left out: {error}")
        command_line(make(here / "many.jsonl", 500 * MB, turns=1, words=20), "chats of about 300 bytes")
        command_line(make(here / "large.jsonl", 1000 * MB, turns=4, words=80), "chats of about 2 kB")
        small = peak(make(here / "small.jsonl", 10 * MB, turns=4, words=80))
        for size, path in ((100, chat), (1000, here / "large.jsonl")):
            figure(f"peak memory for {size} MB, beside 10 MB", ours=peak(path), peer=small, unit="MiB", at_most=1.3)


if __name__ == "__main__":
    main()
