"""The log-probability of each learned token of examples, and whether it was the model's first choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from trl.trainer.utils import selective_log_softmax

from tuneway_service.trainers.hf.tokens import UNLEARNED
from tuneway_service.trainers.metric_sums import MetricSums

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tuneway_service.trainers.hf.models import Tuned
    from tuneway_service.trainers.hf.tokens import Example
    from tuneway_service.trainers.ranks import Ranks


@dataclass(frozen=True)
class Scored:
    """For some examples, row by row: the log-probabilities of learned tokens (0 elsewhere), and which were hits.

    A hit is a token that was the model's first choice; `mask` marks the learned tokens.
    """

    log_probabilities: torch.Tensor
    hits: torch.Tensor
    mask: torch.Tensor

    @property
    def per_row(self) -> torch.Tensor:
        """The log-probability of the answer of each row."""
        return self.log_probabilities.sum(dim=1)


def score(tuned: Tuned, examples: Sequence[Example]) -> Scored:
    """Score examples with the model, all in one batch.

    They are padded at the end. Tokens attend only to tokens before them, so the padding needs no mask. Logits are
    computed only at positions where something is learned.
    """
    ids, labels = _padded(examples, tuned.pad, tuned.device)
    kept = (labels[:, 1:] != UNLEARNED).any(dim=0).nonzero().squeeze(1)
    targets = labels[:, 1:][:, kept]
    mask = targets != UNLEARNED
    targets = targets.masked_fill(~mask, 0)
    logits = tuned.logits(ids, kept)
    log_probabilities = selective_log_softmax(logits, targets) * mask
    hits = (logits.detach().argmax(dim=-1) == targets) & mask
    return Scored(log_probabilities, hits, mask)


def _padded(examples: Sequence[Example], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    shape = (len(examples), max(map(len, examples)))
    ids, labels = torch.full(shape, pad), torch.full(shape, UNLEARNED)
    for row, example in enumerate(examples):
        ids[row, : len(example)] = torch.tensor(example.ids)
        labels[row, : len(example)] = torch.tensor(example.labels)
    return ids.to(device), labels.to(device)


def over_parts(
    tuned: Tuned,
    groups: Sequence[Sequence[Example]],
    add: Callable[[MetricSums, Sequence[int], Sequence[Example]], None],
    *,
    learning: bool = False,
) -> MetricSums:
    """Compute groups of examples, in parts that fit into memory; each process of a gang computes its share.

    Args:
        tuned: The model.
        groups: The examples.
        add: Computes a part, and adds to the sums what it measured. It gets the numbers of the part's groups, and
            their examples. When a part doesn't fit into memory, all parts are computed again.
        learning: Whether `add` computes gradients.
    """

    def compute() -> MetricSums:
        sums = MetricSums()
        for numbers, part in in_parts(groups, tuned.room.tokens, tuned.ranks):
            add(sums, numbers, part)
        return sums

    sizes = [max(map(len, group)) * len(group) for group in groups]
    return tuned.room.fit(compute, sizes, learning=learning).of_all(tuned.ranks)


def in_parts(groups: Sequence[Sequence[Example]], room: int, ranks: Ranks) -> Iterator[tuple[list[int], list[Example]]]:
    """Batches of this process's share of groups of examples, each as large as fits into `room` tokens.

    The longest groups come first. Each batch has the numbers of its groups, and their examples in order. Similar
    lengths together need little padding.
    """
    lengths = [max(map(len, group)) for group in groups]
    order = ranks.share([length * len(group) for length, group in zip(lengths, groups, strict=True)])
    start = 0
    while start < len(order):
        width = lengths[order[start]] * len(groups[order[start]])
        part = order[start : start + max(1, room // width)]
        yield part, [example for number in part for example in groups[number]]
        start += len(part)
