"""The same work for our trainer and for TRL's: rows, hyperparameters, and each one's own loop over them."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from tuneway_service.trainers import TrainingRun, make_trainer
from tuneway_service.trainers.hf.hyperparameters import base_rate

DATA = Path(__file__).parent.parent / "examples" / "data" / "support_train.jsonl"


@dataclass(frozen=True)
class Work:
    """What is trained on what."""

    base: Path
    rows: Path
    batch_size: int
    n_epochs: int
    lora: bool

    def settled(self, trainer: Any) -> dict[str, Any]:
        """The hyperparameters, all of them."""
        count = sum(1 for _ in self.rows.open("rb"))
        asked = {"batch_size": self.batch_size, "n_epochs": self.n_epochs, "lora": self.lora}
        settled: dict[str, Any] = trainer.resolve("supervised", asked, count)
        return settled


@dataclass(frozen=True)
class Took:
    """What it cost: seconds of the steps alone, all tokens that were read, bytes of the GPU at the most."""

    seconds: float
    cpu_seconds: float
    tokens: int
    peak: int

    @property
    def pace(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds


def repeated(rows: Path, times: int, to: Path) -> Path:
    """The rows several times over, each a little different: enough work to measure."""
    lines = rows.read_text(encoding="utf-8").splitlines()
    with to.open("w", encoding="utf-8") as file:
        for number in range(times):
            for line in lines:
                row = json.loads(line)
                row["messages"][1]["content"] += f" ({number})"
                file.write(json.dumps(row) + "\n")
    return to


def ours(work: Work) -> tuple[Took, list[dict[str, Any]]]:
    """Our loop; also gives the rows as tokens and labels, in the order in which it took them."""
    import torch

    trainer = make_trainer(str(work.base))
    knobs = work.settled(trainer)
    training: Any = trainer.start(TrainingRun(method="supervised", train_path=work.rows, hyperparameters=knobs, seed=1))
    lessons = training._objective.train  # noqa: SLF001 - a bench looks inside, to give the peer the same
    rows = [
        {"input_ids": list(example.ids), "labels": list(example.labels)}
        for epoch in range(work.n_epochs)
        for row in training._shuffled(epoch)  # noqa: SLF001
        for example in lessons[row]
    ]
    _reset()
    began, cpu = time.perf_counter(), time.process_time()
    for _ in training.advance():
        pass
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    took = time.perf_counter() - began, time.process_time() - cpu
    return Took(*took, sum(len(row["input_ids"]) for row in rows), _peak()), rows


def trl(work: Work, rows: list[dict[str, Any]], save: Path | None = None) -> Took:
    """TRL's own trainer on the same rows, in the same order."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    trainer: Any = make_trainer(str(work.base))
    cuda = torch.cuda.is_available()
    kind = torch.bfloat16 if cuda and work.lora else torch.float32
    model = AutoModelForCausalLM.from_pretrained(work.base, dtype=kind)
    if work.lora:
        adapter = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, adapter)
    config = SFTConfig(
        output_dir=str(work.rows.parent / "trl"),
        per_device_train_batch_size=work.batch_size,
        num_train_epochs=1,  # the rows come in the order of all epochs
        learning_rate=base_rate("supervised", trainer.base, lora=work.lora),
        lr_scheduler_type="linear",
        warmup_steps=0,
        weight_decay=0.0,
        max_length=None,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        train_sampling_strategy="sequential",
        use_cpu=not cuda,
        bf16=cuda,
        gradient_checkpointing=False,
    )
    made = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(work.base),
    )
    _reset()
    began, cpu = time.perf_counter(), time.process_time()
    made.train()
    if cuda:
        torch.cuda.synchronize()
    took = time.perf_counter() - began, time.process_time() - cpu
    if save:
        made.save_model(str(save))
    return Took(*took, sum(len(row["input_ids"]) for row in rows), _peak())


def _reset() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak() -> int:
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
