"""Parts of a call on a registry: the reference to a version, who makes the change, and the gates."""

from __future__ import annotations

import getpass
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tuneway._escape import excerpt
from tuneway.errors import InvalidSpec
from tuneway.registry.gates import GateLike, judge
from tuneway.registry.records import Action, AuditEvent, ModelRecord, Verdict, check_name

_REFERENCE = re.compile(r"(?P<name>[^@:]*)(?:@(?P<alias>[^@:]+)|:(?P<version>\d{1,9}))?")


@dataclass(frozen=True)
class Act:
    """Who makes a change, when and why."""

    by: str
    at: datetime
    reason: str | None

    def event(self, action: Action, **details: Any) -> AuditEvent:
        """Make the event for the history."""
        return AuditEvent(by=self.by, at=self.at, reason=self.reason, action=str(action), **details)


class GateCache:
    """Evaluates gates once per champion. So a change that is decided again doesn't evaluate two models again."""

    def __init__(self, gates: Sequence[GateLike]) -> None:
        self._gates = gates
        self._verdicts: dict[int | None, list[Verdict]] = {}

    def judge(self, candidate: ModelRecord, champion: ModelRecord | None) -> list[Verdict]:
        """Give the verdicts, from the cache if the champion is still the same."""
        against = champion.version if champion else None
        if against not in self._verdicts:
            self._verdicts[against] = judge(self._gates, candidate, champion)
        return self._verdicts[against]


def parse(reference: str) -> tuple[str, str | None, int | None]:
    """Split a reference into name, alias and version."""
    found = _REFERENCE.fullmatch(reference)
    if not found:
        raise InvalidSpec(
            f"not a reference to a model: {excerpt(reference)}",
            field="reference",
            hint="Write a reference such as name, name:3 or name@champion.",
        )
    version = found["version"]
    return check_name(found["name"]), found["alias"], int(version) if version else None


def user() -> str:
    """The name of the user who runs this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container whose user has no name
        return "unknown"
