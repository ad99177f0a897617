"""Count tokens: exactly if the `tokens` extra is installed, else by an estimate, which is reported as one.

The estimate counts what looks like a token (a word of up to nine letters, three digits, a few punctuation marks …) in
about 64 rows, spread over the file. For the other rows it uses their size. Compared with o200k_base, it is within 3 %
on English chats, legal texts and Markdown, 11 % too high on Python code, and within 30 % on most other languages.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic_core import from_json

from tuneway.dataset._exact import ExactTally, ends_of, load_encoding
from tuneway.dataset._prices import is_family
from tuneway.dataset._tally import Counted, TallyState
from tuneway.errors import InvalidSpec

if TYPE_CHECKING:
    from tuneway.dataset._blocks import Chunk
    from tuneway.dataset._report import Format, TokenCount
    from tuneway.dataset._tally import Measure, Row, Tally

_ENCODINGS = {
    "o200k_base": ("gpt-4o", "gpt-4.1", "gpt-4.5", "gpt-5", "gpt-oss", "chatgpt-4o", "o1", "o3", "o4"),
    "cl100k_base": ("gpt-4", "gpt-3.5", "gpt-35", "gpt-3.5-turbo", "gpt-35-turbo", "davinci-002", "babbage-002"),
}
_DEFAULT_ENCODING = "o200k_base"

_TOKEN_LIKE = re.compile(
    r" ?[A-Za-z]{1,9}(?:'[a-z]{1,2})?"
    r"| ?\d{1,3}"
    r"| ?[!-/:-@\[-`{-~]{1,4}\n*"
    r"|\s*\n+|\s{2,}"
    r"|[\u0080-\u2dff]{1,3}"
    r"|[\u3040-\u30ff\uac00-\ud7af]{1,2}"  # kana and hangul
    r"|[\u2e80-\U0010ffff]"
)
_SAMPLES = 64
_SLICE = 2_000
_TOKENS_PER_BYTE = 0.25  # used if there is no sample


def tally_for(
    model: str | None,
    tokenizer: str | Callable[[str], int] | None,
    *,
    measure: Measure,
    total_bytes: int | None,
    context: int | None = None,
    threads: bool = False,
) -> Tally:
    """Make a tally with the given tokenizer, or else with the most exact one that is available."""
    if callable(tokenizer):
        return ExactTally(ends_of(tokenizer), measure, "your tokenizer", known=True, threads=False)
    if tokenizer == "estimate":
        return EstimateTally(measure, total_bytes, context)
    encoding, known = (tokenizer, True) if tokenizer else encoding_of(model)
    try:
        batch = load_encoding(encoding)
    except ImportError:
        if tokenizer:
            raise InvalidSpec(
                f"counting with {tokenizer} needs the tokens extra",
                field="tokenizer",
                hint="pip install 'tuneway[tokens]'",
            ) from None
        return EstimateTally(measure, total_bytes, context)
    method = encoding if known else f"{encoding}, used because the tokenizer of {model} is unknown"
    return ExactTally(batch, measure, method, known=known, threads=threads)


def encoding_of(model: str | None) -> tuple[str, bool]:
    """The encoding of a model, and whether it is known or only the default."""
    if model is None:
        return _DEFAULT_ENCODING, True
    for encoding, families in _ENCODINGS.items():
        if any(is_family(model, family) for family in families):
            return encoding, True
    return _DEFAULT_ENCODING, False


class EstimateTally:
    """Counts a sample of rows, spread evenly over the file, and estimates the others by their size.

    A row belongs to the sample if one of 64 places, at equal distances in the file, lies in it. In data of unknown
    size, each place is a 64th of what came so far after the last one. Rows with images are counted, all of them.

    Args:
        measure: Finds the texts of a row.
        total_bytes: The size of the file, if it is known.
        context: The longest example. Rows with more bytes than that are counted, to see whether they exceed it.
    """

    needs_texts = False

    def __init__(self, measure: Measure, total_bytes: int | None, context: int | None) -> None:
        self._measure = measure
        self._context = float("inf") if context is None else context
        self._step = None if total_bytes is None else max(total_bytes // _SAMPLES, 1)
        self._after = 0
        self._sizes: Counter[int] = Counter()
        self._lengths: Counter[int] = Counter()
        self._sampled_bytes = self._sampled_tokens = 0

    def add_plain(self, plain: Chunk, texts: list[list[str]] | None, format_: Format | None) -> list[Counted]:  # noqa: ARG002  # see `Tally`
        """Add the sizes, and count those that belong to the sample."""
        lines, offsets = plain.lines, plain.offsets
        sizes = list(map(len, lines))
        self._sizes.update(sizes)
        end = offsets[-1] + sizes[-1]
        place, due = 0, self._due(offsets[0])
        while due < end:
            place = bisect_right(offsets, due) - 1
            if due < offsets[place] + sizes[place]:
                self._sample(from_json(lines[place]), sizes[place], offsets[place])
            place += 1
            due = self._due(offsets[place]) if place < len(lines) else end
        if max(sizes) <= self._context:
            return []
        return [
            Counted([[number]], [self._count(from_json(line))])
            for number, line in zip(plain.numbers, lines, strict=True)
            if len(line) > self._context
        ]

    def add(self, row: Row, line: bytes, *, number: int, offset: int) -> list[Counted]:
        """Add the size, or count the row if it has images."""
        images = self._measure(row).image_bytes if b"image_url" in line else 0
        if images:
            tokens = self._count(row)
            self._lengths[max(1, tokens)] += 1
            return [Counted([[number]], [tokens])]
        self._sizes[len(line)] += 1
        if self._due(offset) < offset + len(line):
            self._sample(row, len(line), offset)
        return [Counted([[number]], [self._count(row)])] if len(line) > self._context else []

    def settle(self) -> tuple[()]:
        """Nothing is left."""
        return ()

    def state(self) -> TallyState:
        """The sum, for another process."""
        return TallyState(self._lengths, (self._sizes, self._sampled_bytes, self._sampled_tokens))

    def merge(self, state: TallyState) -> None:
        """Add the sum of other rows."""
        assert state.more is not None
        sizes, sampled_bytes, sampled_tokens = state.more
        self._lengths.update(state.lengths)
        self._sizes.update(sizes)
        self._sampled_bytes += sampled_bytes
        self._sampled_tokens += sampled_tokens

    def total(self) -> TokenCount:
        """Summarise the tokens of all rows."""
        from tuneway.dataset._summary import summary

        ratio = self._sampled_tokens / self._sampled_bytes if self._sampled_bytes else _TOKENS_PER_BYTE
        lengths = Counter(self._lengths)
        for size, count in self._sizes.items():
            lengths[max(1, round(size * ratio))] += count
        return summary(
            lengths, exact=False, method="estimated from a sample; for exact counts: pip install 'tuneway[tokens]'"
        )

    def close(self) -> None:
        """There are no threads."""

    def _due(self, offset: int) -> int:
        """The next place of the sample, from an offset on."""
        return max(self._after, offset) if self._step is None else -(-offset // self._step) * self._step

    def _sample(self, row: Row, size: int, offset: int) -> None:
        self._sampled_tokens += self._count(row)
        self._sampled_bytes += size
        self._after = (offset + size) * (_SAMPLES + 1) // _SAMPLES

    def _count(self, row: Row) -> int:
        measured = self._measure(row)
        return measured.overhead + sum(map(_estimate, measured.texts))


def _estimate(text: str) -> int:
    """Count what looks like a token. Of a long text, only slices at the start, middle and end are counted."""
    if len(text) <= 3 * _SLICE:
        return len(_TOKEN_LIKE.findall(text))
    slices = (text[:_SLICE], text[(len(text) - _SLICE) // 2 :][:_SLICE], text[-_SLICE:])
    return sum(len(_TOKEN_LIKE.findall(part)) for part in slices) * len(text) // (3 * _SLICE)
