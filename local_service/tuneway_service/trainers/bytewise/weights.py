"""The model's weights: one row for each hashed feature, one column for each symbol of the alphabet.

The model gives each of the 257 symbols (256 bytes and the end) a score, the sum of its weights in the rows of
the features that hold, and the softmax of the scores is its probability. Symbols that never occurred in an
answer all have the same weights at all times (they start at zero and get the same gradients), so the table
keeps one column for the lot of them. That loses nothing and makes the table several times smaller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tuneway_service.trainers.bytewise.features import END, ROWS, blocks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from tuneway_service.trainers.bytewise.features import Block, Cues

    Floats = NDArray[np.float32]

SYMBOLS = END + 1


@dataclass(frozen=True)
class Lesson:
    """An answer in its context: what the model sees, and the symbols that it should say."""

    cues: Cues
    symbols: NDArray[np.int64]


class Weights:
    """The table, and the alphabet that names its columns; the last column is every other symbol."""

    def __init__(self, alphabet: Iterable[int] = ()) -> None:
        self.alphabet = sorted({*alphabet, END})
        size = len(self.alphabet)
        self.table = np.zeros((ROWS, size + 1), np.float32)
        self.columns = np.full(SYMBOLS, size)
        self.columns[self.alphabet] = np.arange(size)
        self.symbols_of_column = np.ones(size + 1, np.float32)
        self.symbols_of_column[size] = SYMBOLS - size

    def widened(self, symbols: Iterable[int]) -> Weights:
        """The same model, with a column of its own for each of these symbols; a copy."""
        wider = Weights({*self.alphabet, *symbols})
        wider.table[:] = self.table[:, np.append(self.columns[wider.alphabet], len(self.alphabet))]
        return wider

    @property
    def untrained(self) -> bool:
        """Whether nothing was ever learned."""
        return not self.table.any()

    def scores(self, block: Block) -> Floats:
        """The score of each column at each position."""
        total: Floats = (self.table[block.rows] * block.scales[:, None]).sum(axis=1)
        if len(self.alphabet) == SYMBOLS:
            total[:, -1] = -np.inf  # no symbol is left for it
        return total

    def log_probabilities(self, block: Block) -> Floats:
        """For each position and column, the logarithm of the probability of *one* of its symbols."""
        scores = self.scores(block)
        top = scores.max(axis=1, keepdims=True)
        scores -= top
        total = (np.exp(scores) * self.symbols_of_column).sum(axis=1, keepdims=True)
        scores -= np.log(total)
        return scores

    def read(self, lesson: Lesson) -> Reading:
        """Have the model say a lesson's answer, without learning from it."""
        log_likelihood, hits, errors = 0.0, 0, []
        for part, block in blocks(lesson.cues, lesson.symbols):
            targets = self.columns[lesson.symbols[part]]
            positions = np.arange(len(targets))
            logs = self.log_probabilities(block)
            log_likelihood += float(logs[positions, targets].sum(dtype=np.float64))
            # To guess the last column is to guess no symbol.
            hits += int(((logs.argmax(axis=1) == targets) & (targets < len(self.alphabet))).sum())
            gradient = np.exp(logs)
            gradient[positions, targets] -= 1
            errors.append((block, gradient))
        return Reading(log_likelihood, hits, errors)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The rows that are not zero: which they are, and their weights."""
        rows = np.flatnonzero(self.table.any(axis=1))
        return {"rows": rows.astype(np.uint32), "weights": self.table[rows]}

    @classmethod
    def from_arrays(cls, alphabet: list[int], rows: NDArray[Any], values: NDArray[Any]) -> Weights:
        """The weights that `to_arrays` gave."""
        weights = cls(alphabet)
        weights.table[rows] = values
        return weights


@dataclass(frozen=True)
class Reading:
    """How the model said an answer: its log-likelihood, symbols guessed right, the gradients of the loss."""

    log_likelihood: float
    hits: int
    errors: list[tuple[Block, Floats]]


class AdaGrad:
    """Steps that shrink, row by row, with the gradients that a row has seen."""

    def __init__(self, columns: int) -> None:
        # Not zero: a row's first gradient, however small, would otherwise make a full step.
        self.energy = np.full(ROWS, 1e-3, np.float32)
        self._gradient = np.zeros((ROWS, columns), np.float32)
        self._touched = np.zeros(ROWS, np.bool_)

    def add(self, reading: Reading, factor: float = 1.0) -> None:
        """Take a reading's gradients, `factor` times, into the next step."""
        for block, errors in reading.errors:
            # Sorting puts the entries of a row side by side; 16 bits let NumPy sort by radix.
            order = np.argsort(block.rows.astype(np.uint16), axis=None, kind="stable")
            rows = block.rows.ravel()[order]
            position, feature = np.divmod(order, len(block.scales))
            entries = errors[position] * (block.scales * np.float32(factor))[feature, None]
            starts = np.flatnonzero(np.diff(rows, prepend=-1))
            self._gradient[rows[starts]] += np.add.reduceat(entries, starts, axis=0)
            self._touched[rows[starts]] = True

    def step(self, weights: Weights, rate: float) -> float:
        """Move the weights against the gradients taken since the last step; return the largest one moved."""
        rows = np.flatnonzero(self._touched)
        gradient = self._gradient[rows]
        self.energy[rows] += (gradient * gradient * weights.symbols_of_column).sum(axis=1)
        moved = weights.table[rows] - np.float32(rate) * gradient / np.sqrt(self.energy[rows])[:, None]
        weights.table[rows] = moved
        self._gradient[rows] = 0
        self._touched[rows] = False
        return float(np.abs(moved).max(initial=0))
