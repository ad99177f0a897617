"""The trainer `hf` on a GPU beside TRL's own trainer: tokens a second, memory, loss, and what the service adds.

    python bench/gpu_hf.py            # a Llama of about a billion random weights, made on the spot; at most 8 minutes
    python bench/gpu_hf.py --tiny     # the same at a size that any CPU does in some minutes, to try the script

LoRA, LoRA with gradient checkpointing, LoRA on a base in 4 bits, and all weights: each side trains the same rows in the
same order at the same rates, in a process of its own, in turn. TRL's trainer runs once more with Liger's kernels, where
they are installed and there is a GPU. Then a mixture of experts is trained twice, which must give the same losses
(PyTorch's deterministic mode is on in ours), and whole processes are compared, from their start to the written model:
the service's worker with its journal, saves and checkpoints on the one side, TRL called directly on the other.

Nothing is downloaded. Where a side fails, for example for want of memory or time, a line says so, and the others go on.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from _figures import figure
from _hf_work import Took, Work, long_rows, ours, trl

from tuneway_service.folder import JobFolder
from tuneway_service.trainers import make_trainer
from tuneway_service.trainers.hf import quantised

sys.path.append(str(Path(__file__).parent.parent / "tests"))

BEGAN = time.monotonic()
SECONDS = 3600.0 if "--tiny" in sys.argv else 470.0
"""How long all of it may take."""


@dataclass(frozen=True)
class Size:
    """How large the work is: the model, and the rows."""

    model: dict[str, Any]
    rows: int
    length: int
    batch: int


SIZES = {
    "full": Size(
        {
            "hidden_size": 2048,
            "intermediate_size": 5632,
            "num_hidden_layers": 22,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
            "initializer_range": 0.02,
        },
        rows=512,
        length=1000,
        batch=32,
    ),
    "tiny": Size({"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}, rows=16, length=200, batch=8),
}
CASES: dict[str, dict[str, bool]] = {
    "LoRA": {"lora": True, "checkpointing": False},
    "LoRA with checkpointing": {"lora": True, "checkpointing": True},
    "LoRA on 4 bits": {"lora": True, "checkpointing": False, "four_bits": True},
    "all weights": {"lora": False, "checkpointing": False},
}


class Lost(Exception):
    """A side didn't come to its end; says why."""


def main(size: str) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, size)
        device = describe_device()
        parts: list[tuple[str, Callable[[], None]]] = [
            (case, partial(compare, case, folder, size, device)) for case in CASES
        ]
        parts += [
            ("a mixture of experts", partial(experts, folder, device)),
            ("whole processes", partial(whole_processes, folder, size, device)),
        ]
        for what, measure in parts:
            try:
                measure()
            except Lost as error:
                print(f"lost  {what}: {error}", flush=True)
    print(f"{time.monotonic() - BEGAN:.0f} s in all")


def prepare(folder: Path, size: str) -> None:
    """Llamas and a mixture of experts of random weights, and rows."""
    from support.tiny_llama import make_tiny_llama, make_tokenizer

    made = SIZES[size]
    make_tiny_llama(folder / "base", context_length=2048, **made.model)
    long_rows(made.rows, made.length, folder / "rows.jsonl")
    from transformers import MixtralConfig, MixtralForCausalLM

    tokenizer = make_tokenizer()
    config = MixtralConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, num_local_experts=4, max_position_embeddings=2048,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
    )  # fmt: skip
    MixtralForCausalLM(config).save_pretrained(folder / "experts")
    tokenizer.save_pretrained(folder / "experts")
    long_rows(8, 200, folder / "few.jsonl")


def compare(case: str, folder: Path, size: str, device: str) -> None:
    """Our steps beside TRL's, without and with Liger's kernels."""
    if CASES[case].get("four_bits") and not quantised.is_installed():
        raise Lost("bitsandbytes isn't installed")
    mine = run("ours", folder, size, case)[1]
    tell(f"{case}, {device}", "ours", mine)
    for who in ("trl", *(["liger"] if find_spec("liger_kernel") and device != "CPU" else [])):
        what = f"{case}, {device}, beside TRL's trainer{' with Liger kernels' if who == 'liger' else ''}"
        try:
            theirs = run(who, folder, size, case)[1]
        except Lost as error:
            print(f"lost  {what}: {error}", flush=True)
            continue
        tell(f"{case}, {device}", who, theirs)
        target = {"at_least": 0.95} if who == "trl" else {}
        figure(f"{what}: tokens a second of the steps", ours=mine.pace, peer=theirs.pace, unit="tokens/s", **target)
        figure(f"{what}: mean loss of the steps", ours=mine.loss, peer=theirs.loss, unit="", at_most=1.02)
        if theirs.peak:
            peaks = mine.peak / 2**30, theirs.peak / 2**30
            figure(f"{what}: GPU memory at the most", ours=peaks[0], peer=peaks[1], unit="GiB", at_most=1.05)


