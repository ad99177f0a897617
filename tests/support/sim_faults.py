"""What can go wrong with one request, and how much of it a schedule has: for the simulator."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from support.fake_service import refuse

from tuneway.calls import Response
from tuneway.choices import Reuse
from tuneway.errors import ConnectionFailed, ConnectionLost, RequestTimeout, TransportError

WINDOW = 20.0
"""The settle window of all clients."""


@dataclass(frozen=True)
class SimFault:
    """How an exchange goes: whether the service acts, and what the client gets instead of its answer.

    `acts` is "never", "at once", "late": when the client has already given up, or "twice": at once, and again later.
    """

    name: str
    acts: str = "at once"
    error: type[TransportError] | None = None
    instead: Response | None = None
    cut: bool = False

    def heard(self, honest: Response | None) -> Response | TransportError:
        """What the client gets."""
        if self.error is not None:
            return self.error(self.name)
        if self.instead is not None:
            return self.instead
        assert honest is not None
        return Response(honest.status, honest.headers, honest.content[:-7]) if self.cut else honest


FINE = SimFault("fine")
LOST_BEFORE = SimFault("lost before", "never", ConnectionLost)
LOST_AFTER = SimFault("lost after", error=ConnectionLost)
LATE = SimFault("late", "late", RequestTimeout)
TROUBLES = (
    LOST_BEFORE,
    LOST_AFTER,
    LATE,
    SimFault("refused", "never", ConnectionFailed),
    SimFault("timed out after", error=RequestTimeout),
    SimFault("429", "never", instead=refuse(429, "slow down")),
    SimFault("429 with a pause", "never", instead=refuse(429, "slow down", **{"retry-after": "3"})),
    SimFault("503 before", "never", instead=refuse(503, "in trouble")),
    SimFault("503 after", instead=refuse(503, "in trouble")),
    SimFault("409 after", instead=refuse(409, "busy")),
    SimFault("408 after", instead=refuse(408, "too slow")),
    SimFault("cut reply", cut=True),
    SimFault("a proxy's page", "never", instead=Response(200, {"content-type": "text/html"}, b"<html>Sign in</html>")),
)
TWICE = SimFault("twice", "twice")
"""Something between the client and the service sends the request again. Without marks there is no telling."""

BY_NAME = {fault.name: fault for fault in (FINE, *TROUBLES, TWICE)}
assert len(BY_NAME) == len(TROUBLES) + 2


LIMITS: dict[str, dict[str, Any]] = {"dropped": {"clients": 1, "reuse": ("run",), "crashes": 0, "late": WINDOW}}
"""What isn't drawn with a carrier. A job without marks is known only to the process that made it, and only in time."""


@dataclass(frozen=True)
class Scenario:
    """How bad a schedule is. Drawn from its seed; printed by a replay.

    The carrier isn't drawn. "dropped" is a service that drops the metadata, where the marks are.
    """

    clients: int
    reuse: tuple[Reuse, ...]
    trouble_on_create: float
    trouble_on_look: float
    crash: float
    crashes: int
    tries: int
    lag: float
    late: float
    pause: float
    apart: float
    filters_metadata: bool
    tells_has_more: bool
    page_cap: int
    honours_idempotency: bool
    stamps_on_receipt: bool
    clock_skew: float
    others: tuple[str, ...]
    fate: str
    follows: bool
    shares: bool
    resumes: bool
    deadline: float | None
    carrier: str = "metadata"
    deletes: str = "never"
    ends_slowly: bool = False

    @property
    def within_guarantee(self) -> bool:
        """Whether the service shows what a request has done within the window after the request has ended.

        Names don't need that, but that nobody deletes a dead job in the moment in which the next one is created.
        """
        return self.deletes != "at any time" if self.carrier == "named" else self.late <= WINDOW

    def with_deletes(self, rng: random.Random) -> Scenario:
        """Draw what a person does with dead jobs, and whether a cancel takes its time."""
        deletes = rng.choice(("never", "when it is quiet", "when it is quiet", "at any time"))
        return replace(self, deletes=deletes, ends_slowly=rng.random() < 0.5)

    @classmethod
    def draw(cls, rng: random.Random) -> Scenario:
        """Draw one: most schedules are bad in a few ways, some in all."""
        draw: Callable[[float], bool] = lambda chance: rng.random() < chance  # noqa: E731
        clients = rng.choice((1, 2, 2, 2, 2, 3))
        way: Reuse = rng.choice(("run", "run", "run", "content", "never"))
        reuse = (way,) * clients if draw(0.85) else tuple(rng.choice(("run", "content")) for _ in range(clients))
        return cls(
            clients=clients,
            reuse=reuse,
            trouble_on_create=rng.choice((0.0, 0.2, 0.5, 0.8)),
            trouble_on_look=rng.choice((0.0, 0.0, 0.1, 0.4, 0.7)),
            crash=rng.choice((0.0, 0.03, 0.1, 0.3)),
            crashes=rng.choice((1, 2, 4)),
            tries=rng.choice((2, 3, 5)),
            lag=rng.choice((0.0, 1.0, WINDOW, WINDOW)),
            late=rng.choice((1.0, WINDOW, WINDOW, WINDOW, 4 * WINDOW)),
            pause=rng.choice((0.0, 0.0, 0.02, 0.1)),
            apart=rng.choice((0.1, 2.0, 2.0, 15.0, 60.0)),
            filters_metadata=draw(0.75),
            tells_has_more=draw(0.75),
            page_cap=rng.choice((2, 100, 100)),
            honours_idempotency=draw(0.15),
            stamps_on_receipt=draw(0.5),
            clock_skew=rng.choice((0.0, 0.0, -90.0, 90.0)),
            others=tuple(rng.choice(("running", "succeeded", "failed")) for _ in range(rng.choice((0, 0, 1, 3)))),
            fate=rng.choice(("succeeds", "succeeds", "fails", "is cancelled", "any")),
            follows=draw(0.25),
            shares=draw(0.5),
            resumes=draw(0.5),
            deadline=rng.choice((None, None, 120.0, 600.0)),
        )
