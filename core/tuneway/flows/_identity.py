"""The key and the content of a job: two hashes by which a retry finds the job again.

*content* is the hash of what is trained: the data's hashes, the model, the method with its hyperparameters, the
seed and the suffix. *key* is the hash of the content and of the requester (`tuneway.requester`). Every process that
asks for the same computes the same hashes, without talking to another process. The service's address isn't hashed:
a service stays the same under another name or port.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from tuneway.choices import Reuse, check_word
from tuneway.errors import InvalidSpec
from tuneway.flows._account import Account
from tuneway.flows._effects import Flow
from tuneway.flows.upload import files_of
from tuneway.models import METADATA_PAIRS, Job, JobSpec
from tuneway.requester import Requester

KEY, CONTENT, ORIGIN = "tuneway_key", "tuneway_content", "tuneway_origin"
PAIR_LENGTH = 512


@dataclass(frozen=True, slots=True)
class Intent:
    """What a submission wants: one job with a key, a content and an origin.

    `label` and `value` are the mark that a job must have to be adopted: the key, or the content with
    `reuse="content"`. If there are two jobs, only one with the same `key` may be cancelled: it was created for the
    same intent.
    """

    key: str
    content: str
    origin: str
    label: str
    value: str

    def marks(self, own: dict[str, str] | None) -> dict[str, str]:
        """The user's metadata with Tuneway's marks. The origin is left out if there is no room for it."""
        own = own or {}
        ours = {KEY: self.key, CONTENT: self.content}
        if len(own) + len(ours) < METADATA_PAIRS:
            ours[ORIGIN] = self.origin[:PAIR_LENGTH]
        return own | ours


def check_room(own: Mapping[str, str] | None, *, keep_origin: bool = False) -> None:
    """Check that the user's metadata leaves room for the marks that the job needs.

    Raises:
        InvalidSpec: There are too many pairs.
    """
    needed, ours = 2, "the two marks by which a retry finds its job"
    if keep_origin:
        needed, ours = 3, "the three marks by which a retry and a cancel find the job"
    pairs, room = len(own or {}), METADATA_PAIRS - needed
    if pairs > room:
        raise InvalidSpec(
            f"metadata: {pairs} pairs leave no room for {ours}",
            field="metadata",
            hint=f"Give at most {room} pairs of your own.",
        )


def identify(account: Account, spec: JobSpec, requester: Requester, *, reuse: Reuse, nonce: str = "") -> Flow[Intent]:
    """Compute the key, the content and the origin. The service is asked which data is in the files.

    Args:
        account: The account to send requests with.
        spec: What to train.
        requester: Who asks.
        reuse: Which existing jobs may be adopted.
        nonce: A value that only this call has. It becomes part of the key with `reuse="never"` if the requester has
            no occasion.
    """
    who = requester.names(check_word(reuse, Reuse, field="reuse"))
    if who is not None and reuse == "never" and not requester.occasion:
        who = {**who, "occasion": nonce}
    what = spec.to_wire()
    what.pop("metadata", None)
    what.pop("integrations", None)
    for field in ("training_file", "validation_file"):
        if what.get(field):
            what[field] = yield from files_of(account).identity(account, what[field])
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
    """Whether this requester has created the job, in this attempt or an earlier one.

    A job with the same content that another requester created, and that this one adopted, isn't its own: it must
    not cancel it. The answer is no as well if the job's marks don't say who created it.
    """
    marks = job.metadata or {}
    content, key, origin = marks.get(CONTENT), marks.get(KEY), marks.get(ORIGIN)
    own: tuple[Reuse, ...] = ("run", "never")
    named = [who for reuse in own if (who := requester.names(reuse)) is not None]
    if content and key in [_key(who, content) for who in named]:
        return True
    return bool(requester.place or requester.mark) and origin == requester.origin[:PAIR_LENGTH]


def _key(who: Mapping[str, str] | None, content: str) -> str:
    return _hash("key", [who, content])


def _hash(kind: str, value: object) -> str:
    text = json.dumps([kind, 1, value], sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