def tell(case: str, who: str, took: Took) -> None:
    """Everything about a side, in a line."""
    memory = f"{took.peak / 2**30:.1f} GiB of the GPU" if took.peak else "no GPU"
    print(f"      {case}: {who}: {took.pace:,.0f} tokens/s, {memory}, loss {took.loss:.4f}", flush=True)


def experts(folder: Path, device: str) -> None:
    """A mixture of experts, twice."""
    losses = [run("experts", folder, "few", "LoRA")[1].loss for _ in range(2)]
    same = float(losses[0] == losses[1])
    figure(
        f"a mixture of experts, {device}: the same losses in a second run", ours=same, peer=None, unit="", at_least=1
    )


def whole_processes(folder: Path, size: str, device: str) -> None:
    """The service's worker beside TRL called directly."""
    mine, theirs = through_service(folder, size), run("trl", folder, size, "LoRA")[0]
    figure(
        f"LoRA, {device}: whole process, the service's worker beside TRL called directly",
        ours=mine,
        peer=theirs,
        unit="s",
        at_most=1.05,
    )


def describe_device() -> str:
    """What it runs on."""
    import torch

    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else "CPU"


def left() -> float:
    """Seconds that are left."""
    return max(1.0, SECONDS - (time.monotonic() - BEGAN))


def run(who: str, folder: Path, *words: str) -> tuple[float, Took]:
    """One side in a process of its own: the seconds of the whole process, and what its steps took."""
    command = [sys.executable, "-W", "ignore", __file__, who, str(folder), *words]
    began = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, env=environment(), text=True, check=True, timeout=left())
    except subprocess.TimeoutExpired:
        raise Lost(f"{who}: no time was left") from None
    except subprocess.CalledProcessError as error:
        raise Lost(f"{who}: {(error.stderr.strip() or 'no word').splitlines()[-1][:300]}") from None
    return time.perf_counter() - began, Took(**json.loads(done.stdout.splitlines()[-1]))


def work_of(folder: Path, size: str, case: str) -> Work:
    """What is trained on what."""
    if size == "few":
        return Work(folder / "experts", folder / "few.jsonl", batch_size=4, n_epochs=1, lora=True)
    return Work(folder / "base", folder / "rows.jsonl", batch_size=SIZES[size].batch, n_epochs=1, **CASES[case])


def one(who: str, folder: Path, size: str, case: str) -> None:
    """The side that this process is."""
    work = work_of(folder, size, case)
    kept = folder / "tokens.json"
    if who in ("ours", "experts"):
        took, rows = ours(work)
        if who == "ours":
            kept.write_text(json.dumps(rows))
    else:
        took = trl(work, json.loads(kept.read_text()), save=folder / "theirs", liger=who == "liger")
    print(json.dumps(asdict(took)))


def through_service(folder: Path, size: str) -> float:
    """Seconds of the service's worker on a job folder with this work."""
    work = work_of(folder, size, "LoRA")
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
    worker = [sys.executable, "-m", "tuneway_service.worker", str(place)]
    try:
        subprocess.run(worker, env=environment(), check=True, timeout=left())
    except subprocess.SubprocessError as error:
        raise Lost(f"the service's worker: {error}") from None
    took = time.perf_counter() - began
    outcome = job.read("outcome")
    if outcome["outcome"] != "succeeded":
        raise Lost(f"the service's worker: {outcome['message']}")
    return took


def environment() -> dict[str, str]:
    """The same for both sides: no network, threads that wait asleep."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}


if __name__ == "__main__":
    if len(sys.argv) == 5:
        one(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4])
    else:
        main("tiny" if "--tiny" in sys.argv else "full")
