"""Pure functions that decide what aliases point to, given a model's ledger."""

from __future__ import annotations

from tuneway.registry._backend import Ledger
from tuneway.registry.records import CHALLENGER, CHAMPION, PREVIOUS, Action, Status


def moves(ledger: Ledger, alias: str, version: int) -> dict[str, int | None]:
    """The moves of aliases when one moves to a version; 0 stands for a version that is being registered."""
    made: dict[str, int | None] = {alias: version}
    if alias == CHAMPION:
        before = ledger.aliases.get(CHAMPION) or ledger.aliases.get(PREVIOUS)
        made[PREVIOUS] = before if before != version else None
        if ledger.aliases.get(CHALLENGER) == version:
            made[CHALLENGER] = None
    return {name: target for name, target in made.items() if target is not None or name in ledger.aliases}


def roll_back(ledger: Ledger) -> dict[str, int | None]:
    """The moves of aliases that bring back the champion before this one; empty if there is none to bring back."""
    line = [version for version in _champions(ledger) if status(ledger, version) is Status.ACTIVE]
    line = [version for version in line if version in ledger.entries]
    while line and line[-1] == ledger.aliases.get(CHAMPION):
        line.pop()
    if not line:
        return {}
    made: dict[str, int | None] = {CHAMPION: line[-1]}
    if line[:-1]:
        made[PREVIOUS] = line[-2]
    elif PREVIOUS in ledger.aliases:
        made[PREVIOUS] = None
    return made


def was_given(ledger: Ledger, alias: str, version: int) -> bool:
    """Whether an alias has ever moved to a version."""
    return any(event.moves.get(alias) == version for event in ledger.events)


def status(ledger: Ledger, version: int) -> Status:
    """The status that a version was last marked with."""
    marks = [event.status for event in ledger.events if event.version == version and event.status]
    return marks[-1] if marks else Status.ACTIVE


def _champions(ledger: Ledger) -> list[int]:
    """The champions, oldest first, without those that were rolled back."""
    line: list[int] = []
    for event in sorted(ledger.events, key=lambda event: event.seq):
        version = event.moves.get(CHAMPION)
        if version is None:
            continue
        if event.action == Action.ROLLED_BACK and version in line:
            while line[-1] != version:
                line.pop()
        elif line[-1:] != [version]:
            line.append(version)
    return line
