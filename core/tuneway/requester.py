"""Who asks for a job: the name under which a retry finds it again, and by which a cancel knows it.

Every wrapper fills in a `Requester`; what follows from it (the key for each kind of reuse, the origin mark on the
job, whose job it is) is decided here, once.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tuneway.choices import Reuse

DEPLOYMENT = "TUNEWAY_DEPLOYMENT"
ORIGIN_LENGTH = 512
"""The longest value that services take in a job's metadata."""
PART_LENGTH = 80
"""The longest part of an origin that is too long as a whole. So the run's id and the step's name stay readable."""

_LONE_SLASH = re.compile(r"(?<![^ ])\\*/(?![^ ])")
"""A slash in a part of an origin that would look like the one between two parts, with the backslashes before it."""


def fitting(origin: str, room: int = ORIGIN_LENGTH) -> str:
    """An origin that fits where it is kept. The hash keeps two long ones apart that differ at their ends."""
    if len(origin) <= room:
        return origin
    return f"{origin[: room - 20]}… #{hashlib.sha256(origin.encode()).hexdigest()[:16]}"


def _deployment() -> str | None:
    return os.environ.get(DEPLOYMENT) or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester:
    """Who asks for a job. The same on every retry and in every process, so each of them finds the same job.

    An index of a mapped task or of a call is no part of it: the content, which the key contains, tells those
    apart. Equal content under one step is one job; give each a `key` if you want several.

    Args:
        engine: "airflow", "prefect", "dagster", "python" or "command line".
        deployment: The installation, such as "staging"; else the variable TUNEWAY_DEPLOYMENT. Set it where
            several installations share an account and have pipelines and runs of the same names.
        pipeline: The DAG, flow or asset.
        run: The run, the same for its retries.
        step: The step in the run.
        key: A word of your own, for several jobs of the same content in one step.
        occasion: Tells a deliberate repeat from a retry; only `reuse="never"` looks at it. Without one, each
            call is a repeat.
        mark: The origin mark, where the fields above don't give the one by which a cancel finds the job.
        keep_origin: Insist that the origin mark is kept on the job, since `cancel_made_by` has to find it: then
            13 pairs of metadata are the user's, else 14. A suffix keeps it where it has room, whatever is asked.
    """

    engine: str = "python"
    deployment: str | None = field(default_factory=_deployment)
    pipeline: str | None = None
    run: str | None = None
    step: str | None = None
    key: str | None = None
    occasion: str | None = None
    mark: str | None = None
    keep_origin: bool = False

    @property
    def place(self) -> list[str]:
        """Deployment, pipeline, run, step and key, as far as they are given."""
        return [part for part in (self.deployment, self.pipeline, self.run, self.step, self.key) if part]

    @property
    def origin(self) -> str:
        """The readable form of who asks, kept on the job where there is room.

        The parts stand between slashes with spaces around them. Such a slash inside a part has a backslash, so that
        two requesters of as many parts never have the same origin. If the whole is too long, each long part is cut.
        """
        whole = self._origin_with()
        return whole if len(whole) <= ORIGIN_LENGTH else fitting(self._origin_with(PART_LENGTH))

    def includes(self, origin: str) -> bool:
        """Whether an origin is this requester's own, or that of a step within it.

        A requester with a pipeline and a run, but no step, includes all steps of that run.
        """
        own = {self.origin, self._origin_with(), self._origin_with(PART_LENGTH)}
        return origin in own or origin.startswith(tuple(f"{one} / " for one in own))

    def adopts(self, occasion: str | None, reuse: Reuse) -> bool:
        """Whether a job of an earlier attempt of this requester may be adopted: with "never", only by a retry.

        Args:
            occasion: The occasion of that attempt.
            reuse: Which existing jobs may be adopted.
        """
        return reuse != "never" or (occasion is not None and occasion == self.occasion)

    def names(self, reuse: Reuse) -> Mapping[str, str] | None:
        """The part of a job's key that says who asks; None if the content alone decides.

        That is so for `reuse="content"`, and for a requester who says nothing about itself. The deployment is no
        part of a content's key: content is shared by whoever has it.
        """
        own = {"pipeline": self.pipeline, "run": self.run, "step": self.step, "key": self.key}
        given = {name: value for name, value in own.items() if value}
        if reuse == "content" or (reuse == "run" and not given):
            return None
        if reuse == "never":
            given["occasion"] = self.occasion or ""
        if self.deployment:
            given["deployment"] = self.deployment
        return {"engine": self.engine, **given}

    def _origin_with(self, longest: int | None = None) -> str:
        """The origin, with each part cut to this length."""
        if self.mark is not None:
            return self.mark
        parts = [_LONE_SLASH.sub(r"\\\g<0>", part) for part in self.place]
        if longest is not None:
            parts = [fitting(part, longest) for part in parts]
        return f"{self.engine}: {' / '.join(parts)}" if parts else self.engine
