"""The trainer `hf` on a GPU beside TRL's own trainer: tokens a second, memory, and what the service adds.

    python bench/gpu_hf.py            # a Llama of about a billion random weights, made on the spot
    python bench/gpu_hf.py --tiny     # the same at a size that any CPU does in a minute, to try the script

Nothing is downloaded. Each side runs in a process of its own, in turn. The last figure compares whole
processes, from their start to the written model: the service's worker with its journal, saves and checkpoints
on the one side, TRL called directly on the other.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _figures import figure
from _hf_work import DATA, Took, Work, ours, repeated, trl

from tuneway_service.folder import JobFolder
from tuneway_service.trainers import make_trainer

sys.path.append(str(Path(__file__).parent.parent / "tests"))

ROUNDS = 3
SIZES: dict[str, dict[str, Any]] = {
    "full": {
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 22,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "initializer_range": 0.02,
    },
    "tiny": {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4},
}
TIMES = {"full": 10, "tiny": 1}
BATCH = {"full": 32, "tiny": 8}


def main(size: str) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_base(folder / "base", size)
        repeated(DATA, TIMES[size], folder / "rows.jsonl")
        for lora in (True, False):
            what = f"{'LoRA' if lora else 'all weights'}, {describe_device()}"
            words = (size, str(lora))
            rounds = [(run("ours", folder, *words)[1], run("trl", folder, *words)[1]) for _ in range(ROUNDS)]
            figure(
                f"{what}: tokens a second of the steps, beside TRL's trainer, median of {ROUNDS}",
                ours=statistics.median(mine.pace for mine, _ in rounds),
                peer=statistics.median(theirs.pace for _, theirs in rounds),
                unit="tokens/s",
                at_least=0.95,
            )
            peaks = [max(took.peak for took in side) / 2**30 for side in zip(*rounds, strict=True)]
            if peaks[1]:
                figure(f"{what}: GPU memory at the most", ours=peaks[0], peer=peaks[1], unit="GiB", at_most=1.05)
            else:
                figure(f"{what}: GPU memory, there is no GPU", ours=0.0, peer=None, unit="GiB")
            service = [(through_service(folder, *words), run("trl", folder, *words)[0]) for _ in range(ROUNDS)]
            figure(
                f"{what}: whole process, the service's worker beside TRL called directly",
                ours=statistics.median(mine for mine, _ in service),
                peer=statistics.median(theirs for _, theirs in service),
                unit="s",
                at_most=1.05,
            )


def make_base(folder: Path, size: str) -> None:
    """A Llama of random weights."""
    from support.tiny_llama import make_tiny_llama

    make_tiny_llama(folder, context_length=2048, **SIZES[size])


def describe_device() -> str:
    """What it runs on."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def run(who: str, folder: Path, *words: str) -> tuple[float, Took]:
    """One side in a process of its own: the seconds of the whole process, and what its steps took."""
    command = [sys.executable, "-W", "ignore", __file__, who, str(folder), *words]
    began = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment(), text=True, check=True)
    return time.perf_counter() - began, Took(**json.loads(done.stdout.splitlines()[-1]))


def one(who: str, folder: Path, size: str, lora: str) -> None:
    """The side that this process is."""
    work = Work(folder / "base", folder / "rows.jsonl", batch_size=BATCH[size], n_epochs=1, lora=lora == "True")
    kept = folder / "tokens.json"
    if who == "ours":
        took, rows = ours(work)
        kept.write_text(json.dumps(rows))
    else:
        took = trl(work, json.loads(kept.read_text()), save=folder / "theirs")
    print(json.dumps(asdict(took)))


def through_service(folder: Path, size: str, lora: str) -> float:
    """Seconds of the service's worker on a job folder with this work."""
    work = Work(folder / "base", folder / "rows.jsonl", batch_size=BATCH[size], n_epochs=1, lora=lora == "True")
    place = folder / "job"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    job = JobFolder(place)
    shutil.copy(work.rows, job.training)
    trainer = make_trainer(str(work.base))
    order = {
        "job_id": "ftjob-bench", "attempt": 1, "trainer": trainer.name, "method": "supervised",
        "hyperparameters": work.settled(trainer), "seed": 1, "model_name": "ft:bench", "integrations": [],
        "wandb_dir": str(place),
    }  # fmt: skip
    job.write("job", order)
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "tuneway_service.worker", str(place)], env=environment(), check=True)
    took = time.perf_counter() - began
    outcome = job.read("outcome")
    assert outcome["outcome"] == "succeeded", outcome
    return took


def environment() -> dict[str, str]:
    """The same for both sides: no network, threads that wait asleep."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}


if __name__ == "__main__":
    if len(sys.argv) == 5:
        one(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4])
    else:
        main("tiny" if "--tiny" in sys.argv else "full")
