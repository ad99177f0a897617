"""The MLflow back end: a tracking server, or a database that MLflow can use directly.

A version here is a version there: its source is `openai:/<model id>`, tags carry its lineage, its record and
its history, and a run and a logged model hold its metrics. MLflow has no transactions and no unique jobs, so
both are made from what it does have:

* *All or nothing.* A version is created with all its tags in one request, after everything that it names. For
  an alias, the event that moves it is written first, marked as pending; readers take a pending move for
  made, and the next writer makes it.
* *One version per job's model.* Version numbers come from the server in the order of their creation. Whoever
  has created a version looks once more: of several with the same key the lowest number stands, and whoever
  sees the others deletes them, with their runs. A creator that sees no lower number can be sure that there
  is none: the server gave its number when all lower ones were there. Readers see only the lowest.
* *Aliases.* Two moves at once are both in the history; the one with the higher event stands, since each writer
  looks again after its own writes and sets what the highest event says.

This holds for servers that read what they wrote: not behind a read replica that lags. Aliases moved in
MLflow's own UI count, but are not in the history. What isn't covered: of two moves at once, the earlier
one's writer stalls, wakes after the later has finished, and dies before its last look; then MLflow shows
the earlier one's alias until the next move.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tuneway.errors import RegistryError, RegistryUnavailable
from tuneway.models._curve import CurveRow
from tuneway.registry._backend import Entry, Ledger, Outdated, read
from tuneway.registry._mlflow_calls import EXISTS, Calls
from tuneway.registry._mlflow_run import KEY, Drawing, Drawings
from tuneway.registry.records import AuditEvent, Kept, ModelRecord

RECORD, EVENT, LOGGED_MODEL = "tuneway.record", "tuneway.event.", "tuneway.logged_model"
OURS = "tuneway"
# Looks until aliases stand still; more are only needed while others move them too.
_LOOKS = 50


class _Stored(Kept):
    """An event as its tag holds it; `pending` while its aliases may not have moved yet."""

    event: AuditEvent
    pending: bool = False


@dataclass(frozen=True)
class _Line:
    """A stored event and its place."""

    key: str
    event: AuditEvent
    pending: bool


@dataclass(frozen=True)
class _State:
    """One look at a model: its ledger, and what is still to do."""

    ledger: Ledger
    versions: dict[int, Any] = field(default_factory=dict)
    rivals: list[Any] = field(default_factory=list)
    lines: list[_Line] = field(default_factory=list)
    actual: dict[str, int] = field(default_factory=dict)
    wanted: dict[str, int | None] = field(default_factory=dict)


class MlflowBackend:
    """A registry on MLflow.

    Args:
        target: A tracking server's address, or a database URI such as `sqlite:///mlflow.db`.
    """

    def __init__(self, target: str) -> None:
        self._calls = Calls(target)
        self.uri = self._calls.uri

    def load(self, name: str, *, to_write: bool = False) -> Ledger:
        """Read everything about a name; before a write, finish what others have begun."""
        state = self._look(name)
        if to_write and state.versions and self._repair(state):
            state = self._look(name)
        return state.ledger

    def commit(
        self,
        name: str,
        *,
        head: int,
        events: Sequence[AuditEvent],
        record: ModelRecord | None = None,
        curve: Sequence[CurveRow] = (),
    ) -> int | None:
        """Append events, and with a record a version; without one, a single event."""
        state = self._look(name)
        if state.ledger.head != head:
            raise Outdated
        tags = {
            f"{EVENT}{seq:08d}.{secrets.token_hex(4)}": _dump(event, pending=bool(event.moves))
            for seq, event in enumerate(events, start=head + 1)
        }
        version = None
        if record:
            if state.ledger.find(record.job_id, record.model_id):
                raise Outdated
            version = self._publish(record, tags, curve)
        else:
            for (key, value), event in zip(tags.items(), events, strict=True):
                self._calls("set_model_version_tag", name, str(event.version), key, value)
        moved = {alias for event in events for alias in event.moves}
        if moved:
            self._align(name, moved)
        return version

    def names(self) -> list[str]:
        """The names of all models with the registry's mark, sorted."""
        found = self._calls.pages("search_registered_models", f"tags.{OURS} = 'registry'")
        return sorted(model.name for model in found)

    def find(
        self, *, sha256: str | None = None, job_id: str | None = None, model_id: str | None = None
    ) -> list[tuple[str, int]]:
        """Look something up by its tags."""
        if sha256 is not None:
            wanted = {f"tuneway.{role}.sha256": sha256 for role in ("training", "validation")}
        else:
            wanted = {"tuneway.job_id": job_id} if job_id is not None else {"tuneway.model_id": model_id or ""}
        found = {
            (version.name, int(version.version))
            for tag, value in wanted.items()
            for version in self._calls.pages("search_model_versions", f"tags.`{tag}` = {_quoted(value)}")
        }
        return sorted(found)

    def _repair(self, state: _State) -> bool:
        """Settle registrations that were cut short or lost a race, complete moves that were cut short.

        Returns whether there was something to do.
        """
        name = state.ledger.name
        unsettled = {rival.tags[KEY] for rival in state.rivals} | Drawings(self._calls, name).unfinished()
        for key in unsettled:
            self._settle(name, key)
        pending = any(line.pending for line in state.lines)
        if pending:
            self._align(name, set())
        return pending or bool(unsettled)

    # -- versions

    def _publish(self, record: ModelRecord, events: dict[str, str], curve: Sequence[CurveRow]) -> int:
        """Create a version with all its tags, unless somebody else was first."""
        name, key = record.name, _key(record)
        try:
            drawing = Drawings(self._calls, name).draw(record, key, curve)
            self._mark_model(name)
            tags = _lineage(record) | events | {KEY: key, RECORD: record.to_json(), LOGGED_MODEL: drawing.model_id}
            version = self._calls(
                "create_model_version",
                name,
                f"openai:/{record.model_id}",
                drawing.run_id,
                tags=tags,
                await_creation_for=0,
            )
        except RegistryError:
            # Who lost a race may find that the winner has swept the run away.
            if self._standing(name, key):
                raise Outdated from None
            raise
        if self._settle(name, key) != int(version.version):
            raise Outdated
        return int(version.version)

    def _settle(self, name: str, key: str) -> int | None:
        """Let the oldest version with a key stand alone; returns its number."""
        standing = self._standing(name, key)
        if not standing:
            return None
        winner, *rivals = standing
        for rival in rivals:
            self._calls.unless_missing("delete_model_version", name, str(rival.version))
        number = int(winner.version)
        Drawings(self._calls, name).finish(key, Drawing(winner.run_id, winner.tags[LOGGED_MODEL]), number)
        return number

    def _standing(self, name: str, key: str) -> list[Any]:
        """All versions with a key, oldest first."""
        found = self._calls.pages("search_model_versions", f"name = '{name}' and tags.`{KEY}` = '{key}'")
        return sorted(found, key=lambda version: int(version.version))

    def _mark_model(self, name: str) -> None:
        """Make the registered model; one that others have made is marked as ours too."""
        try:
            self._calls("create_registered_model", name, tags={OURS: "registry"})
        except RegistryError as error:
            if error.code != EXISTS:
                raise
            self._calls("set_registered_model_tag", name, OURS, "registry")

    # -- history and aliases

    def _look(self, name: str) -> _State:
        """Read a model: versions with their history first, then where its aliases point."""
        standing: dict[str, Any] = {}
        rivals = []
        found = {int(v.version): v for v in self._calls.pages("search_model_versions", f"name = '{name}'")}
        for _, version in sorted(found.items()):
            if RECORD in version.tags and standing.setdefault(version.tags[KEY], version) is not version:
                rivals.append(version)
        if not found:
            return _State(Ledger(name))
        model = self._calls("get_registered_model", name)
        # some versions of MLflow let the aliases of a deleted version point to nothing
        actual = {alias: int(version) for alias, version in model.aliases.items() if int(version) in found}
        versions = {int(version.version): version for version in standing.values()}
        lines = sorted((line for version in versions.values() for line in _lines(version)), key=lambda line: line.key)
        wanted: dict[str, int | None] = {}
        pending: dict[str, int | None] = {}
        for line in lines:
            for alias, target in line.event.moves.items():
                wanted[alias] = target if target in found else None
                pending.pop(alias, None)
                if line.pending:
                    pending[alias] = wanted[alias]
        aliases = {alias: target for alias, target in (actual | pending).items() if target is not None}
        entries = {number: _entry(version) for number, version in versions.items()}
        ledger = Ledger(name, entries, [line.event for line in lines], aliases)
        return _State(ledger, versions, rivals, lines, actual, wanted)

    def _align(self, name: str, moved: set[str]) -> None:
        """Let aliases point where the history says, until a look finds that they do."""
        for _ in range(_LOOKS):
            state = self._look(name)
            pending = [line for line in state.lines if line.pending]
            moved |= {alias for line in pending for alias in line.event.moves}
            astray = [alias for alias in sorted(moved) if state.actual.get(alias) != state.wanted.get(alias)]
            if not astray and not pending:
                return
            for alias in astray:
                self._point(name, alias, state.wanted.get(alias))
            for line in pending:
                done = _dump(line.event, pending=False)
                self._calls("set_model_version_tag", name, str(line.event.version), line.key, done)
        raise RegistryUnavailable(
            f"{self.uri}: the aliases of {name} don't stand still", hint="Try again.", registry=self.uri
        )

    def _point(self, name: str, alias: str, target: int | None) -> None:
        # where the version or the alias has gone in the meantime, the next look sees it
        if target is None:
            self._calls.unless_missing("delete_registered_model_alias", name, alias)
        else:
            self._calls.unless_missing("set_registered_model_alias", name, alias, str(target))


