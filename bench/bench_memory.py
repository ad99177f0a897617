"""The memory of a training with gradient checkpointing beside the same training without, and both beside the estimate.

SmolLM2-135M-Instruct learns by LoRA from rows of 2,048 tokens, on this machine's CPU, each in a process of its own.
Measured is what the process holds at the most beyond what it held before its first step.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from _figures import figure

from tuneway_service.trainers import TrainingRun, make_trainer
from tuneway_service.trainers.base import Remark

LENGTH = 2048
ROWS = 2
ALLOCATION = "65536"
"""glibc gives larger pieces of memory back when they are free, so that they don't count twice."""


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        rows = Path(name, "rows.jsonl")
        row = {"messages": [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "one " * LENGTH}]}
        rows.write_text("".join(json.dumps(row) + "\n" for _ in range(ROWS)), encoding="utf-8")
        (without, estimate), (with_it, estimate_with) = (run(rows, checkpointing=on) for on in (False, True))
    what = f"SmolLM2, LoRA, a row of {LENGTH:,} tokens: memory of a step"
    figure(f"{what} with gradient checkpointing, beside without", ours=with_it, peer=without, unit="GiB", at_most=0.7)
    figure(f"{what}, as estimated, beside measured", ours=estimate, peer=without, unit="GiB", at_most=1.3)
    name = f"{what} with gradient checkpointing, as estimated, beside measured"
    figure(name, ours=estimate_with, peer=with_it, unit="GiB", at_most=1.5)


def run(rows: Path, *, checkpointing: bool) -> tuple[float, float]:
    """GiB that the steps took, and what the estimate says of them."""
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "MALLOC_MMAP_THRESHOLD_": ALLOCATION,
    }
    command = [sys.executable, "-W", "ignore", __file__, str(rows), json.dumps(checkpointing)]
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, text=True, check=True)
    taken, estimated = json.loads(done.stdout.splitlines()[-1])
    return taken, estimated


def train(rows: Path, checkpointing: bool) -> None:  # noqa: FBT001 - from the command line
    """Train, and print both."""
    from tuneway_service.trainers.hf import smol

    trainer = make_trainer(str(smol.folder()))
    asked = {"batch_size": 1, "n_epochs": 1, "context_length": LENGTH, "gradient_checkpointing": checkpointing}
    told: list[Remark] = []
    training = trainer.start(
        TrainingRun(
            method="supervised",
            train_path=rows,
            hyperparameters=trainer.resolve("supervised", asked, ROWS),
            tell=told.append,
        )
    )
    before, most, steps = resident(), 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not steps.is_set():
            most = max(most, resident())
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in training.advance():
        pass
    steps.set()
    watcher.join()
    print(json.dumps([(most - before) / 2**30, estimated(told)]), flush=True)


def estimated(told: list[Remark]) -> float:
    """The GiB of a step, from the event about it: its tokens, the gradients and the optimiser."""
    found = [re.search(rf"([\d.,]+) (GiB|MiB) for {what}", told[0].text) for what in ("gradients", "[0-9]")]
    return sum(float(one[1].replace(",", "")) / (1 if one[2] == "GiB" else 1024) for one in found if one)


def resident() -> int:
    """The bytes that this process holds."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        train(Path(sys.argv[1]), json.loads(sys.argv[2]))
    else:
        main()
