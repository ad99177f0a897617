"""The protocol of back ends: store versions and an append-only history for each model, and find versions.

All rules (aliases, gates, roll-back, repeated registration) are in `store.Registry`. A back end only guarantees:

* `commit` is atomic: after a crash at any moment, the next reader sees all of it or nothing.
* There is one version for each name, job and model, even if several processes commit at the same time.
* A commit that was decided on an outdated history is refused (`Outdated`), so that it is decided again.
* All readers see what was committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

from pydantic import ValidationError

from tuneway.errors import RegistryError
from tuneway.models._curve import CurveRow
from tuneway.registry.records import AuditEvent, Kept, ModelRecord

K = TypeVar("K", bound=Kept)
Mark = Literal["sha256", "job_id", "model_id"]
"""By what a version is found: the hash of a data file, its job, or its model."""


class Outdated(Exception):
    """Another commit came after the history was read, so it must be read again, and the change decided again.

    `Registry` catches it; it isn't raised to users.
    """


def read(kind: type[K], text: str, what: str) -> K:
    """Parse a stored object."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise RegistryError(
            f"{what} can't be read: {error.errors()[0]['msg']}",
            hint="A newer version of Tuneway may have written it. Upgrade this one.",
        ) from None


@dataclass(frozen=True)
class Entry:
    """A stored version. Its record is parsed on access."""

    name: str
    version: int
    job_id: str
    model_id: str
    text: str

    @property
    def record(self) -> ModelRecord:
        """The record, with its version."""
        record = read(ModelRecord, self.text, f"the record of {self.name}:{self.version}")
        return record.model_copy(update={"name": self.name, "version": self.version})


@dataclass(frozen=True)
class Ledger:
    """All that a registry has about one model name at one moment: versions, history and aliases."""

    name: str
    entries: dict[int, Entry] = field(default_factory=dict)
    events: list[AuditEvent] = field(default_factory=list)
    aliases: dict[str, int] = field(default_factory=dict)

    @property
    def head(self) -> int:
        """The number of the last event."""
        return max((event.seq for event in self.events), default=0)

    def find(self, job_id: str, model_id: str) -> Entry | None:
        """Find the version for a job's model."""
        same = (e for e in self.entries.values() if (e.job_id, e.model_id) == (job_id, model_id))
        return next(same, None)


class Backend(Protocol):
    """A store for a registry's contents."""

    uri: str
    """The registry's URI, without credentials."""

    def load(self, name: str, *, to_write: bool = False) -> Ledger:
        """Read all about a name. An unknown name has an empty ledger.

        With `to_write`, first complete or remove what a crashed writer has left.
        """
        ...

    def commit(
        self,
        name: str,
        *,
        head: int,
        events: Sequence[AuditEvent],
        record: ModelRecord | None = None,
        curve: Sequence[CurveRow] = (),
    ) -> int | None:
        """Append events, and a version if there is a record, if the history still ends at `head`.

        Zeros in the events stand for the new version, whose number is returned. `curve` is for back ends that
        draw charts.

        Raises:
            Outdated: The history has changed, or another process has registered the model of the same job.
        """
        ...

    def names(self) -> list[str]:
        """All model names, sorted."""
        ...

    def find(self, by: Mark, value: str) -> list[tuple[str, int]]:
        """Find versions by one of these; gives their names and numbers, sorted."""
        ...
