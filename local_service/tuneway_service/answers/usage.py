"""Counts the tokens of a reply that is made of several answers."""

from __future__ import annotations


class Usage:
    """The tokens of a reply.

    Args:
        each: The number of answers that share a prompt, which counts once.
    """

    def __init__(self, each: int) -> None:
        self._each = each
        self._prompt = self._completion = 0

    def add(self, index: int, prompt: int, completion: int) -> None:
        """Count one answer."""
        self._prompt += prompt if index % self._each == 0 else 0
        self._completion += completion

    def wire(self) -> dict[str, int]:
        """The field `usage`."""
        total = self._prompt + self._completion
        return {"prompt_tokens": self._prompt, "completion_tokens": self._completion, "total_tokens": total}
