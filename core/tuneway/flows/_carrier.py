"""Carriers: where a job has the mark by which a retry finds it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class Marks:
    """Pairs in the job's metadata, which the service keeps and lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suffix:
    """The end of the job's suffix, which the service shows in its list of jobs.

    Args:
        room: The most characters that a suffix may have.
        marks: What is written there, in this order: the key alone, or the key and the content.
    """

    room: int = 64
    marks: tuple[Literal["key", "content"], ...] = ("key", "content")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """The job's own id, which the client chooses and the service gives only once.

    Args:
        room: The most characters that an id may have.
    """

    room: int = 63


Carrier: TypeAlias = Marks | Suffix | Named
