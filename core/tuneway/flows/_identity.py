"""Who asks for what: the two names by which a job is found again.

*content* is what is trained: the hashes of the data, the model, the method with its hyperparameters, the
seed and the suffix. *key* is that and who asks for it. Both are plain hashes: any process that asks for
the same computes the same, without having talked to any other. The service's address is left out, since
the service itself is asked, and stays the same service under another name or port.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tuneway import calls
from tuneway.errors import InvalidSpec
from tuneway.flows._account import Account
from tuneway.flows._effects import Flow
from tuneway.flows._request import request
from tuneway.models import JobSpec

Reuse = Literal["run", "content", "never"]

KEY, CONTENT, ORIGIN = "tuneway_key", "tuneway_content", "tuneway_origin"
PAIRS, PAIR_LENGTH = 16, 512

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
        if len(own) + len(ours) < PAIRS:
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
    pairs, room = len(own or {}), PAIRS - needed
    if pairs > room:
        raise InvalidSpec(
            f"metadata: {pairs} pairs leave no room for {ours}",
            field="metadata",
            hint=f"Give at most {room} pairs of your own.",
        )


def identify(
    account: Account, spec: JobSpec, *, key: str | None, reuse: Reuse, origin: str | None, nonce: str
) -> Flow[Intent]:
    """Name a wish; asks the service for the hashes that its files carry."""
    what = spec.to_wire()
    what.pop("metadata", None)
    what.pop("integrations", None)
    for field in ("training_file", "validation_file"):
        if what.get(field):
            what[field] = yield from _data_name(account, what[field])
    content = _hash("content", what)
    by_content = reuse == "content" or (reuse == "run" and key is None)
    who = None if by_content else [key, nonce] if reuse == "never" else key
    own = _hash("key", [who, content])
    return Intent(
        key=own,
        content=content,
        origin=origin or key or "python",
        label=CONTENT if by_content else KEY,
        value=content if by_content else own,
    )


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


def _hash(kind: str, value: object) -> str:
    text = json.dumps([kind, 1, value], sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
