"""Count tokens exactly, with a tokenizer. Threads count while the lines that follow are checked."""

from __future__ import annotations

import sys
from array import array
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from tuneway.dataset._formats import overhead_of_plain
from tuneway.dataset._tally import Counted, TallyState
from tuneway.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tuneway.dataset._blocks import Chunk
    from tuneway.dataset._report import Format, TokenCount
    from tuneway.dataset._tally import Measure, Row

    CountBatch = Callable[[list[str]], Sequence[int]]

_BATCH = 2**21
_THREADS = 2  # one counts while the other waits for the interpreter's lock
_WAITING = 3
_ROW = 50  # what a row costs besides its texts
_REMEMBERED = 2**20
_ENTRY = 200  # what a text costs besides its characters


@cache  # an encoding takes tens of megabytes
def load_encoding(name: str) -> CountBatch:
    """Load an encoding; gives a function that counts the tokens of many texts, as `ends_of` does.

    Raises:
        ImportError: The `tokens` extra isn't installed.
    """
    from splintr import Tokenizer

    try:
        tokenizer = Tokenizer.from_pretrained(name)
    except ValueError as error:
        raise InvalidSpec(f"tokenizer: {error}", field="tokenizer", hint='Give one such as "o200k_base".') from None

    def count(texts: list[str]) -> Sequence[int]:
        try:
            _, offsets = tokenizer.encode_batch_flat(texts)
        except UnicodeEncodeError:  # a lone surrogate, which is reported as an error of the data
            return count([text.encode("utf-8", "replace").decode() for text in texts])
        ends = array("Q", offsets)
        if sys.byteorder == "big":
            ends.byteswap()
        if "|" not in "".join(texts):
            return ends
        counts = [end - start for start, end in pairwise(ends)]
        for place, text in enumerate(texts):
            if "|" in text:  # in training data, <|endoftext|> and the like count as ordinary text
                counts[place] = len(tokenizer.encode_ordinary(text))
        return list(accumulate(counts, initial=0))

    return count


def ends_of(count: Callable[[str], int]) -> CountBatch:
    """Make a function that counts many texts of one that counts one: it gives where each would end, after a 0."""
    return lambda texts: list(accumulate(map(count, texts), initial=0))


class _Remembered:
    """The tokens of texts that rows began with, as system prompts do. It forgets them all when they are too many."""

    def __init__(self) -> None:
        self.tokens: dict[str, list[int]] = {}
        self._room = _REMEMBERED

    def new(self, text: str) -> list[int]:
        """Reserve an entry for a text; its number of tokens is filled in when it is counted."""
        self._room -= len(text) + _ENTRY
        if self._room < 0:
            self.tokens.clear()
            self._room = _REMEMBERED
        place = self.tokens[text] = []
        return place


class _Batch:
    """Texts that are counted in one call, and the rows that they belong to."""

    def __init__(self) -> None:
        self.size = 0
        self.texts: list[str] = []
        self._numbers: list[Sequence[int]] = []
        self._overheads: list[int] = []
        self._ends: list[int] = [0]
        self._known: list[list[int]] = []
        self._new: list[tuple[list[int], int]] = []

    def put(self, rows: list[list[str]], overheads: list[int], numbers: Sequence[int], remembered: _Remembered) -> None:
        """Add the texts of some rows, each with the tokens around them."""
        texts, ends, knowns, known_tokens = self.texts, self._ends, self._known, remembered.tokens
        before = len(texts)
        for own in rows:
            first = own[0] if own else ""
            known = known_tokens.get(first)
            if known is not None:
                texts += own[1:]
                knowns.append(known)
            else:
                if own:
                    self._new.append((remembered.new(first), len(texts)))
                texts += own
                knowns.append(_NONE)
            ends.append(len(texts))
        self._overheads += overheads
        self._numbers.append(numbers)
        self.size += sum(map(len, texts[before:])) + _ROW * len(numbers)

    def counted(self, ends: Sequence[int]) -> Counted:
        """The tokens of each row, given where those of each text end."""
        for place, number in self._new:
            place.append(ends[number + 1] - ends[number])
        bounds = [ends[end] for end in self._ends]
        rows = zip(self._overheads, bounds, bounds[1:], self._known, strict=False)  # the last bound is an end only
        return Counted(self._numbers, [overhead + end - start + known[0] for overhead, start, end, known in rows])


_NONE = [0]


class ExactTally:
    """Counts all texts with a tokenizer.

    Texts that many rows begin with, as system prompts are, are counted once.

    Args:
        batch: Counts the tokens of many texts.
        measure: Finds the texts of a row.
        method: How it counts, for the report.
        known: Whether it is the tokenizer of the model.
        threads: Whether it may count in threads of its own.
    """

    needs_texts = True

    def __init__(self, batch: CountBatch, measure: Measure, method: str, *, known: bool, threads: bool) -> None:
        self._batch = batch
        self._measure = measure
        self._method = method
        self._exact = known
        self._lengths: Counter[int] = Counter()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="tuneway-tokens") if threads else None
        self._filling = _Batch()
        self._waiting: deque[tuple[_Batch, Future[Sequence[int]]]] = deque()
        self._remembered = _Remembered()

    def add_plain(self, plain: Chunk, texts: list[list[str]] | None, format_: Format | None) -> Iterator[Counted]:
        """Count the texts of all rows."""
        assert texts is not None
        overheads = [overhead_of_plain(count, format_) for count in range(max(map(len, texts)) + 1)]
        return self._added(texts, [overheads[len(own)] for own in texts], plain.numbers)

    def add(self, row: Row, line: bytes, *, number: int, offset: int) -> Iterator[Counted]:  # noqa: ARG002  # see `Tally`
        """Count one row."""
        texts, overhead, _, exact = self._measure(row)
        self._exact = self._exact and exact
        return self._added([texts], [overhead], (number,))

    def settle(self) -> Iterator[Counted]:
        """Count what is left."""
        self._submit()
        return self._settle(0)

    def state(self) -> TallyState:
        """The sum, for another process."""
        return TallyState(self._lengths, exact=self._exact)

    def merge(self, state: TallyState) -> None:
        """Add the sum of other rows."""
        self._lengths.update(state.lengths)
        self._exact = self._exact and state.exact

    def total(self) -> TokenCount:
        """Summarise the tokens of all rows."""
        from tuneway.dataset._summary import summary

        return summary(self._lengths, exact=self._exact, method=self._method)

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _added(self, rows: list[list[str]], overheads: list[int], numbers: Sequence[int]) -> Iterator[Counted]:
        self._filling.put(rows, overheads, numbers, self._remembered)
        if self._filling.size >= _BATCH:
            self._submit()
        return self._settle(_WAITING)

    def _submit(self) -> None:
        batch, self._filling = self._filling, _Batch()
        if self._pool is not None:
            counting = self._pool.submit(self._batch, batch.texts)
        else:
            counting = Future()
            counting.set_result(self._batch(batch.texts))
        self._waiting.append((batch, counting))

    def _settle(self, left: int) -> Iterator[Counted]:
        while len(self._waiting) > left:
            batch, counting = self._waiting.popleft()
            counted = batch.counted(counting.result())
            self._lengths.update(counted.tokens)
            yield counted
