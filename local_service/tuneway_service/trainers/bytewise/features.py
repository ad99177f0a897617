"""The features of the model: hashes, each the number of a row of weights.

The next byte of an answer has two kinds of features:

- *n-grams* of the answer so far: its last 0, 1, 2, 3, 4, 6, 9 and 13 bytes (its start counts as a byte);
- *cues*: words of the conversation, each combined with the answer's last 6 bytes. There are three groups: the last
  message (words, pairs of words, starts of long words), the turns before it, and the instructions.

Long texts are shortened, so that the time per byte is bounded. Of a message, the first and last 2,000 characters are
read, and of these the first and last 64 words; of older turns and of instructions, fewer words. After the first 512
bytes of an answer, only the n-grams are used.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tuneway_service.trainers.conversation import encoded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tuneway_service.trainers.conversation import Context

    Hashes = NDArray[np.uint64]

VERSION = 1
"""Increases when a change here makes older weights useless."""

END = 256
"""The symbol after an answer's last byte; smaller symbols are bytes."""

N_GRAM_ROWS = 1 << 14
CUE_ROWS = (1 << 16) - N_GRAM_ROWS
ROWS = N_GRAM_ROWS + CUE_ROWS

CUED_BYTES = 512
_ORDERS = (0, 1, 2, 3, 4, 6, 9, 13)
_CROSSED = _ORDERS.index(6)
_PAST = max(_ORDERS)
_CLIP = 2000  # characters that are read at each end of a text
_BLOCK = 64  # positions of an answer that are computed together, which limits the memory

# In scripts without spaces between words (Thai to Lao, kana, Han, Hangul), each character counts as a word.
_DENSE = r"\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_DENSE}]|[^\W{_DENSE}]+|[^\w\s]")


@dataclass(frozen=True)
class Cues:
    """The features that a context adds to every position of its answer."""

    hashes: Hashes
    scales: NDArray[np.float32]


@dataclass(frozen=True)
class Block:
    """The features of consecutive positions: `rows[position, feature]`, with each feature's value in `scales`."""

    rows: NDArray[np.int64]
    scales: NDArray[np.float32]


class Past:
    """The end of an answer during generation: what the n-grams of its next byte need."""

    def __init__(self) -> None:
        self._items = deque(_beginning(), maxlen=_PAST)
        self._length = 0

    def append(self, symbol: int) -> None:
        """Append the next byte of the answer."""
        self._items.append(symbol + 1)
        self._length += 1

    def block(self, cues: Cues) -> Block:
        """The features of the next byte."""
        hashes = _n_grams(np.array(self._items, np.uint64), 1)
        return _block(hashes, cues if self._length < CUED_BYTES else _NO_CUES)


def blocks(cues: Cues, symbols: NDArray[np.int64]) -> Iterator[tuple[slice, Block]]:
    """The features of every symbol of an answer, in blocks of positions."""
    history = np.concatenate([np.array(_beginning(), np.uint64), symbols[:-1].astype(np.uint64) + np.uint64(1)])
    hashes = _n_grams(history, len(symbols))
    for start in range(0, len(symbols), _BLOCK):
        part = slice(start, min(start + _BLOCK, len(symbols)))
        yield part, _block(hashes[part], cues if start < CUED_BYTES else _NO_CUES)


def read_cues(context: Context) -> Cues:
    """The cues of a context."""
    groups = [_group("instructions", _words(context.instructions, 32), 1.0)]
    if context.turns:
        *before, last = context.turns
        words = [word for turn in before for word in _words(turn.text, 16)]
        groups.append(_group("before", words[-64:], 1.0))
        groups.append(_group(f"last {last.role}", _words(last.text, 128), 2.0, pairs=True))
    hashes, scales = zip(*((cues.hashes, cues.scales) for cues in groups), strict=True)
    return Cues(np.concatenate(hashes), np.concatenate(scales))


def _group(name: str, words: list[str], weight: float, *, pairs: bool = False) -> Cues:
    """The words as cues that share `weight`, so that a long message has no more influence than a short one."""
    texts = set(words)
    if pairs:
        texts |= {f"{a} {b}" for a, b in itertools.pairwise(words)}
        texts |= {f"{word[:5]}-" for word in words if len(word) > 5}
    if not texts:
        return _NO_CUES
    seed = zlib.crc32(encoded(name))
    # Sorted, so that sums have the same order in every process.
    hashes = np.array(sorted(zlib.crc32(encoded(text), seed) for text in texts), np.uint64)
    return Cues(_mix(hashes), np.full(len(hashes), weight / np.sqrt(len(hashes)), np.float32))


def _words(text: str, limit: int) -> list[str]:
    if len(text) > 2 * _CLIP:
        text = f"{text[:_CLIP]} {text[-_CLIP:]}"
    words = _WORD.findall(text.casefold())
    return words if len(words) <= limit else words[: limit // 2] + words[-limit // 2 :]


def _beginning() -> list[int]:
    """The items before an answer's first byte. Bytes count from 1 here; END never occurs inside of an answer."""
    return [0] * (_PAST - 1) + [END + 1]


def _n_grams(history: Hashes, count: int) -> Hashes:
    """For each of the last `count` positions and each order, the hash of the items before it."""
    hashes = np.empty((count, len(_ORDERS)), np.uint64)
    rolling = np.zeros(count, np.uint64)
    for length in range(_PAST + 1):
        if length:
            end = len(history) - length + 1
            rolling = rolling * np.uint64(0x9E3779B97F4A7C15) + history[end - count : end]
        if length in _ORDERS:
            hashes[:, _ORDERS.index(length)] = rolling + np.uint64(length)
    return _mix(hashes)


def _block(n_grams: Hashes, cues: Cues) -> Block:
    crossed = _mix(n_grams[:, _CROSSED, None] ^ cues.hashes)
    rows = np.concatenate([_reduce(n_grams, N_GRAM_ROWS), N_GRAM_ROWS + _reduce(crossed, CUE_ROWS)], axis=1)
    return Block(rows, np.concatenate([_N_GRAM_SCALES, cues.scales]))


def _mix(hashes: Hashes) -> Hashes:
    """Mix the bits (the finaliser of splitmix64); unsigned arrays overflow silently."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))


def _reduce(hashes: Hashes, size: int) -> NDArray[np.int64]:
    """Map hashes to numbers below `size`."""
    return (((hashes >> np.uint64(32)) * np.uint64(size)) >> np.uint64(32)).astype(np.int64)


_N_GRAM_SCALES = np.ones(len(_ORDERS), np.float32)
_NO_CUES = Cues(np.empty(0, np.uint64), np.empty(0, np.float32))
