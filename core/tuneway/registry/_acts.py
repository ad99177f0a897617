"""What a call on a registry is made of: the version that is meant, who acts, and the gates that are asked."""

from __future__ import annotations

import getpass
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tuneway.errors import InvalidSpec
from tuneway.registry.gates import GateLike, judge
from tuneway.registry.records import Action, AuditEvent, ModelRecord, Verdict, check_name

_REFERENCE = re.compile(r"(?P<name>[^@:]*)(?:@(?P<alias>[^@:]+)|:(?P<version>\d{1,9}))?")


@dataclass(frozen=True)
class Act:
    """Who does something, when and why."""

    by: str
    at: datetime
    reason: str | None

    def event(self, action: Action, **details: Any) -> AuditEvent:
        """A line of history about it."""
        return AuditEvent(by=self.by, at=self.at, reason=self.reason, action=str(action), **details)


class Jury:
    """Gates, asked once per champion: a decision made anew must not ask two models everything again."""

    def __init__(self, gates: Sequence[GateLike]) -> None:
        self._gates = gates
        self._heard: dict[int | None, list[Verdict]] = {}

    def judge(self, candidate: ModelRecord, champion: ModelRecord | None) -> list[Verdict]:
        """What the gates say, as heard before if the champion is still the same."""
        against = champion.version if champion else None
        if against not in self._heard:
            self._heard[against] = judge(self._gates, candidate, champion)
        return self._heard[against]


def parse(reference: str) -> tuple[str, str | None, int | None]:
    """Take a reference apart: name, alias, version."""
    found = _REFERENCE.fullmatch(reference)
    if not found:
        raise InvalidSpec(
            f"not a reference to a model: {reference!r}",
            field="reference",
            hint="Write name, name:3 or name@champion.",
        )
    version = found["version"]
    return check_name(found["name"]), found["alias"], int(version) if version else None


def user() -> str:
    """Who runs this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container whose user has no name
        return "unknown"
