"""How much memory a training needs, what of it is computed at once, and what to change where it doesn't fit."""

from __future__ import annotations

import json
import traceback
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tuneway_service.trainers.base import Remark
from tuneway_service.trainers.hf import quantised
from tuneway_service.trainers.hf.hyperparameters import ANSWER_TOKENS, group_size
from tuneway_service.trainers.hf.room import AT_ONCE, ENOUGH
from tuneway_service.trainers.hf.structure import Structure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

GIB = 1 << 30
MARGIN = 0.1
"""The share of the free memory that is left: an estimate isn't exact, and other programs may need some too."""
MOMENTS = 2
"""The optimiser keeps two numbers for each weight that is trained."""
SHORT = 64
"""Every training must have room for a row of so many tokens; shorter rows are proposed in steps of it."""


class DoesNotFit(MemoryError):
    """A training needs more memory than is free, as estimated before its first step."""


@dataclass(frozen=True)
class LargestRows:
    """The largest of what a training computes as a whole: a row, or the two answers of a pair.

    Args:
        count: How many sequences it has.
        length: The tokens of each.
        batch: How many of them a step learns from.
        learned: The tokens that are learned from each; None for all of them.
    """

    count: int
    length: int
    batch: int = 1
    learned: int | None = None

    @property
    def tokens(self) -> int:
        """Its tokens."""
        return self.count * self.length

    @property
    def kept(self) -> int:
        """At how many places the largest layer, the last one, is computed."""
        return self.length if self.learned is None else min(self.length, self.count * self.learned)

    def shortened(self, length: int) -> LargestRows:
        """The same, cut off."""
        return replace(self, length=length)


def largest_rows(
    method: str, settings: Mapping[str, Any], longest: int, *, learned: int | None = None, examples: int = 1
) -> LargestRows:
    """The largest of what a method computes as a whole: two answers of dpo, or a question and its answer.

    Args:
        method: The method.
        settings: The hyperparameters.
        longest: The tokens of the longest example.
        learned: The tokens that are learned from an example at the most; None if it isn't known.
        examples: How many examples a row has at the most.
    """
    batch: int = settings["batch_size"]
    if method == "dpo":
        return LargestRows(2, longest, batch, learned)
    if method == "reinforcement":
        answer = ANSWER_TOKENS[settings["reasoning_effort"]]
        return LargestRows(1, longest + answer, batch * group_size(settings["compute_multiplier"]), answer)
    return LargestRows(1, longest, batch * examples, learned)


