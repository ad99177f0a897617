"""What a back end has to do: keep versions and an append-only history of each model, and find things.

All rules (aliases, gates, roll-back, who may register twice) are in `store.Registry`, once. A back end only
promises four things:

* `commit` is all or nothing: after a crash at any moment, the next reader sees all of it or none;
* one version per (name, job, model), whoever commits at the same time;
* a commit decided on an outdated history is turned away (`Outdated`), so that it is decided again;
* what was committed is there for every reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from pydantic import ValidationError

from tuneway.errors import RegistryError
from tuneway.models._curve import CurveRow
from tuneway.registry.records import AuditEvent, Kept, ModelRecord

K = TypeVar("K", bound=Kept)


class Outdated(Exception):
    """Something was committed since the history was read: read it again, and decide again.

    Never leaves this package: `Registry` takes another turn.
    """


def read(kind: type[K], text: str, what: str) -> K:
    """Read what a registry has stored."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise RegistryError(
            f"{what} can't be read: {error.errors()[0]['msg']}",
            hint="A newer Tuneway may have written it: upgrade this one.",
        ) from None


@dataclass(frozen=True)
class Entry:
    """A version as it is stored; the record is read when somebody asks for it."""

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
    """All that a registry holds about one model name, read at one moment."""

    name: str
    entries: dict[int, Entry] = field(default_factory=dict)
    events: list[AuditEvent] = field(default_factory=list)
    aliases: dict[str, int] = field(default_factory=dict)

    @property
    def head(self) -> int:
        """The number of the last event."""
        return max((event.seq for event in self.events), default=0)

    def find(self, job_id: str, model_id: str) -> Entry | None:
        """The version that holds a job's model."""
        same = (e for e in self.entries.values() if (e.job_id, e.model_id) == (job_id, model_id))
        return next(same, None)


class Backend(Protocol):
    """Where a registry's contents live."""

    uri: str
    """Where that is, without credentials."""

    def load(self, name: str, *, to_write: bool = False) -> Ledger:
        """Read everything about a name; an unknown one is an empty ledger.

        Who is going to write has first completed, or cleared, what a crashed writer left behind.
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
        """Append events, and with a record a version, on a history that still ends at `head`.

        Zeros in the events stand for the new version, whose number is returned. `curve` is drawn by back
        ends that draw.

        Raises:
            Outdated: the history has moved on, or somebody else registered the same job's model.
        """
        ...

    def names(self) -> list[str]:
        """All model names, sorted."""
        ...

    def find(
        self, *, sha256: str | None = None, job_id: str | None = None, model_id: str | None = None
    ) -> list[tuple[str, int]]:
        """Name and version of everything that one of these leads to, sorted."""
        ...
