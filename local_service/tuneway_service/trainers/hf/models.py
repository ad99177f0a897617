"""Loading a model to tune or to ask, and writing it down: as an adapter to its base, or whole."""

from __future__ import annotations

import contextlib
import copy
import inspect
import json
import shutil
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from tuneway_service.folder import replace
from tuneway_service.trainers.hf.facts import ADAPTER, FACTS, read_facts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from tuneway_service.trainers.hf.base import Base

PROBE = 1 << 20
"""A file of this size tells whether a disk has room."""

logging.disable_progress_bar()
# PEFT asks Transformers by an older name: nothing that a user could do anything about
warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)


@dataclass
class Tuned:
    """A model under training or asked, and what belongs to it.

    Args:
        model: The model, with its adapter if it has one.
        tokenizer: Its tokenizer.
        device: Where it is.
        stops: The tokens that end an answer.
        on_base: Whether what was tuned is an adapter to the trainer's own base, which needn't be written.
    """

    model: Any
    tokenizer: Any
    device: torch.device
    stops: frozenset[int]
    on_base: bool

    @property
    def plain(self) -> Any:
        """The model beneath its adapter."""
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    @property
    def pad(self) -> int:
        """What fills short rows: no token ever sees it."""
        return int(self.tokenizer.pad_token_id or 0)

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """Half precision where the device is good at it; the weights that learn are in full precision."""
        if half(self.device):
            autocast: contextlib.AbstractContextManager[Any] = torch.autocast("cuda", dtype=torch.bfloat16)
            return autocast
        return contextlib.nullcontext()

    def logits(self, ids: torch.Tensor, kept: torch.Tensor | int, **options: Any) -> torch.Tensor:
        """The scores of the next token at these places (a number: so many at the end)."""
        with self.precision():
            if self._is_told_where:
                found: torch.Tensor = self.model(input_ids=ids, logits_to_keep=kept, **options).logits
                return found.float()
            every = self.model(input_ids=ids, **options).logits
            return (every[:, -kept:] if isinstance(kept, int) else every[:, kept]).float()

    @cached_property
    def _is_told_where(self) -> bool:
        """Whether the model can be told where its last layer, the largest by far, is needed."""
        return "logits_to_keep" in inspect.signature(self.plain.forward).parameters

    def learning(self) -> dict[str, torch.Tensor]:
        """The weights that are trained, by name."""
        return {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}


def best_device() -> torch.device:
    """A GPU, if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def half(device: torch.device) -> bool:
    """Whether the device works well in bfloat16."""
    return device.type == "cuda" and bool(torch.cuda.is_bf16_supported(including_emulation=False))


def load_to_tune(base: Base, start: Path | None, knobs: Mapping[str, Any], seed: int) -> Tuned:
    """The model to train: the base, or a tuned one, with a fresh adapter or the one that it has."""
    device = best_device()
    # frozen weights lose nothing by bfloat16; those that learn would
    kind = torch.bfloat16 if half(device) and knobs["lora"] else torch.float32
    model, on_base = _assembled(base, start, kind, device, rank=knobs["lora_r"] if knobs["lora"] else None)
    if not knobs["lora"]:
        model.requires_grad_(True)
        on_base = False
    elif not isinstance(model, PeftModel):
        torch.manual_seed(seed)
        rank = knobs["lora_r"]
        adapter = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, adapter)
        # by their last names, as people write them: the same file every time, and every program reads it
        found = model.peft_config["default"].target_modules
        model.peft_config["default"].target_modules = sorted({name.rpartition(".")[2] for name in found})
    return _whole(model, base, device, on_base=on_base)


def load_for_answers(base: Base, folder: Path | None) -> tuple[Tuned, int]:
    """A model to ask, and how many tokens it can look back on."""
    device = best_device()
    model, on_base = _assembled(base, folder, torch.bfloat16 if half(device) else torch.float32, device, rank=None)
    return _whole(model.eval(), base, device, on_base=on_base), base.context_length


def _assembled(
    base: Base, start: Path | None, kind: torch.dtype, device: torch.device, *, rank: int | None
) -> tuple[Any, bool]:
    """The model, and whether it is the base with nothing but an adapter.

    An adapter of this rank is kept to be trained on; any other becomes part of the weights.
    """
    if start is None or not (start / ADAPTER).exists():
        if start is not None:
            read_facts(start)
        return load_plain(start or base.folder(), kind, device), start is None
    read_facts(start)
    model = load_plain(base.folder(), kind, device)
    keep = PeftConfig.from_pretrained(str(start)).r == rank
    model = PeftModel.from_pretrained(model, str(start), is_trainable=keep)
    return (model, True) if keep else (model.merge_and_unload(), False)


def load_plain(folder: Path, kind: torch.dtype | str, device: torch.device | str = "cpu") -> Any:
    """A model as Transformers loads it."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=kind, local_files_only=True).to(device)


def load_tokenizer(base: Base) -> Any:
    """The base's tokenizer, which tuning doesn't change."""
    return AutoTokenizer.from_pretrained(base.folder(), local_files_only=True)


def _whole(model: Any, base: Base, device: torch.device, *, on_base: bool) -> Tuned:
    tokenizer = load_tokenizer(base)
    model.config.use_cache = False
    ends = model.generation_config.eos_token_id if model.generation_config else None
    stops = {*_as_list(ends), *_as_list(tokenizer.eos_token_id)}
    return Tuned(model, tokenizer, device, frozenset(stops), on_base)


def _as_list(value: int | Iterable[int] | None) -> list[int]:
    if value is None:
        return []
    return [value] if isinstance(value, int) else list(value)


@contextlib.contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """A folder to write into, which then stands in the place of `folder`: whole, or not at all.

    The libraries hide that a disk is full behind errors of their own: then the disk is asked, and its `OSError`
    is what is raised.
    """
    unfinished = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
    except (RuntimeError, SafetensorError):
        replace(unfinished / "probe", bytes(PROBE))
        raise
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def export(tuned: Tuned, folder: Path, facts: Mapping[str, Any]) -> None:
    """Write the model alone: its adapter if that is all that was tuned, or all of it. There whole or not at all."""
    with written_whole(folder) as unfinished:
        _write(tuned, unfinished)
        replace(unfinished / FACTS, json.dumps(facts, indent=1, sort_keys=True).encode())


def _write(tuned: Tuned, unfinished: Path) -> None:
    if isinstance(tuned.model, PeftModel) and not tuned.on_base:
        write_whole(merged(tuned.model), tuned.tokenizer, unfinished)
    elif isinstance(tuned.model, PeftModel):
        # "auto" would ask the network whether the vocabulary has grown
        tuned.model.save_pretrained(unfinished, save_embedding_layers=False)
        tuned.tokenizer.save_pretrained(unfinished)
        (unfinished / "README.md").unlink(missing_ok=True)
    else:
        write_whole(tuned.model, tuned.tokenizer, unfinished)


def merged(model: Any) -> Any:
    """The model with its adapter worked into its weights; a copy, since taking it out again would round."""
    return copy.deepcopy(model).merge_and_unload()


def write_whole(model: Any, tokenizer: Any, folder: Path) -> None:
    """A folder that Transformers and vLLM load."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
