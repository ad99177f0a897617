"""The names of metrics: one table, from which reports, gates, registries and engines take what they need.

Services give some numbers two names: a result file says `train_accuracy` where events and checkpoints say
`train_mean_token_accuracy`. Everything that Tuneway keeps or shows has the name from this table.
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
    """Which data a value was measured on."""

    TRAIN = "train"
    VALID = "validation"
    FULL_VALID = "full validation"


class MetricInfo(NamedTuple):
    """One metric.

    Args:
        name: Its name.
        role: The data that it is measured on.
        methods: The training methods that have it.
        measure: The chart that it belongs to, if any.
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
        yield MetricInfo(f"{prefix}_mean_reward", role, _REINFORCEMENT, Measure.REWARD)


METRICS: Mapping[str, MetricInfo] = {metric.name: metric for metric in _table()}
"""All metrics, by name."""

_ALSO = {other: metric.name for metric in METRICS.values() for other in metric.also}


def metric_name(name: str) -> str:
    """The one name of a metric; a name that the table doesn't know stays as it is."""
    return _ALSO.get(name, name)


def possible_metrics(method: str, *, validated: bool) -> list[str]:
    """The metrics that a training by this method can have, with or without validation data."""
    return [
        metric.name
        for metric in METRICS.values()
        if method in metric.methods and (validated or metric.role is Role.TRAIN)
    ]
