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
from tuneway.flows._carrier import Suffix
from tuneway.flows._effects import Flow
from tuneway.flows._marks import CONTENT, KEY, ORIGIN, has, has_origin, hash_of, in_suffix
from tuneway.flows.upload import files_of
from tuneway.models import METADATA_PAIRS, Job, JobSpec, TrainingSpec
from tuneway.requester import Requester

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

    def suffix(self, carrier: Suffix, own: str | None) -> str:
        """The user's suffix with Tuneway's marks."""
        return in_suffix(carrier, own, {"key": self.key, "content": self.content, "origin": hash_of(self.origin)})

    def suits(self, job: Job) -> bool:
        """Whether a job may be adopted."""
        return has(job, self.label, self.value) or self.made(job)

    def made(self, job: Job) -> bool:
        """Whether a job was created for the same intent, so that it may be cancelled as a double."""
        content = (job.metadata or {}).get(CONTENT)
        return has(job, KEY, self.key) and (not content or has(job, CONTENT, self.content))

    def completed(self, job: Job) -> Job:
        """The job with the whole of each mark of which it has the beginning."""
        whole = {
            mark: value
            for mark, value in ((KEY, self.key), (CONTENT, self.content))
            if (job.metadata or {}).get(mark) != value and (has(job, mark, value) or self.made(job))
        }
        return job.model_copy(update={"metadata": (job.metadata or {}) | whole}) if whole else job


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


def check_suffix(account: Account, training: TrainingSpec) -> None:
    """Check that the user's suffix leaves room for the mark, where the suffix carries it.

    Raises:
        InvalidSpec: It is too long.
    """
    own = (training.extra_body or {}).get("suffix", training.suffix)
    if isinstance(account.marking, Suffix) and isinstance(own, str):
        account.marking.check_room(own)


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


def own_keys(requester: Requester, content: str) -> list[str]:
    """The keys of jobs with this content that only this requester makes: none if it says nothing about itself."""
    own: tuple[Reuse, ...] = ("run", "never") if requester.occasion else ("run",)
    named = [who for reuse in own if (who := requester.names(reuse)) is not None]
    return [_key(who, content) for who in named]


def made_by(job: Job, requester: Requester, *, mark: str | None = None) -> bool:
    """Whether this requester has created the job, in this attempt or an earlier one.

    A job with the same content that another requester created, and that this one adopted, isn't its own: it must
    not cancel it. The answer is no as well if the job's marks don't say who created it.

    Args:
        job: The job.
        requester: Who asks.
        mark: The mark of `progress.CreatePlanned`, if it was stored. It is needed on services where a job's suffix has
            no room for more than the key.
    """
    if mark is not None and has(job, KEY, mark):
        return True
    content = (job.metadata or {}).get(CONTENT)
    if content and any(has(job, KEY, key) for key in own_keys(requester, content)):
        return True
    return bool(requester.place or requester.mark) and has_origin(job, requester.origin[:PAIR_LENGTH])


def made_within(job: Job, requester: Requester) -> bool:
    """Whether this requester has created the job, or a step within it.

    It is for a step that knows the run it is part of, but not the step that created the job.
    """
    if made_by(job, requester):
        return True
    origin = (job.metadata or {}).get(ORIGIN)
    return bool(requester.place or requester.mark) and origin is not None and requester.includes(origin)


def _key(who: Mapping[str, str] | None, content: str) -> str:
    return _hash("key", [who, content])


def _hash(kind: str, value: object) -> str:
    text = json.dumps([kind, 1, value], sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
