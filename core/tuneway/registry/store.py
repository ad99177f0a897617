"""The registry: models with versions, aliases that move between versions, and a history that is only appended to.

    registry = open_registry("sqlite:///models.db")
    version = registry.register(record, alias="challenger")
    registry.promote("support-router@challenger", gates=[Gate("full_valid_loss", max=0.5)], reason="week 47")
    registry.roll_back("support-router", reason="wrong language")

A reference is `name` (its newest version), `name:3` or `name@champion`.

Registering is idempotent: there is one version for each name, job and model. So the same call made twice, or by two
processes at once, gives the same version. If a version has had an alias before, a repeated registration doesn't move
the alias to it again: so a step that is retried a month later doesn't take the alias from newer versions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from tuneway._escape import excerpt
from tuneway.errors import GateRefused, InvalidSpec, NotRegistered, RegistryError, RegistryUnavailable
from tuneway.models._curve import CurveRow
from tuneway.registry import _aliases
from tuneway.registry._acts import Act, GateCache, parse, user
from tuneway.registry._backend import Backend, Entry, Ledger, Mark, Outdated
from tuneway.registry.gates import GateLike
from tuneway.registry.records import (
    CHALLENGER,
    CHAMPION,
    Action,
    AuditEvent,
    Lineage,
    ModelRecord,
    ModelVersion,
    Status,
    Verdict,
    check_alias,
    check_name,
    shutdown_warning,
)

T = TypeVar("T")
Gates = Sequence[GateLike]

# How often a change is decided again because another process was faster.
_ATTEMPTS = 100


class Registry:
    """A model registry; made by `open_registry`.

    Args:
        backend: The store for its contents.
        now: The clock.
    """

    def __init__(self, backend: Backend, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._backend = backend
        self._now = now

    @property
    def uri(self) -> str:
        """The registry's URI, without credentials."""
        return self._backend.uri

    def register(
        self,
        record: ModelRecord,
        *,
        alias: str | None = None,
        gates: Gates = (),
        by: str | None = None,
        reason: str | None = None,
        curve: Iterable[CurveRow] = (),
    ) -> ModelVersion:
        """Register a job's model once, and move an alias to it if all gates pass.

        Args:
            record: The record, from `build_record`.
            alias: "champion", "challenger", or a name of your own.
            gates: Conditions that the version must meet before the alias moves.
            by: Who registers; the default is the user's name.
            reason: The reason, for the history.
            curve: The training's metrics by step (rows of the result file, or events), for back ends that draw charts.

        Raises:
            GateRefused: The version is registered, but the alias has not moved.
        """
        check_name(record.name)
        if alias is not None:
            check_alias(alias)
        act, gate_cache = self._act(by, reason), GateCache(gates)
        rows = list(curve)

        def decide(ledger: Ledger) -> ModelVersion:
            known = ledger.find(record.job_id, record.model_id)
            if known is None:
                return self._add(ledger, record, alias=alias, gate_cache=gate_cache, act=act, curve=rows)
            if alias is None or _aliases.was_given(ledger, alias, known.version):
                return self._view(ledger, known)
            return self._move(ledger, known, alias, gate_cache=gate_cache, act=act)

        return self._retry_if_outdated(record.name, decide)

    def get(self, reference: str) -> ModelVersion:
        """Get one version by `name` (the newest), `name:version` or `name@alias`."""
        ledger, entry = self._find(reference)
        return self._view(ledger, entry)

    def models(self) -> list[ModelVersion]:
        """The newest version of every model."""
        return [self.get(name) for name in self._backend.names()]

    def versions(self, name: str) -> list[ModelVersion]:
        """All versions of a model, newest first."""
        ledger, _ = self._find(check_name(name))
        return [self._view(ledger, ledger.entries[number]) for number in sorted(ledger.entries, reverse=True)]

    def aliases(self, name: str) -> dict[str, int]:
        """A model's aliases, and the versions that they point to."""
        ledger, _ = self._find(check_name(name))
        return dict(sorted(ledger.aliases.items()))

    def history(self, name: str) -> list[AuditEvent]:
        """The events of a model's history, oldest first."""
        ledger, _ = self._find(check_name(name))
        return sorted(ledger.events, key=lambda event: event.seq)

    def set_alias(
        self, reference: str, alias: str, *, gates: Gates = (), by: str | None = None, reason: str | None = None
    ) -> ModelVersion:
        """Move an alias to a version if all gates pass; for "champion" see `promote`.

        Raises:
            GateRefused: The alias has not moved; the verdicts are stored.
        """
        check_alias(alias)
        act, gate_cache = self._act(by, reason), GateCache(gates)
        return self._retry_if_outdated(
            reference,
            lambda ledger: self._move(ledger, self._entry(ledger, reference), alias, gate_cache=gate_cache, act=act),
        )

    def remove_alias(self, name: str, alias: str, *, by: str | None = None, reason: str | None = None) -> None:
        """Remove an alias."""
        check_alias(alias)
        act = self._act(by, reason)

        def decide(ledger: Ledger) -> None:
            version = ledger.aliases.get(alias)
            if version is None:
                raise self._unknown(ledger, f"{name}@{alias}")
            event = act.event(Action.MOVED, version=version, alias=alias, moves={alias: None})
            self._backend.commit(ledger.name, head=ledger.head, events=[event])

        self._retry_if_outdated(check_name(name), decide)

    def promote(
        self, reference: str, *, gates: Gates = (), by: str | None = None, reason: str | None = None
    ) -> ModelVersion:
        """Make a version the champion. For a name without version or alias, that is its challenger.

        The old champion becomes `previous`. A challenger that is promoted is no longer the challenger.

        Raises:
            GateRefused: The champion stays; the verdicts are stored.
        """
        if not {"@", ":"} & set(reference):
            reference = f"{reference}@{CHALLENGER}"
        return self.set_alias(reference, CHAMPION, gates=gates, by=by, reason=reason)

    def roll_back(self, name: str, *, by: str | None = None, reason: str | None = None) -> ModelVersion:
        """Bring back the champion before this one. Each further call goes back by one more.

        Versions that are marked as retired or deleted are skipped.
        """
        act = self._act(by, reason)

        def decide(ledger: Ledger) -> ModelVersion:
            moves = _aliases.roll_back(ledger)
            target = moves.get(CHAMPION)
            if target is None:
                raise RegistryError(
                    f"{name} has no earlier champion to bring back",
                    hint="Promote one of its versions.",
                    registry=self.uri,
                )
            event = act.event(Action.ROLLED_BACK, version=target, alias=CHAMPION, moves=moves)
            self._backend.commit(ledger.name, head=ledger.head, events=[event])
            return self._view(self._backend.load(ledger.name), ledger.entries[target])

        return self._retry_if_outdated(check_name(name), decide)

    def mark(
        self, reference: str, status: Status | str, *, by: str | None = None, reason: str | None = None
    ) -> ModelVersion:
        """Mark a version as retired, deleted or active.

        Its aliases stay, so that users of an alias get a warning instead of an error. New aliases can't move to it
        until it is marked active again.
        """
        try:
            status = Status(status)
        except ValueError:
            hint = f"Give one of: {', '.join(Status)}."
            raise InvalidSpec(f"not a status: {excerpt(status)}", field="status", hint=hint) from None
        act = self._act(by, reason)

        def decide(ledger: Ledger) -> ModelVersion:
            entry = self._entry(ledger, reference)
            if _aliases.status(ledger, entry.version) is not status:
                event = act.event(Action.MARKED, version=entry.version, status=status)
                self._backend.commit(ledger.name, head=ledger.head, events=[event])
            return self._view(self._backend.load(ledger.name), entry)

        return self._retry_if_outdated(reference, decide)

    def find(
        self, *, sha256: str | None = None, job_id: str | None = None, model_id: str | None = None
    ) -> list[ModelVersion]:
        """Find versions by the sha256 of a data file, by the job, or by the model's id."""
        asked: dict[Mark, str | None] = {"sha256": sha256, "job_id": job_id, "model_id": model_id}
        given = [(by, value) for by, value in asked.items() if value is not None]
        if len(given) != 1:
            raise InvalidSpec("give one of sha256, job_id and model_id", field="find")
        found = self._backend.find(*given[0])
        ledgers = {name: self._backend.load(name) for name in {name for name, _ in found}}
        places = [(ledgers[name], number) for name, number in found]
        return [self._view(ledger, ledger.entries[number]) for ledger, number in places if number in ledger.entries]

    def lineage(self, reference: str) -> Lineage:
        """What a version was tuned from, and which versions use the same data."""
        version = self.get(reference)
        ancestors: list[ModelVersion] = []
        seen, base = {version.model_id}, version.record.base_model
        while base and base not in seen:
            seen.add(base)
            parents = self.find(model_id=base)
            ancestors += parents[:1]
            base = parents[0].record.base_model if parents else None
        files = [file for file in (version.record.training, version.record.validation) if file and file.sha256]
        siblings = {
            file.sha256: [other for other in self.find(sha256=file.sha256) if other.ref != version.ref]
            for file in files
            if file.sha256
        }
        return Lineage(version=version, ancestors=ancestors, siblings=siblings)

    # -- decisions

    def _add(
        self,
        ledger: Ledger,
        record: ModelRecord,
        *,
        alias: str | None,
        gate_cache: GateCache,
        act: Act,
        curve: Sequence[CurveRow],
    ) -> ModelVersion:
        """Commit a new version, with the move of its alias or the refusal of the gates."""
        verdicts = gate_cache.judge(record, self._champion(ledger)) if alias else []
        refused = [verdict for verdict in verdicts if not verdict.passed]
        moves = _aliases.moves(ledger, alias, 0) if alias and not refused else {}
        events = [act.event(Action.REGISTERED, alias=alias, moves=moves, verdicts=[] if refused else verdicts)]
        if refused:
            events.append(act.event(Action.REFUSED, alias=alias, verdicts=verdicts))
        number = self._backend.commit(record.name, head=ledger.head, events=events, record=record, curve=curve)
        after = self._backend.load(record.name)
        version = self._view(after, after.entries[number or 0]).model_copy(update={"new": True})
        if refused and alias:
            raise self._refusal(version, alias, refused, verdicts)
        return version

    def _move(self, ledger: Ledger, entry: Entry, alias: str, *, gate_cache: GateCache, act: Act) -> ModelVersion:
        """Commit the move of an alias, or the refusal of the gates."""
        status = _aliases.status(ledger, entry.version)
        if status is not Status.ACTIVE:
            raise RegistryError(
                f"{entry.name}:{entry.version} is marked {status}: {alias} can't move to it",
                hint="If the model can be used, mark it active.",
                registry=self.uri,
            )
        if ledger.aliases.get(alias) == entry.version:
            return self._view(ledger, entry)
        verdicts = gate_cache.judge(entry.record, self._champion(ledger))
        refused = [verdict for verdict in verdicts if not verdict.passed]
        event = act.event(
            Action.REFUSED if refused else Action.MOVED,
            version=entry.version,
            alias=alias,
            moves={} if refused else _aliases.moves(ledger, alias, entry.version),
            verdicts=verdicts,
        )
        self._backend.commit(ledger.name, head=ledger.head, events=[event])
        version = self._view(self._backend.load(ledger.name), entry)
        if refused:
            raise self._refusal(version, alias, refused, verdicts)
        return version

    def _retry_if_outdated(self, reference: str, decide: Callable[[Ledger], T]) -> T:
        """Decide on a change. If another process was faster, read the registry again and decide again."""
        name = parse(reference)[0]
        for _ in range(_ATTEMPTS):
            try:
                return decide(self._backend.load(name, to_write=True))
            except Outdated:
                continue
        raise RegistryUnavailable(
            f"{name}: other processes keep changing this model", hint="Try again.", registry=self.uri
        )

    # -- looking things up

    def _find(self, reference: str) -> tuple[Ledger, Entry]:
        ledger = self._backend.load(parse(reference)[0])
        return ledger, self._entry(ledger, reference)

    def _entry(self, ledger: Ledger, reference: str) -> Entry:
        _, alias, version = parse(reference)
        newest = max(ledger.entries, default=None)
        number = ledger.aliases.get(alias) if alias else newest if version is None else version
        if number is None or number not in ledger.entries:
            raise self._unknown(ledger, reference)
        return ledger.entries[number]

    def _champion(self, ledger: Ledger) -> ModelRecord | None:
        entry = ledger.entries.get(ledger.aliases.get(CHAMPION, 0))
        return entry.record if entry else None

    def _view(self, ledger: Ledger, entry: Entry) -> ModelVersion:
        """Give a version with its present state."""
        record = entry.record
        status = _aliases.status(ledger, entry.version)
        marked = f"{record.ref} is marked {status}" if status is not Status.ACTIVE else None
        ending = shutdown_warning(record, self._now().date())
        judged = [event.verdicts for event in ledger.events if event.version == entry.version and event.verdicts]
        return ModelVersion(
            record=record,
            aliases=sorted(alias for alias, number in ledger.aliases.items() if number == entry.version),
            status=status,
            verdicts=judged[-1] if judged else [],
            warnings=[warning for warning in (marked, ending) if warning],
        )

    def _act(self, by: str | None, reason: str | None) -> Act:
        return Act(by or user(), self._now(), reason)

    def _unknown(self, ledger: Ledger, reference: str) -> NotRegistered:
        if not ledger.entries:
            known = ", ".join(self._backend.names()[:20])
            hint = f"It has the models: {known}." if known else "It has no models yet."
        else:
            aliases = ", ".join(f"@{alias}" for alias in sorted(ledger.aliases)) or "none"
            hint = f"{ledger.name} has versions up to {max(ledger.entries)}; its aliases: {aliases}."
        return NotRegistered(f"{reference} isn't in the registry {self.uri}", hint=hint, registry=self.uri)

    def _refusal(
        self, version: ModelVersion, alias: str, refused: Sequence[Verdict], verdicts: list[Verdict]
    ) -> GateRefused:
        reasons = "; ".join(f"{verdict.gate}: {verdict.why}" for verdict in refused)
        return GateRefused(
            f"{version.ref} is registered but may not become {alias}: {reasons}",
            hint="The verdicts are in the model's history. Train a better model, or move the alias without the gate "
            "and give a reason.",
            version=version,
            verdicts=verdicts,
            registry=self.uri,
        )
