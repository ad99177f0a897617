"""Answers of a language model, one token at a time, so that they can be streamed and stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache

from tuneway.errors import InvalidInput
from tuneway_service.trainers.hf.tokens import Encoder
from tuneway_service.trainers.reply import GREEDY, TextReply

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tuneway_service.trainers.base import Message
    from tuneway_service.trainers.hf.models import Tuned

MAX_TOKENS = 1024
"""The longest answer unless a limit is given."""


class _TokenChoice:
    """Chooses tokens by their scores."""

    def __init__(self, temperature: float, top_p: float, seed: int | None) -> None:
        self._temperature = temperature
        self._top_p = top_p
        self._rng = torch.Generator().manual_seed(torch.seed() if seed is None else seed)

    def of(self, scores: torch.Tensor) -> int:
        """The next token."""
        if self._temperature < GREEDY:
            return int(scores.argmax())
        shares = torch.softmax(scores / self._temperature, dim=-1)
        if self._top_p < 1:
            ordered, order = shares.sort(descending=True)
            before = ordered.cumsum(dim=-1) - ordered
            shares[order[1:][before[1:] >= self._top_p]] = 0
        return int(torch.multinomial(shares, 1, generator=self._rng))


class HfChat:
    """A language model that answers."""

    def __init__(self, tuned: Tuned, context_length: int) -> None:
        self._tuned = tuned
        self._encoder = Encoder(tuned.tokenizer, tuned.stops, context_length)

    def complete(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        max_tokens: int | None = None,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
        stop: Sequence[str] | None = None,
    ) -> TextReply:
        """Answer a conversation."""
        prompt = self._encoder.prompt(messages, tools or ())
        return self._reply(prompt, _TokenChoice(temperature, top_p, seed), max_tokens, stop)

    def complete_prompt(
        self,
        prompt: str,
        *,
        max_tokens: int | None = None,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
        stop: Sequence[str] | None = None,
    ) -> TextReply:
        """Continue a text."""
        ids = self._encoder.text(prompt)
        if not ids:
            raise InvalidInput("the prompt is empty", hint="Send a prompt with at least one character.")
        # the text goes on, so that a space between both is a part of the answer
        return self._reply(ids, _TokenChoice(temperature, top_p, seed), max_tokens, stop, before=ids)

    def _reply(
        self,
        prompt: list[int],
        choice: _TokenChoice,
        max_tokens: int | None,
        stop: Sequence[str] | None,
        *,
        before: Sequence[int] = (),
    ) -> TextReply:
        room = self._encoder.context_length - len(prompt)
        if room < 1:
            raise InvalidInput(
                f"the conversation has {len(prompt)} tokens; this model's context has {self._encoder.context_length}",
                hint="Shorten it.",
            )
        limit = min(room, MAX_TOKENS if max_tokens is None else max_tokens)
        texts = self._texts(self._write(prompt, choice), before)
        return TextReply(texts, prompt_tokens=len(prompt), max_tokens=limit, stop=stop)

    def _write(self, prompt: list[int], choice: _TokenChoice) -> Iterator[int]:
        cache = DynamicCache(config=self._tuned.plain.config)
        given = prompt
        while True:
            ids = torch.tensor([given], device=self._tuned.device)
            with torch.no_grad():
                token = choice.of(self._tuned.logits(ids, 1, cache)[0, -1].cpu())
            if token in self._tuned.stops:
                return
            yield token
            given = [token]

    def _texts(self, tokens: Iterator[int], before: Sequence[int]) -> Iterator[str]:
        """The text of each token, after those before the first one; "" while a character is incomplete."""
        held = list(before)
        known = len(held)
        shown = self._decoded(held)
        for token in tokens:
            held.append(token)
            text = self._decoded(held)
            if text == shown or text.endswith("\ufffd"):
                yield ""
                continue
            yield text[len(shown) :]
            # a token's text may depend on what is before it, so the last whole piece is kept: a single token of it may
            # be the end of a character, which no text begins with
            held = held[known:]
            known, shown = len(held), self._decoded(held)
        rest = self._decoded(held)[len(shown) :]
        if rest:
            yield rest

    def _decoded(self, tokens: list[int]) -> str:
        text = self._tuned.tokenizer.decode(tokens, skip_special_tokens=True)
        assert isinstance(text, str)
        return text
