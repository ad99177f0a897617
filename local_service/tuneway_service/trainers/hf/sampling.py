"""Samples many answers, for reinforcement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import GenerationConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuneway_service.trainers.hf.models import Tuned


def answers_to(
    tuned: Tuned, prompts: Sequence[Sequence[int]], longest: int, room: int, *, seed: int
) -> list[list[int]]:
    """An answer to each prompt, up to the token that ends it, sampled with the model's own probabilities.

    The same seed gives the same answers: only the prompts' order and lengths decide how they are batched.
    """
    settings = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=longest,
        eos_token_id=sorted(tuned.stops),
        pad_token_id=tuned.pad,
        use_cache=True,
    )
    torch.manual_seed(seed)
    found: list[list[int]] = []
    width = max(map(len, prompts)) + longest
    size = max(1, room // width)
    for start in range(0, len(prompts), size):
        part = prompts[start : start + size]
        ids, mask = _padded(part, tuned.pad, tuned.device)
        with torch.no_grad(), tuned.precision():
            written = tuned.model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
        found += [_ended(row, tuned.stops) for row in written[:, ids.shape[1] :].tolist()]
    return found


def _padded(prompts: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts padded at the start, so that all answers start at the same position."""
    width = max(map(len, prompts))
    ids = torch.tensor([[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids.to(device), mask.to(device)


def _ended(answer: list[int], stops: frozenset[int]) -> list[int]:
    end = next((place for place, token in enumerate(answer, 1) if token in stops), len(answer))
    return answer[:end]
