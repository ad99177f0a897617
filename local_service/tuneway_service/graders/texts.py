"""The similarity of two texts, from 0 to 1, by several metrics.

The texts come from clients. Memory grows with their length and not with its square. The longest common subsequence
takes time by the product of both lengths, so it calls `tick` now and then, which may raise.
"""

from __future__ import annotations

import math
import re
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Final, TypeAlias

from tuneway_service.graders.templates import TextTooLong

WORD = re.compile(r"\w+", re.UNICODE)
LONGEST = 2**18
"""Upper bound on the characters of a text that is compared."""
BAND = 2**14
ROWS_A_TICK = 2**12

Tick: TypeAlias = Callable[[], None]


def similarity(metric: str, text: str, reference: str, *, tick: Tick = lambda: None) -> float:
    """The similarity by a metric of `SIMILARITIES`; raises `TextTooLong`, and whatever `tick` raises."""
    if max(len(text), len(reference)) > LONGEST:
        raise TextTooLong(f"a text to compare has more than {LONGEST} characters")
    tick()
    return SIMILARITIES[metric](text, reference, tick)


def words(text: str) -> list[str]:
    """The words, in lower case."""
    return WORD.findall(text.lower())


def grams(tokens: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    """How often each n-gram occurs, `size` words long."""
    return Counter(tuple(tokens[start : start + size]) for start in range(len(tokens) - size + 1))


def common_length(one: Sequence[str], other: Sequence[str], *, tick: Tick = lambda: None) -> int:
    """The length of the longest common subsequence, by a bit-parallel algorithm: one integer is a row of the table.

    The table is worked out in bands of `BAND` columns. What is handed from band to band is one carry for each row.
    """
    if len(one) < len(other):
        one, other = other, one
    carries = bytearray(len(other))
    return sum(_band(one[start : start + BAND], other, carries, tick) for start in range(0, len(one), BAND))


def _band(columns: Sequence[str], rows: Sequence[str], carries: bytearray, tick: Tick) -> int:
    width = len(columns)
    masks: dict[str, int] = {}
    for place, token in enumerate(columns):
        masks[token] = masks.get(token, 0) | 1 << place
    full = row = (1 << width) - 1
    for number, token in enumerate(rows):
        if number % ROWS_A_TICK == 0:
            tick()
        matches = row & masks.get(token, 0)
        if matches or carries[number]:
            total = row + matches + carries[number]
            carries[number] = total >> width
            row = (total | row - matches) & full
    return width - row.bit_count()


def _f1(hits: float, given: int, wanted: int) -> float:
    return 2 * hits / (given + wanted) if given + wanted else 1.0


def fuzzy_match(text: str, reference: str, tick: Tick) -> float:
    """Twice the length of the longest common subsequence of characters, divided by both lengths."""
    return _f1(common_length(text, reference, tick=tick), len(text), len(reference))


def rouge_n(text: str, reference: str, _: Tick, *, size: int) -> float:
    """F1 of the n-grams that both texts have, `size` words long."""
    ours, theirs = grams(words(text), size), grams(words(reference), size)
    if not ours and not theirs:
        return float(words(text) == words(reference))
    return _f1((ours & theirs).total(), ours.total(), theirs.total())


def rouge_l(text: str, reference: str, tick: Tick) -> float:
    """F1 of the longest common subsequence of words."""
    ours, theirs = words(text), words(reference)
    return _f1(common_length(ours, theirs, tick=tick), len(ours), len(theirs))


def bleu(text: str, reference: str, _: Tick) -> float:
    """The geometric mean of the precisions of 1- to 4-grams, smoothed by adding one, times the brevity penalty."""
    ours, theirs = words(text), words(reference)
    if not ours or not theirs:
        return float(ours == theirs)
    total = 0.0
    sizes = range(1, min(4, len(ours)) + 1)
    for size in sizes:
        runs = grams(ours, size)
        hits = (runs & grams(theirs, size)).total()
        if size == 1 and not hits:
            return 0.0
        share = hits / runs.total() if size == 1 else (hits + 1) / (runs.total() + 1)
        total += math.log(share) / len(sizes)
    brevity = min(0.0, 1 - len(theirs) / len(ours))
    return math.exp(brevity + total)


def gleu(text: str, reference: str, _: Tick) -> float:
    """The smaller of precision and recall over all 1- to 4-grams."""
    ours, theirs = words(text), words(reference)
    hits = given = wanted = 0
    for size in range(1, 5):
        mine, yours = grams(ours, size), grams(theirs, size)
        hits += (mine & yours).total()
        given += mine.total()
        wanted += yours.total()
    return hits / max(given, wanted) if max(given, wanted) else 1.0


def meteor(text: str, reference: str, _: Tick) -> float:
    """Matches weighted towards recall, minus a penalty for their order. Words match exactly, without synonyms."""
    ours, theirs = words(text), words(reference)
    if not ours or not theirs:
        return float(ours == theirs)
    pairs = _aligned(ours, theirs)
    if not pairs:
        return 0.0
    precision, recall = len(pairs) / len(ours), len(pairs) / len(theirs)
    mean = precision * recall / (0.9 * precision + 0.1 * recall)
    chunks = 1 + sum(b[0] != a[0] + 1 or b[1] != a[1] + 1 for a, b in pairwise(pairs))
    penalty = 0.5 * (chunks / len(pairs)) ** 3 if chunks > 1 else 0.0
    return mean * (1 - penalty)


def _aligned(ours: Sequence[str], theirs: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of positions of the same word, each used once; pairs that continue the order are preferred."""
    free: dict[str, deque[int]] = {}
    for place, word in enumerate(theirs):
        free.setdefault(word, deque()).append(place)
    used: set[int] = set()
    pairs: list[tuple[int, int]] = []
    for place, word in enumerate(ours):
        follows = pairs[-1][1] + 1 if pairs else 0
        if follows < len(theirs) and theirs[follows] == word and follows not in used:
            chosen = follows
        else:
            choices = free.get(word, deque())
            while choices and choices[0] in used:
                choices.popleft()
            if not choices:
                continue
            chosen = choices[0]
        used.add(chosen)
        pairs.append((place, chosen))
    return pairs


# `cosine` is refused by name: it needs an embedding model, which this service doesn't have.
SIMILARITIES: Final[dict[str, Callable[[str, str, Tick], float]]] = {
    "fuzzy_match": fuzzy_match,
    "bleu": bleu,
    "gleu": gleu,
    "meteor": meteor,
    **{f"rouge_{size}": partial(rouge_n, size=size) for size in range(1, 6)},
    "rouge_l": rouge_l,
}

CHECKS: Final[dict[str, Callable[[str, str], bool]]] = {
    "eq": lambda text, reference: text == reference,
    "ne": lambda text, reference: text != reference,
    "like": lambda text, reference: reference in text,
    "ilike": lambda text, reference: reference.lower() in text.lower(),
}
