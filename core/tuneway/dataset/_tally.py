"""What counts of tokens have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tuneway.dataset._blocks import Chunk
    from tuneway.dataset._formats import Measured
    from tuneway.dataset._report import Format, TokenCount

    Row = dict[str, Any]
    Measure = Callable[[Row], Measured]


class Counted(NamedTuple):
    """The tokens of some rows, and the numbers of their lines in one or more parts."""

    numbers: Sequence[Sequence[int]]
    tokens: Sequence[int]


class TallyState(NamedTuple):
    """The sum of a tally, for another process: how often each length occurs, and what a tally has besides."""

    lengths: dict[int, int]
    more: tuple[dict[int, int], int, int] | None = None
    exact: bool = True


class Tally(Protocol):
    """Adds up the tokens of a file."""

    needs_texts: bool

    def add_plain(self, plain: Chunk, texts: list[list[str]] | None, format_: Format | None) -> Iterable[Counted]:
        """Add rows that contain only texts, at least one row; and the texts of each, if they are needed.

        Gives what is counted by now, of these and earlier ones, where rows may be too long.
        """

    def add(self, row: Row, line: bytes, *, number: int, offset: int) -> Iterable[Counted]:
        """Add any other row. Gives the same."""

    def settle(self) -> Iterable[Counted]:
        """Finish counting. Gives what `add_plain` hasn't given yet."""

    def state(self) -> TallyState:
        """The sum, for another process."""

    def merge(self, state: TallyState) -> None:
        """Add the sum of other rows of the same file."""

    def total(self) -> TokenCount:
        """Summarise the tokens of all rows."""

    def close(self) -> None:
        """End its threads."""
