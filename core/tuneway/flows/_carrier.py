"""Carriers: where a job has the mark by which a retry finds it again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from tuneway.errors import InvalidSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """Pairs in the job's metadata, which the service keeps and lists.

    Args:
        only: Stay with metadata, also when the service turns out to drop it. Otherwise the mark then goes into the
            suffix.
    """

    only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Suffix:
    """The end of the job's suffix, which the service shows in its list of jobs.

    What is written there are hashes, cut to a share of the digits. With the key alone, a retry finds its job, and
    `reuse="content"` finds the jobs that were made with `reuse="content"`, whose key is made of the content. With the
    content as well, `reuse="content"` finds every job with the same content. With the origin as well,
    `cancel_made_by` finds a requester's jobs.

    Args:
        room: The most characters that a suffix may have.
        marks: What is written there, in this order; always the key.
        length: How many hexadecimal digits all of them have together; 16 if it is the key alone, else 32.
    """

    room: int = 64
    marks: tuple[Literal["key", "content", "origin"], ...] = ("key", "content", "origin")
    length: int | None = None

    @property
    def digits(self) -> int:
        """How many hexadecimal digits the mark has."""
        return self.length or (16 if self.marks == ("key",) else 32)

    @property
    def own_room(self) -> int:
        """The most characters that the user's own suffix may have; a hyphen separates it from the mark."""
        return self.room - self.digits - 1

    @property
    def shares(self) -> Iterator[tuple[str, slice]]:
        """Where each mark stands among the digits."""
        share, start = self.digits // len(self.marks), 0
        for name in self.marks:
            end = start + share + (self.digits % len(self.marks) if start == 0 else 0)
            yield name, slice(start, end)
            start = end

    def check_room(self, own: str) -> None:
        """Check that the user's own suffix leaves room for the mark.

        Raises:
            InvalidSpec: It doesn't. Nothing is cut.
        """
        if len(own) > self.own_room:
            raise InvalidSpec(
                f"suffix: {len(own)} characters leave no room for the mark by which a retry finds its job",
                field="suffix",
                hint=f"Give at most {self.own_room} characters: this service has the mark in the suffix.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """The job's own id, of up to 63 characters, which the client chooses and the service gives only once.

    Args:
        kinds: For methods whose jobs have a collection of their own: what is before the id, such as `dpoJobs/`.
    """

    kinds: Mapping[str, str] = field(default_factory=dict)


Carrier: TypeAlias = Marks | Suffix | Named
