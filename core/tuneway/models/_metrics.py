"""The names of metrics, as one table for reports, gates, registries and engines.

Services use two names for some metrics: a result file has `train_accuracy` where events and checkpoints have
`train_mean_token_accuracy`. All that Tuneway stores or shows has the name from this table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple


class Measure(StrEnum):
    """What is measured; a report draws one chart for each."""

    LOSS = "loss"
    ACCURACY = "accuracy"
    REWARD = "reward"


class Role(StrEnum):
    """The data that a value was measured on."""

    TRAIN = "train"
    VALID = "validation"
    FULL_VALID = "full validation"


class MetricInfo(NamedTuple):
    """One metric.

    Args:
        name: The metric's name.
        role: The data that it is measured on.
        methods: The training methods that have this metric.
        measure: The chart that shows it, if any does.
        also: Other names that services use for it.
    """

    name: str
    role: Role
    methods: frozenset[str]
    measure: Measure | None = None
    also: tuple[str, ...] = ()


_SUPERVISED_AND_DPO = frozenset({"supervised", "dpo"})
_DPO, _REINFORCEMENT = frozenset({"dpo"}), frozenset({"reinforcement"})


def _table() -> Iterator[MetricInfo]:
    for prefix, role in (("train", Role.TRAIN), ("valid", Role.VALID), ("full_valid", Role.FULL_VALID)):
        yield MetricInfo(f"{prefix}_loss", role, _SUPERVISED_AND_DPO, Measure.LOSS)
        yield MetricInfo(
            f"{prefix}_mean_token_accuracy", role, _SUPERVISED_AND_DPO, Measure.ACCURACY, (f"{prefix}_accuracy",)
        )
        yield MetricInfo(f"{prefix}_reward_margin", role, _DPO)
        yield MetricInfo(f"{prefix}_reward_accuracy", role, _DPO)
        also = {"train": ("train_reward_mean",), "full_valid": ("valid_reward_mean",)}.get(prefix, ())
        yield MetricInfo(f"{prefix}_mean_reward", role, _REINFORCEMENT, Measure.REWARD, also)
    for name in ("completion_tokens_mean", "reasoning_tokens_mean"):
        yield MetricInfo(name, Role.TRAIN, _REINFORCEMENT)
    for name in ("valid_reasoning_tokens_mean", "full_valid_mean_parse_error"):
        yield MetricInfo(name, Role.FULL_VALID, _REINFORCEMENT)


METRICS: Mapping[str, MetricInfo] = {metric.name: metric for metric in _table()}
"""All metrics, by name."""

_ALSO = {other: metric.name for metric in METRICS.values() for other in metric.also}


def metric_name(name: str) -> str:
    """Give the table's name for a metric. A name that isn't in the table is returned as it is."""
    return _ALSO.get(name, name)


def possible_metrics(method: str, *, validated: bool) -> list[str]:
    """The metrics that a training with this method can have, with or without validation data."""
    return [
        metric.name
        for metric in METRICS.values()
        if method in metric.methods and (validated or metric.role is Role.TRAIN)
    ]
