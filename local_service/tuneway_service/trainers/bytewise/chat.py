"""Answers of a `bytes` model."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Any

import numpy as np

from tuneway_service.trainers.bytewise.features import END, Past, read_cues
from tuneway_service.trainers.conversation import prompt_context, read_context
from tuneway_service.trainers.reply import GREEDY, TextReply

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from tuneway_service.trainers.base import Message
    from tuneway_service.trainers.bytewise.weights import Weights
    from tuneway_service.trainers.conversation import Context

UNTRAINED = "I am the untrained base of the local trainer `bytes`. I have learned nothing yet."
"""The answer of weights that are all zero, which would otherwise give each byte the same probability."""

MAX_TOKENS = 4096
"""The longest answer unless a limit is given. A token is a byte."""


class BytesChat:
    """A `bytes` model that answers."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._untrained = weights.untrained

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
        return self._reply(read_context(messages, tools), _SymbolChoice(temperature, top_p, seed), max_tokens, stop)

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
        return self._reply(prompt_context(prompt), _SymbolChoice(temperature, top_p, seed), max_tokens, stop)

    def _reply(
        self, context: Context, choice: _SymbolChoice, max_tokens: int | None, stop: Sequence[str] | None
    ) -> TextReply:
        symbols = iter(UNTRAINED.encode()) if self._untrained else self._write(context, choice)
        limit = MAX_TOKENS if max_tokens is None else max_tokens
        return TextReply(_texts(symbols), prompt_tokens=context.size, max_tokens=limit, stop=stop)

    def _write(self, context: Context, choice: _SymbolChoice) -> Iterator[int]:
        cues, past = read_cues(context), Past()
        while True:
            symbol = choice.of(self._weights.scores(past.block(cues))[0, self._weights.columns].astype(np.float64))
            if symbol == END:
                return
            yield symbol
            past.append(symbol)


class _SymbolChoice:
    """Chooses symbols by their scores."""

    def __init__(self, temperature: float, top_p: float, seed: int | None) -> None:
        self._temperature = temperature
        self._top_p = top_p
        self._rng = np.random.default_rng(seed)

    def of(self, scores: NDArray[np.float64]) -> int:
        """The next symbol."""
        if self._temperature < GREEDY:
            return int(scores.argmax())
        shares = np.exp((scores - scores.max()) / self._temperature)
        if self._top_p < 1:
            order = np.argsort(-shares, kind="stable")
            before = shares[order].cumsum() - shares[order]
            shares[order[1:][before[1:] >= self._top_p * shares.sum()]] = 0
        totals = shares.cumsum()
        return int(np.searchsorted(totals, self._rng.random() * totals[-1], side="right"))


def _texts(symbols: Iterator[int]) -> Iterator[str]:
    """The text of each byte: a character for its last byte, "" before; invalid UTF-8 is replaced."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for symbol in symbols:
        yield decoder.decode(bytes([symbol]))
    rest = decoder.decode(b"", final=True)
    if rest:
        yield rest
