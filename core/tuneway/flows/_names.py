"""The names of jobs on services where the client chooses them: `tw-KEY-CONTENT-GENERATION`.

Whoever asks for the same computes the same name, and the service gives a name to one job only. Fireworks allows 63 of
`[a-z0-9-]`, so the key is cut to 24 digits. The content is whole: jobs with the same content are found by it. Failed
and cancelled attempts are counted by the generation. A service with a collection for each kind of job has the kind
before the name: `dpoJobs/tw-…`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tuneway.flows._identity import Intent
from tuneway.flows._marks import CONTENT, KEY

BEGINNING = "tw-"
KEY_DIGITS = 24

_NAME = re.compile(
    rf"(?P<kind>(?:\w+/)?)tw-(?P<key>[0-9a-f]{{{KEY_DIGITS}}})-(?P<content>[0-9a-f]{{32}})-(?P<number>[0-9]+)"
)


@dataclass(frozen=True, slots=True)
class Names:
    """The names of the jobs for one intent.

    Args:
        kind: The kind of job with a slash, or "" where the service has one collection for all.
        key: The beginning of the intent's key.
        content: The intent's content.
    """

    kind: str
    key: str
    content: str

    @classmethod
    def of(cls, intent: Intent, kind: str = "") -> Names:
        """Give the names for an intent."""
        return cls(kind, intent.key[:KEY_DIGITS], intent.content)

    def name(self, generation: int) -> str:
        """The name of the job that is this many attempts after the first."""
        return f"{self.kind}tw-{self.key}-{self.content}-{generation}"

    def generation(self, job_id: str) -> int | None:
        """The generation of a job with this intent; None for all other jobs."""
        found = _NAME.fullmatch(job_id)
        if found is None or found.group("kind", "key", "content") != (self.kind, self.key, self.content):
            return None
        return int(found["number"])

    def same_content(self, job_id: str) -> bool:
        """Whether a job of this kind has the same content, whoever created it."""
        found = _NAME.fullmatch(job_id)
        return found is not None and found.group("kind", "content") == (self.kind, self.content)


def marks_in_name(job_id: str) -> Mapping[str, str]:
    """The marks that a job's name has; empty if Tuneway didn't choose it."""
    found = _NAME.fullmatch(job_id)
    return {KEY: found["key"], CONTENT: found["content"]} if found else {}
