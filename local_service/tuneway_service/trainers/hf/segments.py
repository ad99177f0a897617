"""Tokenises texts in segments, each from one special token to the next, and remembers segments.

The prompts of a long conversation share most of their text. A tokenizer treats what stands between special tokens
alone, so this gives the tokens of the whole text, for all tokenizers that are known; the encoder checks it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

REMEMBERED = 4096
"""How many segments are remembered."""


class Segments:
    """The segments of one tokenizer's texts.

    `special` has the numbers of the special tokens that segments begin with, `is_special` is true for these numbers,
    and `starts` finds such tokens in a text.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.special: dict[str, int] = {
            token.content: number
            for number, token in tokenizer.added_tokens_decoder.items()
            if token.special and not (token.normalized or token.lstrip or token.single_word)
        }
        self.is_special = np.zeros(max([len(tokenizer), *tokenizer.added_tokens_decoder]) + 1, dtype=bool)
        self.is_special[[*self.special.values()]] = True
        # the longest first: one may begin with another
        words = sorted(map(re.escape, self.special), key=len, reverse=True)
        self.starts = re.compile("|".join(words) or "(?!)")
        self._tokenizer = tokenizer
        self.segment = lru_cache(REMEMBERED)(self.whole)

    def ids(self, text: str) -> list[int]:
        """The tokens of a text, segment by segment."""
        return [token for segment in self._split(text) for token in self.segment(segment)]

    def whole(self, text: str) -> list[int]:
        """The tokens of a text; the template has written the special ones."""
        ids: Any = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return list(ids)

    def _split(self, text: str) -> Iterator[str]:
        start = 0
        for found in self.starts.finditer(text):
            if found.start() > start:
                yield text[start : found.start()]
                start = found.start()
        if start < len(text):
            yield text[start:]
