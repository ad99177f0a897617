"""What the trainer `bytes` costs and learns: support tickets to queue names, held-out tickets as the judge.

The peer for what is learned is a look-up in the same rows: the answer of the training ticket that shares most
words. Costs are CPU seconds of a fresh process, imports included.
"""

from __future__ import annotations

import re
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _figures import figure

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from support.datasets import write
from support.support_chats import chats, right_answers

from tuneway_service.trainers import make_trainer

SEEDS = range(5)
ASKED = 50
PROGRAM = """
import sys
from pathlib import Path
from tuneway_service.trainers import CheckpointDue, TrainingRun, make_trainer

rows, out, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
trainer = make_trainer("bytes")
knobs = trainer.resolve("supervised", {"n_epochs": 3}, count)
run = TrainingRun(method="supervised", train_path=rows, hyperparameters=knobs, seed=int(sys.argv[4]))
training = trainer.start(run)
for item in training.advance():
    if isinstance(item, CheckpointDue):
        training.save(out / "state")
        training.export(out / "model")
"""


def main() -> None:
    """Print the figures."""
    for count, right_at_least in ((200, 41), (1000, 50)):
        costs, ours, peers, sizes = [], [], [], []
        for seed in SEEDS:
            rows = chats(count, seed=100 + seed)
            asked = chats(ASKED, seed=200 + seed, apart_from=rows)
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                costs.append(train(folder, rows, seed))
                ours.append(right_answers(make_trainer("bytes").load_model(folder / "model"), asked))
                sizes.append(sum(path.stat().st_size for path in (folder / "model").iterdir()))
            peers.append(right_answers(LookUp(rows), asked))
        what = f"{count} examples x 3 epochs"
        figure(
            f"{what}: CPU seconds, the median of {len(SEEDS)} seeds",
            ours=statistics.median(costs),
            peer=None,
            unit="s",
            at_most=2,
        )
        figure(
            f"{what}: held-out answers right out of {ASKED}, the worst of {len(SEEDS)} seeds",
            ours=min(ours),
            peer=None,
            unit="answers",
            at_least=right_at_least,
        )
        figure(
            f"{what}: the same beside a look-up of the nearest ticket, all seeds",
            ours=sum(ours),
            peer=sum(peers),
            unit="answers",
            at_least=1,
        )
        figure(f"{what}: a checkpoint", ours=max(sizes) / 1e6, peer=None, unit="MB", at_most=3)


def train(folder: Path, rows: list[dict[str, Any]], seed: int) -> float:
    """Train in a process of its own, with a save and an export for each epoch; its CPU seconds."""
    path = write(folder / "rows.jsonl", rows)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", PROGRAM, str(path), str(folder), str(len(rows)), str(seed)], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class LookUp:
    """Answers as the training ticket does that shares the largest part of its words."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.known = [(words(row["messages"][1]["content"]), row["messages"][2]["content"]) for row in rows]

    def complete(self, messages: list[dict[str, Any]]) -> str:
        """The nearest ticket's answer."""
        asked = words(messages[-1]["content"])
        return str(max(self.known, key=lambda item: len(asked & item[0]) / len(asked | item[0]))[1])


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


if __name__ == "__main__":
    main()
