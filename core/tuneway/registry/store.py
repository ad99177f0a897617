"""The registry: models under names, versions under models, aliases that move, and a history that doesn't.

    registry = open_registry("sqlite:///models.db")
    version = registry.register(record, alias="challenger")
    registry.promote("support-router@challenger", gates=[Gate("full_valid_loss", max=0.5)], reason="week 47")
    registry.roll_back("support-router", reason="wrong language")

A reference is `name` (its newest version), `name:3` or `name@champion`.

Registering is idempotent: one version for each name, job and model, so the same call made twice, or by two
processes at once, gives the same version. A version that once received an alias isn't given it again by
a repeated registration: a step retried next month takes nothing back from its successors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from tuneway.errors import GateRefused, InvalidSpec, NotRegistered, RegistryError, RegistryUnavailable
from tuneway.models._curve import CurveRow
from tuneway.registry import _aliases
from tuneway.registry._acts import Act, Jury, parse, user
from tuneway.registry._backend import Backend, Entry, Ledger, Outdated
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

# How often a decision is made anew because somebody else was quicker, before giving up.
_TURNS = 100


class Registry:
    """A model registry on some back end; see `open_registry`.

    Args:
        backend: Where things are kept.
        now: The clock.
    """

    def __init__(self, backend: Backend, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._backend = backend
        self._now = now

    @property
    def uri(self) -> str:
        """Where the registry lives, without credentials."""
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
        """Register a job's model, once; give it an alias, if the gates agree.

        Args:
            record: From `build_record`.
            alias: "champion", "challenger", or a word of your own.
            gates: What the version must show before the alias moves.
            by: Who registers; the user's name when left out.
            reason: Why, for the history.
            curve: Rows of the training's metrics (result file rows or events), for back ends that draw.

        Raises:
            GateRefused: the version is registered, the alias has not moved.
        """
        check_name(record.name)
        if alias is not None:
            check_alias(alias)
        act, jury = self._act(by, reason), Jury(gates)
        rows = list(curve)

        def decide(ledger: Ledger) -> ModelVersion:
            known = ledger.find(record.job_id, record.model_id)
            if known is None:
                return self._add(ledger, record, alias=alias, jury=jury, act=act, curve=rows)
            if alias is None or _aliases.was_given(ledger, alias, known.version):
                return self._view(ledger, known)
            return self._move(ledger, known, alias, jury=jury, act=act)

        return self._until_settled(record.name, decide)

    def get(self, reference: str) -> ModelVersion:
        """One version, by `name` (the newest), `name:version` or `name@alias`."""
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
        """Where a model's aliases point."""
        ledger, _ = self._find(check_name(name))
        return dict(sorted(ledger.aliases.items()))

    def history(self, name: str) -> list[AuditEvent]:
        """Everything that happened to a model, oldest first."""
        ledger, _ = self._find(check_name(name))
        return sorted(ledger.events, key=lambda event: event.seq)

    def set_alias(
        self, reference: str, alias: str, *, gates: Gates = (), by: str | None = None, reason: str | None = None
    ) -> ModelVersion:
        """Let an alias point to a version, if the gates agree; for "champion" see `promote`.

        Raises:
            GateRefused: the alias has not moved; the verdict is stored.
        """
        check_alias(alias)
        act, jury = self._act(by, reason), Jury(gates)
        return self._until_settled(
            reference, lambda ledger: self._move(ledger, self._entry(ledger, reference), alias, jury=jury, act=act)
        )

    def remove_alias(self, name: str, alias: str, *, by: str | None = None, reason: str | None = None) -> None:
        """Let an alias point nowhere."""
        check_alias(alias)
        act = self._act(by, reason)

        def decide(ledger: Ledger) -> None:
            version = ledger.aliases.get(alias)
            if version is None:
                raise self._unknown(ledger, f"{name}@{alias}")
            event = act.event(Action.MOVED, version=version, alias=alias, moves={alias: None})
            self._backend.commit(ledger.name, head=ledger.head, events=[event])

        self._until_settled(check_name(name), decide)

    def promote(
        self, reference: str, *, gates: Gates = (), by: str | None = None, reason: str | None = None
    ) -> ModelVersion:
        """Make a version the champion; a name alone means its challenger.

        The champion so far becomes `previous`. A challenger that is promoted is no longer challenger.

        Raises:
            GateRefused: the champion stays; the verdict is stored.
        """
        if not {"@", ":"} & set(reference):
            reference = f"{reference}@{CHALLENGER}"
        return self.set_alias(reference, CHAMPION, gates=gates, by=by, reason=reason)

    def roll_back(self, name: str, *, by: str | None = None, reason: str | None = None) -> ModelVersion:
        """Bring back the champion before this one; repeated, go further back in the history.

        Versions that were retired or deleted in the meantime are passed over.
        """
        act = self._act(by, reason)

        def decide(ledger: Ledger) -> ModelVersion:
            moves = _aliases.roll_back(ledger)
            target = moves.get(CHAMPION)
            if target is None:
                raise RegistryError(
                    f"{name} had no other champion that could come back",
                    hint="Promote one of its versions.",
                    registry=self.uri,
                )
            event = act.event(Action.ROLLED_BACK, version=target, alias=CHAMPION, moves=moves)
            self._backend.commit(ledger.name, head=ledger.head, events=[event])
            return self._view(self._backend.load(ledger.name), ledger.entries[target])

        return self._until_settled(check_name(name), decide)

    def mark(
        self, reference: str, status: Status | str, *, by: str | None = None, reason: str | None = None
    ) -> ModelVersion:
        """Say that a version's model was retired or deleted, or is active after all.

        Its aliases stay, so that whoever uses one is warned rather than lost; no alias moves to it any more.
        """
        try:
            status = Status(status)
        except ValueError:
            hint = f"One of: {', '.join(Status)}."
            raise InvalidSpec(f"not a status: {status!r}", field="status", hint=hint) from None
        act = self._act(by, reason)

        def decide(ledger: Ledger) -> ModelVersion:
            entry = self._entry(ledger, reference)
            if _aliases.status(ledger, entry.version) is not status:
                event = act.event(Action.MARKED, version=entry.version, status=status)
                self._backend.commit(ledger.name, head=ledger.head, events=[event])
            return self._view(self._backend.load(ledger.name), entry)

        return self._until_settled(reference, decide)

    def find(
        self, *, sha256: str | None = None, job_id: str | None = None, model_id: str | None = None
    ) -> list[ModelVersion]:
        """Every version trained or validated on a file's sha256, made by a job, or known by a model id."""
        if [sha256, job_id, model_id].count(None) != 2:
            raise InvalidSpec("give one of sha256, job_id and model_id", field="find")
        found = self._backend.find(sha256=sha256, job_id=job_id, model_id=model_id)
        ledgers = {name: self._backend.load(name) for name in {name for name, _ in found}}
        places = [(ledgers[name], number) for name, number in found]
        return [self._view(ledger, ledger.entries[number]) for ledger, number in places if number in ledger.entries]

    def lineage(self, reference: str) -> Lineage:
        """Where a version comes from: its data and who shares it, and the tuned models it was tuned from."""
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
        jury: Jury,
        act: Act,
        curve: Sequence[CurveRow],
    ) -> ModelVersion:
        """Commit a new version, with its alias or with the gates' refusal."""
        verdicts = jury.judge(record, self._champion(ledger)) if alias else []
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

    def _move(self, ledger: Ledger, entry: Entry, alias: str, *, jury: Jury, act: Act) -> ModelVersion:
        """Commit an alias's move, or the gates' refusal."""
        status = _aliases.status(ledger, entry.version)
        if status is not Status.ACTIVE:
            raise RegistryError(
                f"{entry.name}:{entry.version} is marked {status}: {alias} can't move to it",
                hint="If it can be used after all, mark it active.",
                registry=self.uri,
            )
        if ledger.aliases.get(alias) == entry.version:
            return self._view(ledger, entry)
        verdicts = jury.judge(entry.record, self._champion(ledger))
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

    def _until_settled(self, reference: str, decide: Callable[[Ledger], T]) -> T:
        """Decide on what is there; when somebody else was quicker, look again and decide again."""
        name = parse(reference)[0]
        for _ in range(_TURNS):
            try:
                return decide(self._backend.load(name, to_write=True))
            except Outdated:
                continue
        raise RegistryUnavailable(
            f"{name}: too much happens to this model at once", hint="Try again.", registry=self.uri
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
        """A version as it stands today."""
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
            hint = f"It knows: {known}." if known else "Nothing is registered there yet."
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
            hint="The verdict is in the model's history. Train a better one, or move the alias without the gate "
            "and say why.",
            version=version,
            verdicts=verdicts,
            registry=self.uri,
        )
