"""Faults made on purpose, to test a pipeline: `drop=0.1,late=0.05:20,503=0.1,429=0.1,truncate=0.05`.

    drop       the connection breaks without a reply
    late       the reply is late by 5 seconds, or by the seconds after a colon
    truncate   the reply ends in the middle
    429        too many requests, with retry-after; the request was not processed
    quota      a 429 that waiting doesn't help against
    500…599    an error reply
    stuck      a job stays in validating_files until it is cancelled

The number is the share of requests (for `stuck`, of jobs). `drop` and 5xx happen before the request is processed in
half of the cases, and after it in the others; `drop-before`, `503-after` and so on set it. `late` happens after,
`late-before` before. The same seed with the same requests in the same order makes the same faults.
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tuneway.errors import InvalidSpec
from tuneway_service.connections import GuardedProtocol
from tuneway_service.refusals import Refusal

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

TRANSPORT: Final = "tuneway.transport"
LATE_SECONDS = 5.0


@dataclass(frozen=True)
class Fault:
    """One kind of fault, and its share."""

    kind: str
    share: float
    when: str | None = None
    seconds: float = LATE_SECONDS


def parse(text: str) -> list[Fault]:
    """The faults of a setting such as `drop=0.1,503=0.1`; raises `InvalidSpec`."""
    faults = [_parse_one(item.strip()) for item in text.split(",") if item.strip()]
    if sum(fault.share for fault in faults if fault.kind != "stuck") > 1:
        raise InvalidSpec("the shares of the faults add up to more than 1", field="fault")
    return faults


def _parse_one(item: str) -> Fault:
    name, equals, value = item.partition("=")
    kind, _, when = name.partition("-")
    share, _, seconds = value.partition(":")
    status = kind.isdecimal() and (kind == "429" or 500 <= int(kind) <= 599)
    sided = kind in {"drop", "late"} or (status and kind != "429")
    try:
        fault = Fault(kind, float(share), when or None, float(seconds) if seconds else LATE_SECONDS)
    except ValueError:
        fault = None
    if (
        not equals
        or fault is None
        or not (status or kind in {"drop", "late", "truncate", "quota", "stuck"})
        or not 0 <= fault.share <= 1
        or (fault.when is not None and (fault.when not in {"before", "after"} or not sided))
        or (seconds and kind != "late")
    ):
        raise InvalidSpec(
            f"{item!r} is not a fault",
            field="fault",
            hint="For example: drop=0.1,late=0.05:20,503-after=0.1,429=0.1,truncate=0.05,stuck=0.01",
        )
    return fault


class Faults:
    """Middleware that makes faults in randomly chosen API requests."""

    def __init__(self, app: ASGIApp, *, faults: list[Fault], seed: int) -> None:
        self.app = app
        self.faults = [fault for fault in faults if fault.kind != "stuck"]
        self.rng = random.Random(seed)  # noqa: S311 - the same seed must make the same faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or make a fault."""
        fault = self._draw() if scope["type"] == "http" and scope["path"].startswith("/v1/") else None
        if fault is None:
            await self.app(scope, receive, send)
            return
        when = fault.when or self._side(fault)
        log.info("fault", extra={"kind": fault.kind, "when": when, "method": scope["method"], "path": scope["path"]})
        match fault.kind:
            case "late":
                await self._late(fault, when, scope, receive, send)
            case "truncate":
                await self._truncate(scope, receive, send)
            case _:
                if when == "after":
                    await self.app(scope, receive, _nowhere)
                if fault.kind == "drop":
                    await _hang_up(scope)
                else:
                    await reply_of(fault.kind).response()(scope, receive, send)

    def _draw(self) -> Fault | None:
        place = self.rng.random()
        for fault in self.faults:
            place -= fault.share
            if place < 0:
                return fault
        return None

    def _side(self, fault: Fault) -> str:
        if fault.kind in {"429", "quota"}:
            return "before"
        if fault.kind in {"late", "truncate"}:
            return "after"
        return self.rng.choice(("before", "after"))

    async def _late(self, fault: Fault, when: str, scope: Scope, receive: Receive, send: Send) -> None:
        if when == "before":
            # the whole request is read before the pause, so that it is processed even if its client has gone
            receive = await _received(receive)
            await asyncio.sleep(fault.seconds)
            await self.app(scope, receive, send)
            return
        messages = await self._held_back(scope, receive)
        await asyncio.sleep(fault.seconds)
        for message in messages:
            await send(message)

    async def _truncate(self, scope: Scope, receive: Receive, send: Send) -> None:
        start, *rest = await self._held_back(scope, receive)
        body = b"".join(message.get("body", b"") for message in rest)
        await send(start)
        await send(
            {"type": "http.response.body", "body": body[: self.rng.randrange(len(body) or 1)], "more_body": True}
        )
        await _hang_up(scope, flush=True)

    async def _held_back(self, scope: Scope, receive: Receive) -> list[Message]:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        # without extensions, the contents of files pass through here instead of being sent from disk by the server
        await self.app({**scope, "extensions": {}}, receive, keep)
        return messages


async def _received(receive: Receive) -> Receive:
    """Read the whole request; returns a `receive` that gives it again."""
    messages = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())

    async def again() -> Message:
        return messages.pop(0) if messages else await receive()

    return again


async def _nowhere(_: Message) -> None:
    """Drop a reply."""


async def _hang_up(scope: Scope, *, flush: bool = False) -> None:
    transport = scope["extensions"][TRANSPORT]
    if flush:
        transport.close()
    else:
        transport.abort()
    # give the server time to notice: otherwise it reports that the application sent no reply
    for _ in range(3):
        await asyncio.sleep(0)


def reply_of(kind: str) -> Refusal:
    """The error reply of a fault."""
    made = "(a fault made on purpose)"
    if kind == "429":
        return Refusal(
            f"Rate limit reached {made}.", status=429, code="rate_limit_exceeded", headers={"retry-after": "1"}
        )
    if kind == "quota":
        return Refusal(f"You exceeded your current quota {made}.", status=429, code="insufficient_quota")
    return Refusal(f"The server had an error {made}.", status=int(kind), code="internal_error")


def sticks(faults: list[Fault], seed: int, job: int) -> bool:
    """Whether a job gets stuck; the answer is the same after a restart."""
    share = sum(fault.share for fault in faults if fault.kind == "stuck")
    return random.Random(f"{seed}/{job}").random() < share  # noqa: S311 - the same seed must make the same faults


class BreakableProtocol(GuardedProtocol):
    """The HTTP protocol, which here gives the application access to the connection so that it can break it."""

    def connection_made(self, transport: Any) -> None:
        """Add the connection to the scope of its requests."""
        super().connection_made(transport)
        app = self.app

        async def reaching(scope: Any, receive: Any, send: Any) -> None:
            scope.setdefault("extensions", {})[TRANSPORT] = transport
            await app(scope, receive, send)

        self.app = reaching
