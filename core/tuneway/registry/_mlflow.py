"""The MLflow back end, on a tracking server or on a database that MLflow can use directly.

Each version is a version in MLflow. Its source is `openai:/<model id>`; its tags contain the lineage, the record and
the history; a run and a logged model have its metrics. MLflow has no transactions, and doesn't keep jobs unique. So
this module builds both on what MLflow has:

* *Atomic commits.* A version is created with all its tags in one request, after the objects that it names. The event
  that moves an alias is written first, marked as pending. Readers treat a pending move as done, and the next writer
  completes it.
* *One version for each job's model.* The server numbers versions in the order of their creation. A process that has
  created a version lists versions again: of several with the same key, the lowest number is valid, and the others
  are deleted with their runs. If a process sees no lower number, there is none: when the server gave its number, all
  lower ones existed. Readers see only the lowest.
* *Aliases.* If two processes move an alias at once, both moves are in the history. The one with the higher event is
  valid, since each writer reads the history again after its writes, and sets what the highest event says.

This requires a server that reads its own writes, so no read replica that lags behind. Aliases that are moved in
MLflow's UI are valid, but not in the history. One case isn't covered: two processes move an alias at once; the one with
the earlier event stops for a while, goes on after the other has finished, and dies before it reads the history again.
Then MLflow has the alias of the earlier event until the next move.
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
from tuneway.registry._backend import Entry, Ledger, Mark, Outdated, read
from tuneway.registry._mlflow_calls import EXISTS, Calls
from tuneway.registry._mlflow_run import KEY, VersionRun, VersionRuns
from tuneway.registry.records import AuditEvent, Kept, ModelRecord

RECORD, EVENT, LOGGED_MODEL = "tuneway.record", "tuneway.event.", "tuneway.logged_model"
OURS = "tuneway"
# How often to read the history until the aliases match it; repeated only while other processes move them too.
_LOOKS = 50


class _Stored(Kept):
    """An event as it is stored in a tag. It is `pending` until its aliases have moved."""

    event: AuditEvent
    pending: bool = False


@dataclass(frozen=True)
class _Line:
    """A stored event and the key of its tag."""

    key: str
    event: AuditEvent
    pending: bool


@dataclass(frozen=True)
class _State:
    """The state of a model in MLflow: its ledger, and what still has to be done.

    `actual` is what the aliases point to in MLflow, `wanted` what they should point to by the history.
    """

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
        """Read all about a name. Before a write, complete what other processes have left."""
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
        """Append events, and a version if there is a record. Without a record there is only one event."""
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
        """The names of all models with the registry's tag, sorted."""
        found = self._calls.pages("search_registered_models", f"tags.{OURS} = 'registry'")
        return sorted(model.name for model in found)

    def find(self, by: Mark, value: str) -> list[tuple[str, int]]:
        """Find versions by their tags."""
        tags = ("tuneway.training.sha256", "tuneway.validation.sha256") if by == "sha256" else (f"tuneway.{by}",)
        found = {
            (version.name, int(version.version))
            for tag in tags
            for version in self._calls.pages("search_model_versions", f"tags.`{tag}` = {_quoted(value)}")
        }
        return sorted(found)

    def _repair(self, state: _State) -> bool:
        """Clean up registrations that were interrupted or lost a race, and complete interrupted moves.

        Returns whether there was anything to do.
        """
        name = state.ledger.name
        unsettled = {rival.tags[KEY] for rival in state.rivals} | VersionRuns(self._calls, name).unfinished()
        for key in unsettled:
            self._settle(name, key)
        pending = any(line.pending for line in state.lines)
        if pending:
            self._align(name, set())
        return pending or bool(unsettled)

    # -- versions

    def _publish(self, record: ModelRecord, events: dict[str, str], curve: Sequence[CurveRow]) -> int:
        """Create a version with all its tags, unless another process was first."""
        name, key = record.name, _key(record)
        try:
            run = VersionRuns(self._calls, name).create(record, key, curve)
            self._mark_model(name)
            tags = _lineage(record) | events | {KEY: key, RECORD: record.to_json(), LOGGED_MODEL: run.model_id}
            version = self._calls(
                "create_model_version",
                name,
                f"openai:/{record.model_id}",
                run.run_id,
                tags=tags,
                await_creation_for=0,
            )
        except RegistryError:
            # The process that won the race may have deleted the run.
            if self._standing(name, key):
                raise Outdated from None
            raise
        if self._settle(name, key) != int(version.version):
            raise Outdated
        return int(version.version)

    def _settle(self, name: str, key: str) -> int | None:
        """Delete all versions with a key except the oldest; returns the number of that one."""
        standing = self._standing(name, key)
        if not standing:
            return None
        winner, *rivals = standing
        for rival in rivals:
            self._calls.unless_missing("delete_model_version", name, str(rival.version))
        number = int(winner.version)
        VersionRuns(self._calls, name).finish(key, VersionRun(winner.run_id, winner.tags[LOGGED_MODEL]), number)
        return number

    def _standing(self, name: str, key: str) -> list[Any]:
        """List all versions with a key, oldest first."""
        found = self._calls.pages("search_model_versions", f"name = '{name}' and tags.`{KEY}` = '{key}'")
        return sorted(found, key=lambda version: int(version.version))

    def _mark_model(self, name: str) -> None:
        """Create the registered model with the registry's tag, or add the tag to an existing one."""
        try:
            self._calls("create_registered_model", name, tags={OURS: "registry"})
        except RegistryError as error:
            if error.code != EXISTS:
                raise
            self._calls("set_registered_model_tag", name, OURS, "registry")

    # -- history and aliases

    def _look(self, name: str) -> _State:
        """Read a model: first its versions with their history, then what its aliases point to."""
        standing: dict[str, Any] = {}
        rivals = []
        found = {int(v.version): v for v in self._calls.pages("search_model_versions", f"name = '{name}'")}
        for _, version in sorted(found.items()):
            if RECORD in version.tags and standing.setdefault(version.tags[KEY], version) is not version:
                rivals.append(version)
        if not found:
            return _State(Ledger(name))
        model = self._calls("get_registered_model", name)
        # some versions of MLflow keep the aliases of a deleted version
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
        """Set aliases to what the history says, until the history and the aliases match."""
        for _ in range(_LOOKS):
            state = self._look(name)
            pending = [line for line in state.lines if line.pending]
            moved |= {alias for line in pending for alias in line.event.moves}
            differing = [alias for alias in sorted(moved) if state.actual.get(alias) != state.wanted.get(alias)]
            if not differing and not pending:
                return
            for alias in differing:
                self._point(name, alias, state.wanted.get(alias))
            for line in pending:
                done = _dump(line.event, pending=False)
                self._calls("set_model_version_tag", name, str(line.event.version), line.key, done)
        raise RegistryUnavailable(
            f"{self.uri}: other processes keep moving the aliases of {name}", hint="Try again.", registry=self.uri
        )

    def _point(self, name: str, alias: str, target: int | None) -> None:
        # if the version or the alias was deleted in the meantime, the next read of the model shows that
        if target is None:
            self._calls.unless_missing("delete_registered_model_alias", name, alias)
        else:
            self._calls.unless_missing("set_registered_model_alias", name, alias, str(target))


def _key(record: ModelRecord) -> str:
    """The hash of name, job and model, by which equal registrations are found."""
    return hashlib.sha256(json.dumps([record.name, record.job_id, record.model_id]).encode()).hexdigest()


def _lineage(record: ModelRecord) -> dict[str, str]:
    """The tags that users can search for in MLflow."""
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
    """Read the events from a version's tags."""
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