@dataclass(frozen=True)
class Parts:
    """The bytes to compute one of `LargestRows`, the first of several, and each one more beside it.

    Several together learn at more places than each alone.
    """

    alone: int
    first: int
    more: int

    def fitting(self, space: float) -> int:
        """How many fit."""
        several = 1 + int((space - self.first) // max(1, self.more))
        return max(several, int(space >= self.alone))

    def bytes(self, count: int) -> int:
        """The bytes of so many."""
        return self.alone if count == 1 else self.first + (count - 1) * self.more


@dataclass(frozen=True)
class MemoryPlan:
    """How a training is computed.

    Args:
        room: How many tokens may be computed at once.
        tokens: How many of them a step computes at once.
        checkpointing: Whether gradient checkpointing is on.
        weights: The bytes of the weights.
        learning: The bytes of gradients and of the optimiser.
        parts: The bytes of what is computed at once.
    """

    room: int
    tokens: int
    checkpointing: bool
    weights: int
    learning: int
    parts: int

    @property
    def bytes(self) -> int:
        """All of it."""
        return self.weights + self.learning + self.parts


class Forecast:
    """The need of a training on one device.

    Args:
        folder: The base model.
        settings: The hyperparameters.
        kind: The kind of the device: "cpu" or "cuda".
        half: Whether it computes in half precision.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, kind: str, half: bool) -> None:
        self._folder = folder
        self._settings = settings
        self._kind = kind
        self._half = half
        self._parts: dict[tuple[int, int, int, bool], Parts | None] = {}

    @cached_property
    def _structure(self) -> Structure:
        return Structure(self._folder, self._settings, half=self._half)

    @cached_property
    def _checkpointed(self) -> Structure | None:
        structure = Structure(self._folder, self._settings, half=self._half)
        return structure if structure.switch_on_checkpointing() and _runs(structure) else None

    @property
    def weights(self) -> int:
        """The bytes of the weights."""
        return self._structure.weights

    @property
    def learning(self) -> int:
        """The bytes of gradients and of the optimiser."""
        return self._structure.trained * (1 + MOMENTS)

    def parts(self, rows: LargestRows, *, checkpointing: bool) -> Parts | None:
        """What it takes to compute rows; None if the model has no gradient checkpointing."""
        key = (rows.count, rows.length, rows.kept, checkpointing)
        if key not in self._parts:
            structure = self._checkpointed if checkpointing else self._structure
            self._parts[key] = None if structure is None else _measured(structure, rows)
        return self._parts[key]

    def plan(self, rows: LargestRows, free: int | None) -> MemoryPlan | None:
        """How to compute rows; None if they don't fit. Without a known free memory, as if there was enough."""
        if free is None:
            return self._within(rows, None)
        # the margin is given up before a training is refused
        return self._within(rows, int(free * (1 - MARGIN))) or self._within(rows, free)

    def _within(self, rows: LargestRows, space: int | None) -> MemoryPlan | None:
        wanted = self._settings.get("gradient_checkpointing", "auto")
        most = max(1, AT_ONCE[self._kind] // rows.tokens)
        enough = max(1, min(most, rows.batch, ENOUGH // rows.tokens))
        plans: dict[int, MemoryPlan] = {}
        for checkpointing in (False, True) if wanted == "auto" else (wanted,):
            parts = self.parts(rows, checkpointing=checkpointing)
            if parts is None:
                continue
            count = most if space is None else min(most, parts.fitting(space - self.weights - self.learning))
            if count:
                plans.setdefault(count, self._planned(rows, parts, count, checkpointing=checkpointing))
            if count >= enough:
                break
        return plans[max(plans)] if plans else None

    def _planned(self, rows: LargestRows, parts: Parts, count: int, *, checkpointing: bool) -> MemoryPlan:
        """The plan with so many of the rows at once."""
        most = AT_ONCE[self._kind]
        room = most if count >= most // rows.tokens else count * rows.tokens
        used = min(count, rows.batch)
        return MemoryPlan(room, used * rows.tokens, checkpointing, self.weights, self.learning, parts.bytes(used))

    def least(self, rows: LargestRows) -> int:
        """The bytes with which rows can be computed, one at once."""
        parts = [self.parts(rows, checkpointing=checkpointing) for checkpointing in (False, True)]
        return self.weights + self.learning + min(found.alone for found in parts if found is not None)

    def refusal(self, rows: LargestRows, free: int) -> str:
        """What to say of a training that doesn't fit: what it needs, and the changes with which it fits."""
        changes = list(self._changes(rows, free))
        what = "one row of" if rows.count == 1 else f"{rows.count} rows together, each of"
        advice = f"It fits with {', or with '.join(changes)}." if changes else "No setting makes it fit."
        return (
            f"The training needs about {gib(self.least(rows))} of memory to learn from {what} {rows.length:,} tokens,"
            f" and {gib(free)} are free. {advice} A smaller model or more memory helps as well."
        )

    def _changes(self, rows: LargestRows, free: int) -> Iterator[str]:
        changes: list[dict[str, Any]] = []
        if self._settings.get("gradient_checkpointing", "auto") != "auto":
            changes.append({"gradient_checkpointing": "auto"})
        if not self._settings["lora"]:
            changes.append({"lora": True})
        elif not quantised.is_asked(self._settings) and quantised.is_installed():
            changes.append({"quantization": quantised.FOUR_BITS})
        together = dict(pair for change in changes for pair in change.items())
        found = [change for change in changes if self._with(change).plan(rows, free)]
        if not found and len(changes) > 1 and self._with(together).plan(rows, free):
            found.append(together)
        yield from (_written(change) for change in found)
        if not found and (shorter := self._with(together).longest(rows, free)):
            yield _written(together | {"context_length": shorter})

    def _with(self, changes: Mapping[str, Any]) -> Forecast:
        return Forecast(self._folder, {**self._settings, **changes}, kind=self._kind, half=self._half)

    def longest(self, rows: LargestRows, free: int) -> int:
        """The longest rows that fit, about, in tokens; 0 if none do."""
        most = 0
        for checkpointing in (False, True):
            parts = self.parts(rows, checkpointing=checkpointing)
            if parts is not None:
                share = (free - self.weights - self.learning) / parts.alone
                most = max(most, min(rows.length - 1, int(share * rows.length)))
        for length in range(most // SHORT * SHORT, 0, -SHORT):
            if self.plan(rows.shortened(length), free):
                return length
        return 0


def _measured(structure: Structure, rows: LargestRows) -> Parts:
    # the optimiser's step, which comes after, needs a copy of what it trains
    one, two = (structure.activations(rows.count * times, rows.length, rows.length) for times in (1, 2))
    alone = one if rows.kept == rows.length else structure.activations(rows.count, rows.length, rows.kept)
    return Parts(max(alone, structure.trained), max(one, structure.trained), two - one)


def _written(changes: Mapping[str, Any]) -> str:
    return " and ".join(f"{name}={json.dumps(value)}" for name, value in changes.items())


def checked(found: Forecast, rows: LargestRows, free: int | None) -> MemoryPlan | None:
    """How to compute rows.

    Raises:
        DoesNotFit: The memory doesn't suffice, whatever is changed on the way.
    """
    plan = found.plan(rows, free)
    if plan is None and free is not None:
        raise DoesNotFit(found.refusal(rows, free))
    return plan


def forecast(folder: Path, settings: Mapping[str, Any], *, kind: str, half: bool) -> Forecast | None:
    """The need of a training; None if the model can't be computed without its weights."""
    found = Forecast(folder, settings, kind=kind, half=half)
    try:
        found.parts(LargestRows(1, SHORT), checkpointing=False)
    except Exception:  # noqa: BLE001 - the code of a model may do anything; then what fits is found by trying
        traceback.print_exc()
        return None
    return found


def _runs(structure: Structure) -> bool:
    try:
        structure.activations(1, SHORT, SHORT)
    except Exception:  # noqa: BLE001 - as in `forecast`
        traceback.print_exc()
        return False
    return True


def remark(plan: MemoryPlan, free: int | None) -> Remark:
    """What a training needs, as an event."""
    of = "" if free is None else f" of the {gib(free)} that are free"
    on = "on" if plan.checkpointing else "off"
    text = (
        f"Needs about {gib(plan.bytes)} of memory{of}: {gib(plan.weights)} for weights, {gib(plan.learning)} for"
        f" gradients and the optimiser, {gib(plan.parts)} for {plan.tokens:,} tokens at once; gradient checkpointing"
        f" is {on}"
    )
    return Remark(text, mark=f"memory:{plan.room}:{plan.checkpointing}", level="info")


def gib(size: float) -> str:
    """A number of bytes for people."""
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{size / (1 << 20):,.0f} MiB"