def _key(record: ModelRecord) -> str:
    """What makes two registrations the same: name, job and model."""
    return hashlib.sha256(json.dumps([record.name, record.job_id, record.model_id]).encode()).hexdigest()


def _lineage(record: ModelRecord) -> dict[str, str]:
    """What somebody might search for in MLflow, as tags of its own."""
    facts = {
        "job_id": record.job_id,
        "model_id": record.model_id,
        "base_model": record.base_model,
        "trainer": record.trainer,
        "service_url": record.service_url,
        "git_commit": record.git.commit if record.git else None,
        "origin": record.origin.text if record.origin else None,
    }
    for role, file in (("training", record.training), ("validation", record.validation)):
        facts |= {f"{role}.file": file.id, f"{role}.sha256": file.sha256} if file else {}
    return {f"tuneway.{name}": value for name, value in facts.items() if value}


def _entry(version: Any) -> Entry:
    tags = version.tags
    return Entry(version.name, int(version.version), tags["tuneway.job_id"], tags["tuneway.model_id"], tags[RECORD])


def _lines(version: Any) -> list[_Line]:
    """The events on a version's tags."""
    lines = []
    for key, value in version.tags.items():
        if key.startswith(EVENT):
            stored = read(_Stored, value, f"the history of {version.name}")
            seq = int(key.removeprefix(EVENT).partition(".")[0])
            event = stored.event.placed(seq=seq, version=int(version.version))
            lines.append(_Line(key, event, stored.pending))
    return lines


def _dump(event: AuditEvent, *, pending: bool) -> str:
    return _Stored(event=event, pending=pending).model_dump_json(exclude_defaults=True)


def _quoted(value: str) -> str:
    return f'"{value}"' if "'" in value else f"'{value}'"
