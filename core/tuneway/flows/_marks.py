"""The marks on a job: how they are written into its suffix, and read from there.

A job's marks are pairs of its metadata. Where they are in its suffix, they are moved when a reply is read: they are
added to the metadata, and taken away from the suffix. So all that follows sees the same job on every service. In a
suffix a mark is only the beginning of its hash.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from tuneway.flows._carrier import Suffix
from tuneway.models import Job, Page
from tuneway.requester import fitting

KEY, CONTENT, ORIGIN = "tuneway_key", "tuneway_content", "tuneway_origin"
ORIGIN_HASH = "tuneway_origin_hash"
"""The pair for the beginning of the origin's hash, where there is no room for the origin itself."""

NAME_LENGTH = 63
"""The longest name, and the longest origin, that services take where the client names jobs."""

RESERVED = "tuneway_"
SHORTEST = 10
"""The fewest digits of a hash by which two are taken for the same."""

_PAIRS = {"key": KEY, "content": CONTENT, "origin": ORIGIN_HASH}

T = TypeVar("T")


def has(job: Job, mark: str, value: str) -> bool:
    """Whether a job has this mark, or the beginning of it."""
    found = (job.metadata or {}).get(mark) or ""
    return len(found) >= SHORTEST and value.startswith(found)


def has_key(job: Job, key: str) -> bool:
    """Whether a job was created with this key, as far as it shows."""
    return has(job, KEY, key)


def has_origin(job: Job, origin: str) -> bool:
    """Whether a job has this origin, or the beginning of its hash."""
    found = (job.metadata or {}).get(ORIGIN)
    return found in (origin, fitting(origin, NAME_LENGTH)) or has(job, ORIGIN_HASH, hash_of(origin))


def unmarked(job: Job) -> bool:
    """Whether a job has nobody's marks."""
    return not any(name.startswith(RESERVED) for name in job.metadata or {})


def suffix_shown(job: Job) -> str | None:
    """The suffix of a job as the service shows it; OpenAI has another name for it."""
    shown = job.suffix or (job.model_extra or {}).get("user_provided_suffix")
    return shown if isinstance(shown, str) and shown else None


def hash_of(origin: str) -> str:
    """The hash of an origin, for a suffix."""
    return hashlib.sha256(origin.encode()).hexdigest()


def in_suffix(carrier: Suffix, own: str | None, hashes: Mapping[str, str]) -> str:
    """Give the suffix to send: the user's own, and the marks after it.

    Args:
        carrier: Which marks there are, and how much room.
        own: The user's own suffix.
        hashes: The marks' whole hashes: "key", "content" and "origin".
    """
    mark = "".join(hashes[name][: share.stop - share.start] for name, share in carrier.shares)
    return f"{own}-{mark}" if own else mark


def read(carrier: object, reply: T) -> T:
    """Move the marks of all jobs in a reply from the suffix into the metadata."""
    if not isinstance(carrier, Suffix):
        return reply
    if isinstance(reply, Job):
        return cast("T", _moved(carrier, reply))
    if isinstance(reply, Page):
        data = [_moved(carrier, item) if isinstance(item, Job) else item for item in reply.data]
        return cast("T", reply.model_copy(update={"data": data}))
    return reply


def _moved(carrier: Suffix, job: Job) -> Job:
    shown, digits = suffix_shown(job), rf"(?P<mark>[0-9a-f]{{{carrier.digits}}})"
    if shown is not None:
        found = re.fullmatch(rf"(?:(?P<own>.*)-)?{digits}", shown, re.DOTALL)
    else:  # some services show the suffix only in the name of the model
        found = re.fullmatch(rf".*(?<![0-9a-z]){digits}(?![0-9a-z]).*", job.fine_tuned_model or "", re.DOTALL)
    if found is None or found["mark"] in (job.model or ""):  # a model that was tuned before has the mark of its own job
        return job
    marks = {_PAIRS[name]: found["mark"][share] for name, share in carrier.shares}
    update: dict[str, Any] = {"metadata": marks | (job.metadata or {}), "suffix": found.groupdict().get("own")}
    return job.model_copy(update=update)
