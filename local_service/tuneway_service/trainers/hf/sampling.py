"""Samples many answers, for reinforcement.

Each answer has random numbers of its own, which depend on its seed and its place in the answer alone. So it is the
same answer, whichever answers are computed beside it and in which process, but for rounding in the model.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import torch
from transformers import GenerationConfig, LogitsProcessorList

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuneway_service.trainers.hf.models import Tuned

WORD = (1 << 32) - 1
LARGEST = 1 - 2**-24
"""The largest number below 1 in single precision."""


def answers_to(tuned: Tuned, prompts: Sequence[Sequence[int]], longest: int, *, seed: str) -> list[list[int]]:
    """An answer to each prompt, up to the token that ends it, sampled with the model's own probabilities.

    Each process of a gang samples its share, and all get all answers.
    """
    own = tuned.ranks.share([len(prompt) + longest for prompt in prompts])
    ours, seeds = [prompts[number] for number in own], [f"{seed}/{number}" for number in own]
    found = tuned.room.fit(
        lambda: _sampled(tuned, ours, longest, seeds=seeds), [len(prompt) + longest for prompt in ours]
    )
    every = [pair for pairs in tuned.ranks.gathered([*zip(own, found, strict=True)]) for pair in pairs]
    return [list(answer) for _, answer in sorted(every)]


def _sampled(tuned: Tuned, prompts: Sequence[Sequence[int]], longest: int, *, seeds: Sequence[str]) -> list[list[int]]:
    settings = GenerationConfig(
        do_sample=False,  # the noise makes a sample of the best token
        max_new_tokens=longest,
        eos_token_id=sorted(tuned.stops),
        pad_token_id=tuned.pad,
        use_cache=True,
    )
    found: list[list[int]] = []
    width = max(map(len, prompts), default=0) + longest
    size = max(1, tuned.room.tokens // width)
    for start in range(0, len(prompts), size):
        ids, mask = _padded(prompts[start : start + size], tuned.pad, tuned.device)
        noise = Noise(seeds[start : start + size], ids.shape[1], longest, tuned.device)
        with torch.no_grad(), tuned.precision():
            written = tuned.model.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=settings,
                logits_processor=LogitsProcessorList([noise]),
            )
        found += [_ended(row, tuned.stops) for row in written[:, ids.shape[1] :].tolist()]
    return found


class Noise:
    """Adds Gumbel noise to the logits of each answer: the token with the highest sum is a sample of the model's.

    The noise is a hash of the answer's seed, the place and the token, computed on the model's device.

    Args:
        seeds: The seed of each answer.
        start: The length of the prompts.
        longest: The length of the longest answer.
        device: The model's device.
    """

    def __init__(self, seeds: Sequence[str], start: int, longest: int, device: torch.device) -> None:
        self._start = start
        self._keys = torch.tensor([_keys(seed, longest) for seed in seeds]).to(device)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The logits with noise."""
        first, second = self._keys[:, input_ids.shape[1] - self._start].unsqueeze(-1).unbind(1)
        tokens = torch.arange(scores.shape[1], device=scores.device).unsqueeze(0)
        words = _mixed(_mixed(tokens + first) ^ second)
        uniform = ((words.float() + 0.5) / (WORD + 1)).clamp(max=LARGEST)
        # log1p keeps what is close to 0, where the likely tokens are, exact
        return scores.float() - torch.log(-torch.log1p(-uniform))


def _keys(seed: str, count: int) -> list[list[int]]:
    rng = random.Random(seed)  # noqa: S311 - no secret
    return [[rng.getrandbits(32), rng.getrandbits(32)] for _ in range(count)]


def _mixed(words: torch.Tensor) -> torch.Tensor:
    """A hash of 32-bit words, each to another one: `lowbias32` by Chris Wellons."""
    words = words & WORD
    words = (words ^ (words >> 16)) * 0x7FEB352D & WORD
    words = (words ^ (words >> 15)) * 0x846CA68B & WORD
    return words ^ (words >> 16)


def _padded(prompts: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts padded at the start, so that all answers start at the same position."""
    width = max(map(len, prompts))
    ids = torch.tensor([[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids.to(device), mask.to(device)


def _ended(answer: list[int], stops: frozenset[int]) -> list[int]:
    end = next((place for place, token in enumerate(answer, 1) if token in stops), len(answer))
    return answer[:end]
