"""What it brings to train one job with two processes of one thread, beside one process of two threads.

Both train SmolLM2-135M-Instruct by LoRA on the same rows with the service's trainer, on this machine's CPU, in turn.
The two processes each compute half of a step and add their gradients up by gloo.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _figures import figure
from _hf_work import DATA, Work

from tuneway_service import parentage
from tuneway_service.trainers import TrainingRun, join_gang, make_trainer
from tuneway_service.trainers.ranks import Ranks

ROUNDS = 3
ROWS = 32
TORCHRUN = (
    *("-m", "tuneway_service.trainers.hf.launch", "--nproc-per-node=2", "--max-restarts=0"),
    *("--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"),
)


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = folder / "rows.jsonl"
        rows.write_text("".join(DATA.read_text(encoding="utf-8").splitlines(keepends=True)[:ROWS]), encoding="utf-8")
        rounds = [(seconds(folder, count=2), seconds(folder, count=1)) for _ in range(ROUNDS)]
    figure(
        f"SmolLM2, LoRA, {ROWS} rows: seconds of all steps, two processes of one thread beside one of two threads",
        ours=statistics.median(two for two, _ in rounds),
        peer=statistics.median(one for _, one in rounds),
        unit="s",
        at_most=1.1,
    )


def seconds(folder: Path, *, count: int) -> float:
    """How long the steps took, with so many processes; both use two threads together."""
    parentage.be_parent()
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(2 // count),
        "OMP_WAIT_POLICY": "PASSIVE",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    command = [sys.executable, *(TORCHRUN if count > 1 else ()), __file__, "train", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def train(folder: Path) -> None:
    """Train as one of the processes; the first prints how long the steps took."""
    from tuneway_service.trainers.hf import smol

    ranks = join_gang() if "RANK" in os.environ else Ranks()
    work = Work(smol.folder(), folder / "rows.jsonl", batch_size=8, n_epochs=1, lora=True)
    trainer = make_trainer(str(work.base))
    knobs = work.settled(trainer)
    training = trainer.start(
        TrainingRun(method="supervised", train_path=work.rows, hyperparameters=knobs, seed=1, ranks=ranks)
    )
    ranks.any(False)  # all are ready
    began = time.perf_counter()
    for _ in training.advance():
        pass
    if ranks.first:
        print(json.dumps(time.perf_counter() - began), flush=True)
    # as a process of a gang ends: the libraries' farewells would wait for others
    os._exit(0)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        train(Path(sys.argv[2]))
    else:
        main()
