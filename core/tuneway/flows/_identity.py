"""Who asks for what: the two names by which a job is found again.

*content* is what is trained: the hashes of the data, the model, the method with its hyperparameters, the seed and
the suffix. *key* is that, and who asks for it (`tuneway.requester`). Both are plain hashes: every process that asks
for the same computes the same, without having talked to any other. The service's address is no part of them: the
service itself is asked, and it stays the same service under another name or port.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tuneway import calls
from tuneway.errors import InvalidSpec
from tuneway.flows._account import Account
from tuneway.flows._effects import Flow
from tuneway.flows._request import request
from tuneway.models import METADATA_PAIRS, Job, JobSpec
from tuneway.requester import Requester, Reuse, check_reuse

KEY, CONTENT, ORIGIN = "tuneway_key", "tuneway_content", "tuneway_origin"
PAIR_LENGTH = 512

HASH_IN_NAME = re.compile(r"\.sha256-([0-9a-f]{64})(?=\.|$)")


@dataclass(frozen=True, slots=True)
class Intent:
    """One wish for one job.

    `label` and `value` are the metadata pair by which a job that will do is recognised. Only jobs that
    carry the same `key` were made for this very wish, and may be cancelled when there are two.
    """

    key: str
    content: str
    origin: str
    label: str
    value: str

    def marks(self, own: dict[str, str] | None) -> dict[str, str]:
        """The user's metadata with ours added; what is only good to read gives way to a full set."""
        own = own or {}
        ours = {KEY: self.key, CONTENT: self.content}
        if len(own) + len(ours) < METADATA_PAIRS:
            ours[ORIGIN] = self.origin[:PAIR_LENGTH]
        return own | ours


def check_room(own: Mapping[str, str] | None, *, keep_origin: bool = False) -> None:
    """See that the user's metadata leaves room for the marks that must be on the job.

    Raises:
        InvalidSpec: It doesn't.
    """
    needed, ours = 2, "the two by which a retry finds its job"
    if keep_origin:
        needed, ours = 3, "the three by which a retry and a cancel find the job"
    pairs, room = len(own or {}), METADATA_PAIRS - needed
    if pairs > room:
        raise InvalidSpec(
            f"metadata: {pairs} pairs leave no room for {ours}",
            field="metadata",
            hint=f"Give at most {room} pairs of your own.",
        )


def identify(account: Account, spec: JobSpec, requester: Requester, *, reuse: Reuse, nonce: str = "") -> Flow[Intent]:
    """Name a wish; asks the service for the hashes that its files carry.

    Args:
        account: Whom to ask.
        spec: What to train.
        requester: Who asks.
        reuse: Which existing jobs will do.
        nonce: Tells this call from every other, where nothing is reused and the requester doesn't tell repeats apart.
    """
    who = requester.names(check_reuse(reuse))
    if who is not None and reuse == "never" and not requester.occasion:
        who = {**who, "occasion": nonce}
    what = spec.to_wire()
    what.pop("metadata", None)
    what.pop("integrations", None)
    for field in ("training_file", "validation_file"):
        if what.get(field):
            what[field] = yield from _data_name(account, what[field])
    content = _hash("content", what)
    own = _key(who, content)
    return Intent(
        key=own,
        content=content,
        origin=requester.origin,
        label=CONTENT if who is None else KEY,
        value=content if who is None else own,
    )


def made_by(job: Job, requester: Requester) -> bool:
    """Whether this requester has made the job, in this try or in an earlier one.

    A job that it only adopted, since another made it of the same content, is not its own: its cancel leaves the
    job alone. Marks that don't tell count as no.
    """
    marks = job.metadata or {}
    content, key, origin = marks.get(CONTENT), marks.get(KEY), marks.get(ORIGIN)
    own: tuple[Reuse, ...] = ("run", "never")
    named = [who for reuse in own if (who := requester.names(reuse)) is not None]
    if content and key in [_key(who, content) for who in named]:
        return True
    return bool(requester.place or requester.mark) and origin == requester.origin[:PAIR_LENGTH]


def hash_in(filename: str | None) -> str | None:
    """The sha256 that an uploaded file's name carries."""
    found = HASH_IN_NAME.search(filename or "")
    return found[1] if found else None


def name_with_hash(filename: str, sha256: str) -> str:
    """Let a file's name carry its hash: `train.jsonl` → `train.sha256-….jsonl`."""
    stem, dot, suffix = filename.rpartition(".")
    return f"{stem}.sha256-{sha256}.{suffix}" if dot else f"{filename}.sha256-{sha256}"


def _data_name(account: Account, file_id: str) -> Flow[str]:
    """What a file holds, if its name tells; else which file it is."""
    file = yield from request(account, calls.files.retrieve(file_id))
    sha256 = hash_in(file.filename)
    return f"sha256:{sha256}" if sha256 else f"file:{file_id}"


def _key(who: Mapping[str, str] | None, content: str) -> str:
    return _hash("key", [who, content])


def _hash(kind: str, value: object) -> str:
    text = json.dumps([kind, 1, value], sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
