"""An answer while it is generated: counts of tokens, stop texts, the finish reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


GREEDY = 1e-5
"""Below this temperature the most likely token is taken: what a division by less gives is too large for a number."""


class TextReply:
    """Pieces of text, from a model's tokens.

    Args:
        tokens: The text of each token, "" for a token that doesn't complete a character; ends when the model does.
        prompt_tokens: The number of tokens in the prompt.
        max_tokens: The largest number of tokens to take.
        stop: Texts before which the answer ends.
    """

    def __init__(
        self, tokens: Iterator[str], *, prompt_tokens: int, max_tokens: int, stop: Sequence[str] | None = None
    ) -> None:
        self.prompt_tokens = prompt_tokens
        self.completion_tokens = 0
        self.finish_reason: str | None = None
        self._cancelled = False
        self._pieces = self._write(tokens, max_tokens, [text for text in stop or () if text])

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._pieces)

    def cancel(self) -> None:
        """End the answer before its next token."""
        self._cancelled = True

    def _write(self, tokens: Iterator[str], max_tokens: int, stop: list[str]) -> Iterator[str]:
        held = ""
        reason = "stop"
        for text in tokens:
            if self._cancelled:
                break
            if self.completion_tokens == max_tokens:
                reason = "length"
                break
            self.completion_tokens += 1
            held += text
            found = [at for at in map(held.find, stop) if at >= 0]
            if found:
                held = held[: min(found)]
                break
            safe = len(held) - _begun(held, stop)
            if safe:
                yield held[:safe]
                held = held[safe:]
        self.finish_reason = reason
        if held:
            yield held


def _begun(text: str, stop: list[str]) -> int:
    """The number of characters at the end that may be the start of a stop text."""
    longest = max(map(len, stop), default=1) - 1
    return next(
        (size for size in range(min(longest, len(text)), 0, -1) if any(s.startswith(text[-size:]) for s in stop)),
        0,
    )
