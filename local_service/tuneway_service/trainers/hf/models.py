"""Load a model for training or for answers, and write it: as an adapter of its base, or all weights."""

from __future__ import annotations

import contextlib
import copy
import inspect
import json
import shutil
import tempfile
import warnings
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import (
    LoraConfig,
    PeftConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from tuneway_service.folder import replace
from tuneway_service.trainers.hf import quantised
from tuneway_service.trainers.hf.facts import ADAPTER, FACTS, read_facts
from tuneway_service.trainers.hf.room import Room
from tuneway_service.trainers.ranks import Ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from tuneway_service.trainers.hf.base import Base

PROBE = 1 << 20
"""The size of a file that is written to find out whether the disk is full."""

logging.disable_progress_bar()


@dataclass
class Tuned:
    """A loaded model, and what belongs to it.

    Args:
        model: The model, with its adapter if it has one.
        tokenizer: Its tokenizer.
        device: The device that it is on.
        stops: The tokens that end an answer.
        on_base: Whether only an adapter of the trainer's base model is tuned, so that the base needn't be written.
        full: Loads the model in full precision, without its adapter, if it is in 4 bits.
        ranks: The processes that have the same model, and train it together.
        room: How much is computed at once.
    """

    model: Any
    tokenizer: Any
    device: torch.device
    stops: frozenset[int]
    on_base: bool
    full: Callable[[], Any] | None = None
    ranks: Ranks = field(default_factory=Ranks)
    room: Room = field(init=False)

    def __post_init__(self) -> None:
        self.room = Room(self.model)

    @property
    def plain(self) -> Any:
        """The model without its adapter."""
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    @property
    def pad(self) -> int:
        """The token that fills short rows; no other token attends to it."""
        return int(self.tokenizer.pad_token_id or 0)

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """Half precision on devices that support it well; the trained weights are in full precision."""
        if half(self.device):
            autocast: contextlib.AbstractContextManager[Any] = torch.autocast("cuda", dtype=torch.bfloat16)
            return autocast
        return contextlib.nullcontext()

    def logits(self, ids: torch.Tensor, kept: torch.Tensor | int, cache: Any = None) -> torch.Tensor:
        """The logits at these positions; an integer means the last ones. A cache has what came before `ids`."""
        options = {"use_cache": False} if cache is None else {"use_cache": True, self._cache_name: cache}
        with self.precision():
            if self._takes_positions:
                found: torch.Tensor = self.model(input_ids=ids, logits_to_keep=kept, **options).logits
                return found.float()
            every = self.model(input_ids=ids, **options).logits
            return (every[:, -kept:] if isinstance(kept, int) else every[:, kept]).float()

    @cached_property
    def _takes_positions(self) -> bool:
        """Whether the model can compute its last layer, by far the largest, only at given positions."""
        return "logits_to_keep" in inspect.signature(self.plain.forward).parameters

    @cached_property
    def _cache_name(self) -> str:
        """The name of the model's parameter for the cache; Transformers 5.24 renamed it."""
        return "cache" if "cache" in inspect.signature(self.plain.forward).parameters else "past_key_values"

    def learning(self) -> dict[str, torch.Tensor]:
        """The trained weights by name."""
        return {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}


def best_device() -> torch.device:
    """A GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def half(device: torch.device) -> bool:
    """Whether the device supports bfloat16 well."""
    return device.type == "cuda" and bool(torch.cuda.is_bf16_supported(including_emulation=False))


@contextlib.contextmanager
def peft_s_own_warnings_ignored() -> Iterator[None]:
    """PEFT uses a deprecated name of Transformers; users can't do anything about that."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def load_to_tune(base: Base, start: Path | None, settings: Mapping[str, Any], seed: int) -> Tuned:
    """The model to train: the base or a tuned model, with a new adapter or its own."""
    device = best_device()
    # bfloat16 is enough for frozen weights, but not for trained ones
    kind = torch.bfloat16 if half(device) and settings["lora"] else torch.float32
    rank = settings["lora_r"] if settings["lora"] else None
    rounded = quantised.is_asked(settings)
    load = partial(quantised.load if rounded else load_plain, kind=kind, device=device)
    model, on_base = _assembled(base, start, load, rank=rank, rounded=rounded)
    if not settings["lora"]:
        model.requires_grad_(True)
        on_base = False
    elif not isinstance(model, PeftModel):
        torch.manual_seed(seed)
        model = with_adapter(model, settings["lora_r"])
    return _whole(model, base, device, on_base=on_base, full=partial(_in_full, base, start, rank) if rounded else None)


def with_adapter(model: Any, rank: int) -> PeftModel:
    """The model with a new adapter of random weights."""
    adapter = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    with peft_s_own_warnings_ignored():
        made = get_peft_model(model, adapter)
    # by the last parts of their names, sorted: the file is the same every time, and other programs can read it
    config: Any = made.peft_config["default"]
    config.target_modules = sorted({name.rpartition(".")[2] for name in config.target_modules})
    return made


def load_for_answers(base: Base, folder: Path | None) -> tuple[Tuned, int]:
    """A model for answers, and the length of its context."""
    device = best_device()
    load = partial(load_plain, kind=torch.bfloat16 if half(device) else torch.float32, device=device)
    model, on_base = _assembled(base, folder, load, rank=None)
    return _whole(model.eval(), base, device, on_base=on_base), base.context_length


def _assembled(
    base: Base, start: Path | None, load: Callable[[Path], Any], *, rank: int | None, rounded: bool = False
) -> tuple[Any, bool]:
    """The model, and whether it is the base model with at most an adapter.

    An adapter of this rank is kept and trained further; any other is merged into the weights. Where `load` rounds
    weights, it is merged before.
    """
    if start is None or not (start / ADAPTER).exists():
        if start is not None:
            read_facts(start)
        return load(start or base.folder()), start is None
    read_facts(start)
    keep = PeftConfig.from_pretrained(str(start)).r == rank
    if not keep and rounded:
        with tempfile.TemporaryDirectory(prefix="tuneway-merged-") as name:
            _in_full(base, start, rank).save_pretrained(name)
            return load(Path(name)), False
    model = load(base.folder())
    with peft_s_own_warnings_ignored():
        model = PeftModel.from_pretrained(model, str(start), is_trainable=keep)
    return (model, True) if keep else (model.merge_and_unload(), False)


def _in_full(base: Base, start: Path | None, rank: int | None) -> Any:
    """The model in full precision, without the adapter that is trained further."""
    if start is not None and (start / ADAPTER).exists() and PeftConfig.from_pretrained(str(start)).r == rank:
        start = None
    return _assembled(base, start, partial(load_plain, kind=torch.float32), rank=None)[0]


def load_plain(folder: Path, kind: torch.dtype | str, device: torch.device | str = "cpu") -> Any:
    """A model, loaded by Transformers."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=kind, local_files_only=True).to(device)


def load_tokenizer(base: Base) -> Any:
    """The tokenizer of the base model; tuning doesn't change it."""
    return AutoTokenizer.from_pretrained(base.folder(), local_files_only=True)


def _whole(
    model: Any, base: Base, device: torch.device, *, on_base: bool, full: Callable[[], Any] | None = None
) -> Tuned:
    tokenizer = load_tokenizer(base)
    model.config.use_cache = False
    ends = model.generation_config.eos_token_id if model.generation_config else None
    stops = {*_as_list(ends), *_as_list(tokenizer.eos_token_id)}
    return Tuned(model, tokenizer, device, frozenset(stops), on_base, full)


def _as_list(value: int | Iterable[int] | None) -> list[int]:
    if value is None:
        return []
    return [value] if isinstance(value, int) else list(value)


@contextlib.contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """A folder to write into, which replaces `folder` at the end, completely or not at all.

    When the disk is full, the libraries raise errors of their own. Then this writes a file itself, which raises the
    disk's `OSError`.
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
    """Write the model only: its adapter if nothing else was tuned, or all weights. The write is atomic."""
    with written_whole(folder) as unfinished:
        _write(tuned, unfinished)
        replace(unfinished / FACTS, json.dumps(facts, indent=1, sort_keys=True).encode())


def _write(tuned: Tuned, unfinished: Path) -> None:
    if isinstance(tuned.model, PeftModel) and not tuned.on_base:
        write_whole(merged(tuned), tuned.tokenizer, unfinished)
    elif isinstance(tuned.model, PeftModel):
        # the default, "auto", would use the network to find out whether the vocabulary has grown
        tuned.model.save_pretrained(unfinished, save_embedding_layers=False)
        tuned.tokenizer.save_pretrained(unfinished)
        (unfinished / "README.md").unlink(missing_ok=True)
    else:
        write_whole(tuned.model, tuned.tokenizer, unfinished)


def merged(tuned: Tuned) -> Any:
    """A copy of the model with its adapter merged; unmerging the model itself would lose precision."""
    if tuned.full is None:
        return copy.deepcopy(tuned.model).merge_and_unload()
    whole = with_adapter(tuned.full(), tuned.model.peft_config["default"].r)
    set_peft_model_state_dict(whole, get_peft_model_state_dict(tuned.model, save_embedding_layers=False))
    return whole.merge_and_unload().to(torch.bfloat16 if half(tuned.device) else torch.float32)


def write_whole(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write all weights and the tokenizer as a folder that Transformers and vLLM load."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
