"""Gates: conditions that a version must meet before an alias moves to it.

    registry.promote("support-router", gates=[
        Gate("full_valid_loss", max=0.5),
        NoWorseThanChampion("full_valid_loss", tolerance=0.02),
        lambda candidate, champion: client.evaluate("held-out.jsonl", base=..., tuned=candidate.model_id),
    ])

A gate is a function of two records, the candidate's and the champion's (None if there is no champion yet). It returns
a `Verdict`, a bool, or an `Evaluation`. All gates are evaluated, so that one refusal gives all reasons. The verdicts
are stored with the version, whether they passed or not.

A metric is compared with the champion's only if both were measured in the same way: with the same trainer, method and
validation data. A loss on other data, or with another tokeniser, is another quantity, even if the numbers are
similar. If two metrics can't be compared, the gate refuses, unless `if_incomparable="pass"` is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tuneway.errors import InvalidSpec
from tuneway.models import metric_name
from tuneway.registry.evaluate import Evaluation
from tuneway.registry.records import ModelRecord, Verdict

GateLike: TypeAlias = Callable[[ModelRecord, ModelRecord | None], Verdict | Evaluation | bool]


@dataclass(frozen=True)
class Gate:
    """A bound on one of the record's metrics: `Gate("full_valid_loss", max=0.5)`."""

    metric: str
    max: float | None = None
    min: float | None = None

    def __post_init__(self) -> None:
        bounds = [bound for bound in (self.min, self.max) if bound is not None]
        if not bounds or any(math.isnan(bound) for bound in bounds):
            raise InvalidSpec(f"the gate on {self.metric!r} has no bound", field="gate", hint="Give max or min.")

    def __call__(self, candidate: ModelRecord, champion: ModelRecord | None) -> Verdict:  # noqa: ARG002
        """Compare the candidate's metric with the bounds. The champion doesn't matter."""
        value = candidate.metrics.get(metric_name(self.metric))
        numbers = {self.metric: value, "max": self.max, "min": self.min}
        numbers = {name: number for name, number in numbers.items() if number is not None}
        if value is None:
            why, passed = _missing(candidate, self.metric), False
        elif self.max is not None and value > self.max:
            why, passed = f"{self.metric} {value:g} > {self.max:g}", False
        elif self.min is not None and value < self.min:
            why, passed = f"{self.metric} {value:g} < {self.min:g}", False
        else:
            why, passed = f"{self.metric} {value:g} is within bounds", True
        return Verdict(gate=str(self), passed=passed, why=why, numbers=numbers)

    def __str__(self) -> str:
        bounds = [f"{word}={bound:g}" for word, bound in (("min", self.min), ("max", self.max)) if bound is not None]
        return f"{self.metric} {', '.join(bounds)}"


@dataclass(frozen=True)
class NoWorseThanChampion:
    """The candidate's metric must not be worse than the champion's by more than `tolerance`.

    Args:
        metric: One of the record's metrics.
        tolerance: The tolerance, in the unit of the metric.
        lower_is_better: Whether a lower value is better. It is required unless the metric's name contains loss,
            accuracy, reward or score.
        if_incomparable: The verdict if the two metrics can't be compared, because they were measured differently.
    """

    metric: str
    tolerance: float = 0.0
    lower_is_better: bool | None = None
    if_incomparable: Literal["refuse", "pass"] = "refuse"

    def __post_init__(self) -> None:
        if not self.tolerance >= 0:
            raise InvalidSpec(f"tolerance: {self.tolerance} is negative", field="tolerance")
        self._lower()

    def __call__(self, candidate: ModelRecord, champion: ModelRecord | None) -> Verdict:
        """Compare the two, if they can be compared."""
        if champion is None:
            return Verdict(gate=str(self), passed=True, why="there is no champion to compare with yet")
        name = metric_name(self.metric)
        ours, theirs = candidate.metrics.get(name), champion.metrics.get(name)
        numbers = {"candidate": ours, "champion": theirs, "tolerance": self.tolerance}
        obstacle = _why_incomparable(candidate, champion, name)
        if obstacle or ours is None or theirs is None:
            passed, why = self.if_incomparable == "pass", f"not compared: {obstacle}"
        else:
            worse_by = ours - theirs if self._lower() else theirs - ours
            passed = worse_by <= self.tolerance
            relation = "no worse than" if passed else "worse than"
            why = f"{self.metric} {ours:g} is {relation} the champion's {theirs:g} (tolerance {self.tolerance:g})"
        return Verdict(gate=str(self), passed=passed, why=why, numbers=numbers, compared_with=champion.version)

    def __str__(self) -> str:
        return f"{self.metric} no worse than the champion's"

    def _lower(self) -> bool:
        if self.lower_is_better is not None:
            return self.lower_is_better
        if "loss" in self.metric:
            return True
        if any(word in self.metric for word in ("accuracy", "reward", "score")):
            return False
        raise InvalidSpec(
            f"it is unknown whether a lower or a higher {self.metric!r} is better",
            field="lower_is_better",
            hint="Give lower_is_better=True or False.",
        )


def judge(gates: Sequence[GateLike], candidate: ModelRecord, champion: ModelRecord | None) -> list[Verdict]:
    """Evaluate all gates; gives their verdicts."""
    return [_verdict(gate, gate(candidate, champion)) for gate in gates]


def _verdict(gate: GateLike, answer: object) -> Verdict:
    name = getattr(gate, "__name__", str(gate))
    if isinstance(answer, Verdict):
        return answer
    if isinstance(answer, Evaluation):
        return answer.verdict(name)
    if isinstance(answer, bool):
        return Verdict(gate=name, passed=answer, why="the gate returned True" if answer else "the gate returned False")
    raise InvalidSpec(
        f"the gate {name} returned {type(answer).__name__}",
        field="gates",
        hint="Return a Verdict, an Evaluation, True or False.",
    )


def _why_incomparable(candidate: ModelRecord, champion: ModelRecord, metric: str) -> str | None:
    """Why the metrics of two records can't be compared; None if they can."""
    ours, theirs = _conditions(candidate), _conditions(champion)
    for what, mine in ours.items():
        if mine != theirs[what]:
            return f"{what} differs: {mine or 'unknown'} here, {theirs[what] or 'unknown'} for the champion"
    if candidate.validation is None or champion.validation is None:
        return "there was no validation data"
    if not ours["validation data"]:
        return "the validation data's sha256 is unknown"
    for record in (candidate, champion):
        if metric not in record.metrics:
            return _missing(record, metric)
    return None


def _conditions(record: ModelRecord) -> dict[str, str | None]:
    """The conditions under which a record's metrics were measured. Only equal conditions can be compared."""
    # if the service doesn't name its trainer, each base model of it counts as a trainer
    trainer = record.trainer or " on ".join(part for part in (record.base_model, record.service_url) if part)
    return {
        "trainer": trainer,
        "method": record.method,
        "grader": record.grader_sha256,
        "validation data": record.validation.sha256 if record.validation else None,
    }


def _missing(record: ModelRecord, metric: str) -> str:
    known = ", ".join(sorted(record.metrics)) or "none"
    return f"{record.ref} has no metric {metric}; it has: {known}"
