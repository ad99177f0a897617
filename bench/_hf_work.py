"""The same work for our trainer and for TRL's: rows, hyperparameters, and each one's own loop over them."""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from tuneway_service.trainers import Step, TrainingRun, make_trainer
from tuneway_service.trainers.hf.hyperparameters import base_rate, rate_at

DATA = Path(__file__).parent.parent / "examples" / "data" / "support_train.jsonl"


@dataclass(frozen=True)
class Work:
    """What is trained on what."""

    base: Path
    rows: Path
    batch_size: int
    n_epochs: int
    lora: bool
    four_bits: bool = False
    checkpointing: bool | None = None

    def settled(self, trainer: Any) -> dict[str, Any]:
        """The hyperparameters, all of them."""
        count = sum(1 for _ in self.rows.open("rb"))
        asked: dict[str, Any] = {"batch_size": self.batch_size, "n_epochs": self.n_epochs, "lora": self.lora}
        if self.four_bits:
            asked["quantization"] = "4bit"
        if self.checkpointing is not None:
            asked["gradient_checkpointing"] = self.checkpointing
        settled: dict[str, Any] = trainer.resolve("supervised", asked, count)
        return settled


@dataclass(frozen=True)
class Took:
    """What the steps cost: seconds, all tokens that were read, bytes of the GPU at the most; and their mean loss."""

    seconds: float
    cpu_seconds: float
    tokens: int
    peak: int
    loss: float

    @property
    def pace(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds


def long_rows(count: int, length: int, to: Path) -> Path:
    """Rows with answers of so many characters, each another one."""
    words = " ".join(json.loads(line)["messages"][0]["content"] for line in DATA.open(encoding="utf-8")).split()
    rng = random.Random(0)
    with to.open("w", encoding="utf-8") as file:
        for number in range(count):
            said = " ".join(rng.choices(words, k=length))[:length]
            row = [{"role": "user", "content": f"Ticket {number}"}, {"role": "assistant", "content": said}]
            file.write(json.dumps({"messages": row}) + "\n")
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
    losses = [item.metrics["train_loss"] for item in training.advance() if isinstance(item, Step)]
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    took = time.perf_counter() - began, time.process_time() - cpu
    return Took(*took, sum(len(row["input_ids"]) for row in rows), _peak(), statistics.fmean(losses)), rows


def trl(work: Work, rows: list[dict[str, Any]], save: Path | None = None, *, liger: bool = False) -> Took:
    """TRL's own trainer on the same rows, in the same order, at the same rates."""
    import torch
    from datasets import Dataset
    from torch.optim.lr_scheduler import LambdaLR
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    trainer: Any = make_trainer(str(work.base))
    cuda = torch.cuda.is_available()

    class AtTheSameRates(SFTTrainer):  # type: ignore[misc]  # the library has no types here
        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            rates = LambdaLR(optimizer or self.optimizer, lambda step: rate_at(step, num_training_steps))
            self.lr_scheduler = rates
            return rates

    config = SFTConfig(
        output_dir=str(work.rows.parent / "trl"),
        per_device_train_batch_size=work.batch_size,
        num_train_epochs=1,  # the rows come in the order of all epochs
        learning_rate=base_rate("supervised", trainer.base, lora=work.lora),
        weight_decay=0.0,
        max_length=None,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        train_sampling_strategy="sequential",
        use_cpu=not cuda,
        bf16=cuda,
        gradient_checkpointing=bool(work.checkpointing),
        gradient_checkpointing_kwargs={"use_reentrant": False} if work.checkpointing else None,
        use_liger_kernel=liger,
    )
    made = AtTheSameRates(
        model=_peer_s_model(work),
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(work.base),
    )
    _reset()
    began, cpu = time.perf_counter(), time.process_time()
    loss = made.train().training_loss
    if cuda:
        torch.cuda.synchronize()
    took = time.perf_counter() - began, time.process_time() - cpu
    if save:
        made.save_model(str(save))
    return Took(*took, sum(len(row["input_ids"]) for row in rows), _peak(), loss)


def _peer_s_model(work: Work) -> Any:
    """The base as our trainer loads it, with a new adapter."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    cuda = torch.cuda.is_available()
    kind = torch.bfloat16 if cuda and work.lora else torch.float32
    rounded: dict[str, Any] = {}
    if work.four_bits:
        how = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=kind
        )
        rounded = {"quantization_config": how, "device_map": {"": "cuda" if cuda else "cpu"}}
    model = AutoModelForCausalLM.from_pretrained(work.base, dtype=kind, **rounded)
    if not work.lora:
        return model
    adapter = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(model, adapter)


def _reset() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak() -> int:
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
