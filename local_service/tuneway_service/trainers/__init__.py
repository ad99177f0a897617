"""The trainers by name; each is imported only when it is used."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tuneway.errors import InvalidSpec, MissingExtra
from tuneway_service.trainers.base import (
    Chat,
    CheckpointDue,
    Progress,
    Remark,
    Reply,
    Step,
    Trainer,
    TrainingRun,
    TrainingSession,
)
from tuneway_service.trainers.hf import smol

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuneway_service.trainers.ranks import Ranks

__all__ = [
    "TRAINERS",
    "Chat",
    "CheckpointDue",
    "Progress",
    "Remark",
    "Reply",
    "Step",
    "Trainer",
    "TrainingRun",
    "TrainingSession",
    "found_here",
    "join_gang",
    "make_trainer",
]


def _bytes() -> Trainer:
    from tuneway_service.trainers.bytewise import BytesTrainer

    return BytesTrainer()


TRAINERS: dict[str, Callable[[], Trainer]] = {"bytes": _bytes}
HF = "hf:"


def make_trainer(name: str) -> Trainer:
    """The trainer of that name, ready to use.

    Names are `bytes`, `smol` (or `smollm2-135m-instruct`), and the folder of a Transformers model, with or without
    `hf:` before it. The trainer's attribute `name` is the full name, which finds the same trainer again.
    """
    if name in TRAINERS:
        return TRAINERS[name]()
    if name.startswith(HF) or name in smol.NAMES or Path(name).expanduser().is_dir():
        from tuneway_service.trainers.hf import HfTrainer

        return HfTrainer(name.removeprefix(HF))
    raise InvalidSpec(
        f"there is no trainer {name!r}",
        field="trainer",
        hint=f"Choose one of: {', '.join(TRAINERS)}, smol, or the folder of a Transformers model.",
    )


def found_here() -> dict[str, str]:
    """The base models that are served without an option, because they are installed, each with its trainer."""
    found = {name: name for name in TRAINERS}
    with suppress(MissingExtra):
        found[smol.NAME] = make_trainer(smol.NAME).name
    return found


def join_gang() -> Ranks:
    """Join the other processes of the gang that torchrun has started this one for."""
    from tuneway_service.trainers.hf import join_gang

    return join_gang()
