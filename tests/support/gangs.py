"""Jobs of a tiny language model by their folders, trained by one process or by a gang."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.datasets import write
from support.service import until
from support.support_chats import preferences

from tuneway_service import gang, journal
from tuneway_service.folder import JobFolder

# answers of many lengths: the processes get different shares
ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"{number} {word}"},
            {"role": "assistant", "content": " ".join([answer] * (1 + number % 5))},
        ]
    }
    for number in range(9)
    for word, answer in (("red", "stop"), ("green", "go"))
]
QUESTIONS = [{"messages": row["messages"][:1], "answer": "an answer with letters"} for row in ROWS[:6]]
DATA = {"supervised": (ROWS, ROWS[:3]), "dpo": (preferences(12, seed=1),) * 2, "reinforcement": (QUESTIONS,) * 2}
GRADER = {"type": "string_check", "name": "letter", "input": "{{sample.output_text}}", "reference": "e",
          "operation": "like"}  # fmt: skip
KNOBS: dict[str, Any] = {
    "n_epochs": 2,
    "batch_size": 5,
    "learning_rate_multiplier": 5.0,
    "lora": True,
    "lora_r": 16,
    "context_length": 512,
}
MORE: dict[str, dict[str, Any]] = {
    "supervised": {},
    "dpo": {"beta": 0.5},
    "reinforcement": {
        "compute_multiplier": 0.5,
        "eval_interval": 2,
        "eval_samples": 2,
        "reasoning_effort": "low",
        "max_grader_failures": 0.5,
    },
}


def order(
    place: Path, base: Path, *, method: str = "supervised", count: int = 1, rows: Any = None, **knobs: Any
) -> JobFolder:
    """A job's folder, for so many processes."""
    place.mkdir(parents=True)
    job = JobFolder(place)
    train, valid = DATA[method]
    write(job.training, rows or train)
    write(job.validation, valid)
    content = {
        "job_id": place.name,
        "trainer": str(base),
        "method": method,
        "hyperparameters": KNOBS | MORE[method] | knobs,
        "seed": 3,
        "model_name": "ft:test",
        "integrations": [],
    }
    if method == "reinforcement":
        content |= {"grader": GRADER, "python_graders": False, "grader_url": None}
    return ordered(job, content, count)


def ordered(job: JobFolder, content: Mapping[str, Any], count: int) -> JobFolder:
    """Order the next attempt, with so many processes."""
    job.clear_stop()
    job.write("job", {**content, "attempt": (job.attempt() or 0) + 1, "devices": [f"cpu:{n}" for n in range(count)]})
    return job


def again(job: JobFolder, count: int) -> JobFolder:
    """Order another attempt at the same job."""
    return ordered(job, job.read("job"), count)


def copy(job: JobFolder, place: Path) -> JobFolder:
    """The same job, as far as it is, in another place."""
    shutil.copytree(job.path, place)
    return JobFolder(place)


def launch(job: JobFolder, **variables: str) -> subprocess.Popen[bytes]:
    """Start its worker, as an executor does."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", **variables}
    with job.log.open("ab") as log:
        return subprocess.Popen(gang.command(job, job.read("job")), stdout=log, stderr=log, env=environment)


def run(job: JobFolder, **variables: str) -> dict[str, Any]:
    """Train it; the outcome."""
    process = launch(job, **variables)
    status = process.wait(timeout=240)
    assert status == 0, job.log.read_text()
    return dict(job.read("outcome"))


def stopped(job: JobFolder) -> JobFolder:
    """Train its first step."""
    job.ask_to_stop()
    outcome = run(job)
    assert (outcome["outcome"], outcome["step"]) == ("stopped", 1)
    return job


def metrics(job: JobFolder) -> dict[int, dict[str, float]]:
    """What each step told."""
    return {
        record["step"]: record["metrics"] for record in journal.read_all(job.journal) if record["kind"] == "metrics"
    }


def messages(job: JobFolder) -> list[str]:
    """What it told besides."""
    return [record["message"] for record in journal.read_all(job.journal) if record["kind"] == "message"]


def weights(job: JobFolder) -> dict[str, Any]:
    """The weights that it has made."""
    from safetensors.torch import load_file

    (file,) = job.model.glob("*.safetensors")
    return dict(load_file(file))


def processes(job: JobFolder) -> dict[str, int]:
    """The living processes of its gang: `gang`, `launch`, `0`, `1` and so on."""
    return dict(_processes(str(job.path)))


def _processes(place: str) -> Iterator[tuple[str, int]]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            environment = (entry / "environ").read_bytes().split(b"\0") if "tuneway_service.rank" in words else []
        except OSError:
            continue
        if place not in words or state == "Z":
            continue
        ranks = [word.removeprefix(b"RANK=").decode() for word in environment if word.startswith(b"RANK=")]
        yield (ranks[0] if ranks else words[2].rpartition(".")[2]), int(entry.name)


def at_work(job: JobFolder, steps: int = 1) -> dict[str, int]:
    """Wait until it has trained some steps; its processes."""
    until(lambda: len(metrics(job)) >= steps, seconds=120)
    return processes(job)


def sabotage(folder: Path, code: str) -> dict[str, str]:
    """Variables for a gang whose processes run this code at their start."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}


WAITS = """
import os, time
if os.environ.get("RANK") == "1":
    from tuneway_service.trainers import hf
    start = hf.HfTrainer.start
    def slow(self, run):
        training = start(self, run)
        learn = training._learn
        def waiting():
            if training._step == {step} - 1:
                time.sleep(60)
            learn()
        training._learn = waiting
        return training
    hf.HfTrainer.start = slow
"""


def slowed(folder: Path, *, step: int) -> dict[str, str]:
    """Variables for a gang whose second process waits a minute before this step, where it can be met."""
    return sabotage(folder, WAITS.format(step=step))


def same(one: JobFolder, other: JobFolder, within: float = 0.0) -> None:
    """Check that two jobs made the same weights and told the same."""
    mine, yours = weights(one), weights(other)
    assert mine.keys() == yours.keys()
    assert max(float((mine[name] - yours[name]).abs().max()) for name in mine) <= within
    told, retold = metrics(one), metrics(other)
    assert told.keys() == retold.keys()
    if within:
        # before the first update, whether a pair is ahead of the reference is a matter of rounding
        for first in (told, retold):
            first[1].pop("train_reward_accuracy", None)
    for step, numbers in told.items():
        assert retold[step] == pytest.approx(numbers, abs=within, rel=within)
