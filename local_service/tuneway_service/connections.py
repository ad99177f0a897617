"""The connections of clients: how many there may be, and which are closed because they send nothing.

A connection needs a file descriptor, and another one while it sends or receives a file. The service needs some for
its own work: the database, the jobs, the processes that answer. So there are only as many connections as leave it
enough. When all are in use, one more takes the place of the one that has been idle longest; a client is turned away
only while every connection has a request under way.
"""

from __future__ import annotations

import fcntl
import logging
import resource
import struct
import termios
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from tuneway.errors import InvalidSpec
from tuneway_service.refusals import Refusal

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

log = logging.getLogger(__name__)

MOST = 2000
RESERVE = 64
EACH = 2
FEWEST = 8


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a client may take, in seconds.

    Args:
        head: For the line and the headers of a request, from the connection or from their first byte on.
        body: For the next `body_bytes` of a request's body. Slow lines bring far more.
        body_bytes: See there.
        unread: For reading some of a reply.
    """

    head: float = 20.0
    body: float = 30.0
    body_bytes: int = 3000
    unread: float = 60.0


def most_connections(asked: int | None) -> int:
    """How many connections there may be. Raises the limit of open files as far as the system allows and they need.

    Raises:
        InvalidSpec: The system doesn't allow so many open files.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = RESERVE + EACH * (asked or MOST)
    if 0 <= soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    room = MOST if soft < 0 else (soft - RESERVE) // EACH
    if room < (asked or FEWEST):
        raise InvalidSpec(
            f"this process may have {soft} open files: that is too few for {asked or FEWEST} connections",
            field="max_connections",
            hint=f"Allow {RESERVE + EACH * (asked or FEWEST)} with `ulimit -n`, or ask for fewer connections.",
        )
    return asked or min(MOST, room)


class Connections:
    """All connections of one server.

    Args:
        most: How many there may be.
        patience: How long clients may take.
        clock: Gives the time in seconds.
    """

    def __init__(
        self, most: int, patience: Patience | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.most = most
        self.patience = patience or Patience()
        self.clock = clock
        self.open: set[GuardedProtocol] = set()
        # without a request under way, the longest idle first: those that never had one, and those that had
        self._fresh: dict[GuardedProtocol, None] = {}
        self._idle: dict[GuardedProtocol, None] = {}
        self._told = -60.0

    def admit(self, connection: GuardedProtocol) -> bool:
        """Count a new connection, in the place of an idle one if necessary; False if there is no place."""
        while len(self.open) >= self.most:
            victim = next(iter(self._fresh), None) or next(iter(self._idle), None)
            if victim is None:
                self._tell(f"every one of {self.most} connections has a request under way: new ones are turned away")
                return False
            self._tell(f"there are more than {self.most} connections: idle ones are closed")
            self.forget(victim)
            victim.transport.abort()
        self.open.add(connection)
        self._fresh[connection] = None
        return True

    def _tell(self, text: str) -> None:
        """Log at most once a minute: a flood of connections mustn't flood the log."""
        if self.clock() >= self._told + 60:
            self._told = self.clock()
            log.warning(text)

    def works(self, connection: GuardedProtocol) -> None:
        """A request is under way."""
        self._fresh.pop(connection, None)
        self._idle.pop(connection, None)

    def rests(self, connection: GuardedProtocol) -> None:
        """The reply is complete."""
        if connection in self.open:
            self._idle[connection] = None

    def forget(self, connection: GuardedProtocol) -> None:
        """The connection is closed."""
        self.open.discard(connection)
        self.works(connection)

    def sweep(self) -> None:
        """Close the connections that send nothing."""
        now = self.clock()
        for connection in list(self.open):
            connection.check(now)


class GuardedConfig(uvicorn.Config):
    """uvicorn's configuration, and the connections that `GuardedProtocol` counts."""

    def __init__(self, app: Any, connections: Connections, **options: Any) -> None:
        super().__init__(app, **options)
        self.all_connections = connections


class GuardedProtocol(H11Protocol):
    """uvicorn's HTTP protocol, with limits on the number of connections and on the time that a client may take."""

    config: GuardedConfig
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or turn it away."""
        self.all = self.config.all_connections
        self._begun = self._working = False
        self._since, self._received = self.all.clock(), 0
        self._unsent, self._unsent_since = 0, self._since
        self._admitted = self.all.admit(self)
        if self._admitted:
            super().connection_made(transport)
        else:
            full = Refusal(
                f"The service has {self.all.most} connections, and each has a request under way. Try again.",
                status=503,
                code="too_many_connections",
                headers={"retry-after": "1"},
            )
            transport.write(_raw(full, "Service Unavailable"))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        if self._admitted:
            self.all.forget(self)
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Something has arrived."""
        self._received += len(data)
        super().data_received(data)
        if self._answering():
            if not self._working:
                self._working, self._begun = True, False
                self._since, self._received = self.all.clock(), 0
                self.all.works(self)
        elif not self._begun:
            self._begun, self._since = True, self.all.clock()

    def on_response_complete(self) -> None:
        """The reply is complete; the next request may have arrived with the last one."""
        super().on_response_complete()
        self._since, self._received = self.all.clock(), 0
        if not self._answering():
            self._working = self._begun = False
            self.all.rests(self)

    def send_400_response(self, msg: str) -> None:
        """Refuse what isn't HTTP. If it was the body of a request, the application learns that the client has gone."""
        if self._answering():
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.close()
                return
        super().send_400_response(msg)

    def _answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def check(self, now: float) -> None:
        """Close the connection if its client has stood still for too long."""
        patience = self.all.patience
        if self._reader_stands(now):
            self.transport.abort()
        elif self.transport.is_closing():
            pass
        elif self._working:
            if not self._body_expected():
                self._since, self._received = now, 0
            elif now - self._since > patience.body:
                if self._received < patience.body_bytes:
                    self._time_out("The rest of the request's body didn't arrive.")
                self._since, self._received = now, 0
        elif self._begun and now - self._since > patience.head:
            self._time_out("The rest of the request's headers didn't arrive.")
        elif self.cycle is None and now - self._since > patience.head:
            self.transport.close()

    def _body_expected(self) -> bool:
        """Whether it is the client's turn to send more of the body."""
        cycle = self.cycle
        return cycle.more_body and not (cycle.body or self.flow.read_paused or cycle.waiting_for_100_continue)

    def _reader_stands(self, now: float) -> bool:
        """Whether there is a reply that the client reads no more of."""
        unsent = self.transport.get_write_buffer_size()
        if unsent:
            unsent += _in_kernel(self.transport)
        if not unsent or unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
        return now - self._unsent_since > self.all.patience.unread

    def _time_out(self, text: str) -> None:
        # in the middle of a reply, or of a body that was refused already, another reply would be taken for a part of it
        if not self.cycle.response_started if self._working else self.conn.their_state is h11.IDLE:
            self.transport.write(_raw(Refusal(text, status=408, code="request_timeout"), "Request Timeout"))
        self.transport.close()


def _raw(refusal: Refusal, reason: str) -> bytes:
    """A refusal as it is sent, for a connection whose request never came to the application."""
    reply = refusal.response()
    reply.headers["connection"] = "close"
    head = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
    return f"HTTP/1.1 {reply.status_code} {reason}\r\n{head}\r\n".encode() + bytes(reply.body)


def _in_kernel(transport: asyncio.Transport) -> int:
    """How many bytes the system hasn't delivered yet. Where it doesn't say, 0."""
    try:
        answer = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
    except OSError:
        return 0
    return int(struct.unpack("i", answer)[0])
