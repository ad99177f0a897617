"""The fake service behind a real loopback socket, with faults that a test chooses, request by request.

    with FaultServer() as server:
        server.fault(drop_after(), "POST", "/fine_tuning/jobs")
        client = Client(base_url=server.base_url)

The bytes of both directions are under the test's control: HTTP is read and written here by hand. Whatever
arrives is recorded; a large body is counted and hashed as it streams by, and never held.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

from support.arrivals import KEEP, Arrival, FormReader
from support.fake_service import FakeService

from tuneway.calls import Response

PIECE = 256 * 1024


# --- What may go wrong. ---


class Line:
    """One exchange, as a fault sees it: the request, the honest service, and the raw connection."""

    def __init__(self, server: FaultServer, arrival: Arrival, writer: asyncio.StreamWriter) -> None:
        self.arrival = arrival
        self._server = server
        self._writer = writer

    def act(self) -> bytes:
        """Let the service act on the request; gives its honest reply."""
        return serialise(self._server.service.handle(self.arrival.request(self._server.prefix)))

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def reset(self) -> None:
        """End the connection with RST."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Act = Callable[[Line], Awaitable[object]]


@dataclass(frozen=True)
class Fault:
    """What happens instead of an honest exchange. The connection is closed afterwards, unless it stays.

    `early` faults happen before the body is read.
    """

    act: Act
    early: bool = False
    stays: bool = False


def honest() -> Fault:
    """Nothing goes wrong: for the second row of a table."""
    return Fault(lambda line: line.write(line.act()), stays=True)


def drop_before() -> Fault:
    """The connection ends, and the service never heard of the request."""
    return Fault(lambda line: line.write(b""))


def drop_after() -> Fault:
    """The service acts, and the connection ends without a reply."""
    return cut(0)


def cut(length: int) -> Fault:
    """The service acts, and its reply is cut after so many bytes."""
    return Fault(lambda line: line.write(line.act()[:length]))


def reset_after() -> Fault:
    """The service acts, and the connection is reset."""

    async def act(line: Line) -> None:
        line.act()
        line.reset()

    return Fault(act)


def hang_up_afterwards() -> Fault:
    """An honest exchange, and then the connection ends, without having said so."""
    return Fault(lambda line: line.write(line.act()))


def late(seconds: float) -> Fault:
    """The service acts, and answers so much later."""

    async def act(line: Line) -> None:
        reply = line.act()
        await asyncio.sleep(seconds)
        await line.write(reply)

    return Fault(act)


def silent(*, acts: bool = False) -> Fault:
    """Never an answer."""

    async def act(line: Line) -> None:
        if acts:
            line.act()
        await asyncio.Event().wait()

    return Fault(act)


def drip(reply: bytes | None = None, *, at_once: int = 0, every: float = 0.02) -> Fault:
    """The reply (the honest one, unless another is given) comes byte by byte, after the first so many."""

    async def act(line: Line) -> None:
        whole = line.act() if reply is None else reply
        await line.write(whole[:at_once])
        for byte in whole[at_once:]:
            await line.write(bytes([byte]))
            await asyncio.sleep(every)

    return Fault(act)


def raw(reply: bytes | Iterable[bytes], *, acts: bool = False, early: bool = False) -> Fault:
    """These bytes, whatever they are, and the end."""

    async def act(line: Line) -> None:
        if acts:
            line.act()
        for piece in [reply] if isinstance(reply, bytes) else reply:
            await line.write(piece)

    return Fault(act, early=early)


def answer(
    body: Any, status: int = 200, *, acts: bool = False, kind: str = "application/json", **headers: str
) -> Fault:
    """A well-formed reply with this body: bytes as they are, anything else as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    whole = serialise(Response(status, {"content-type": kind} | named, content))

    async def act(line: Line) -> None:
        if acts:
            line.act()
        await line.write(whole)

    return Fault(act, stays=True)


def serialise(response: Response) -> bytes:
    """A reply as bytes."""
    known = {status.value: status.phrase for status in HTTPStatus}
    lines = [f"HTTP/1.1 {response.status} {known.get(response.status, 'Odd')}"]
    headers = {"content-length": str(len(response.content))} | dict(response.headers)
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("utf-8") + response.content


# --- The server. ---


@dataclass
class _Rule:
    fault: Fault
    method: str | None
    path: str | None
    times: int

    def fits(self, arrival: Arrival, prefix: str) -> bool:
        path = arrival.path.removeprefix(prefix)
        return (
            self.times > 0
            and self.method in (None, arrival.method)
            and (self.path is None or re.fullmatch(self.path, path) is not None)
        )


class FaultServer:
    """A real server for the fake service, in a thread of its own.

    Args:
        service: Who answers honestly; a fresh one, unless given.
        prefix: What paths begin with.
        tls: Speak TLS with this context.

    `reads_at` is its speed at reading bodies, in bytes a second.
    """

    def __init__(
        self, service: FakeService | None = None, *, prefix: str = "/v1", tls: ssl.SSLContext | None = None
    ) -> None:
        self.service = service or FakeService()
        self.prefix = prefix
        self.arrived: list[Arrival] = []
        self.connections = 0
        self.port = 0
        self.reads_at = math.inf
        self._closing = False
        self._tls = tls
        self._rules: list[_Rule] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-server", daemon=True)

    @property
    def origin(self) -> str:
        """Where it listens."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What a client is given."""
        return self.origin + self.prefix

    @property
    def open_connections(self) -> int:
        """Connections that nobody has closed yet."""
        return len(self._tasks)

    def fault(self, fault: Fault, method: str | None = None, path: str | None = None, *, times: int = 1) -> None:
        """Let this happen to the next requests of this kind; faults of one kind queue up."""
        self._rules.append(_Rule(fault, method, path, times))

    def forget(self) -> None:
        """Nothing has arrived, and nothing will go wrong."""
        self.arrived.clear()
        self._rules.clear()

    def asked(self, method: str, path: str = ".*") -> list[Arrival]:
        """What arrived of this kind."""
        return [
            arrival
            for arrival in self.arrived
            if arrival.method == method and re.fullmatch(path, arrival.path.removeprefix(self.prefix))
        ]

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE)  # what is sent slowly shall feel slow
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self._door = asyncio.create_task(self._accept(listener))

    async def _stop(self) -> None:
        self._closing = True
        socket.create_connection(("127.0.0.1", self.port)).close()  # knocks: a cancelled accept may lose its guest
        await self._door
        await asyncio.sleep(0)  # whoever came in has begun by then
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, listener: socket.socket) -> None:
        with listener:
            while True:
                connection, _ = await self._loop.sock_accept(listener)
                if self._closing:
                    connection.close()
                    return
                try:
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                except OSError:
                    connection.close()  # gone again already: asyncio's own server would lose it open
                    continue
                task = asyncio.create_task(self._serve(connection))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket) -> None:
        self.connections += 1
        number = self.connections
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):  # the client is gone, or the test
            reader, writer = await self._open(connection)
            try:
                while await self._exchange(reader, writer, number):
                    pass
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()

    async def _open(self, connection: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader = asyncio.StreamReader(limit=PIECE)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await self._loop.connect_accepted_socket(lambda: protocol, connection, ssl=self._tls)
        return reader, asyncio.StreamWriter(transport, protocol, reader, self._loop)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> bool:
        """Serve one request; says whether another may follow."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip("\r\n").split("\r\n")
        method, target, _ = first.split(" ")
        pairs = [line.split(": ", 1) for line in lines]
        arrival = Arrival(connection, method, target, [(name.lower(), value) for name, value in pairs])
        self.arrived.append(arrival)
        line = Line(self, arrival, writer)
        fault = self._choose(arrival)
        if not fault.early:
            await self._read_body(reader, arrival)
        await self._unless_gone(reader, fault.act(line))
        return fault.stays

    def _choose(self, arrival: Arrival) -> Fault:
        for rule in self._rules:
            if rule.fits(arrival, self.prefix):
                rule.times -= 1
                return rule.fault
        return honest()

    async def _unless_gone(self, reader: asyncio.StreamReader, work: Awaitable[object]) -> None:
        """Do what there is to do, unless the client hangs up meanwhile."""
        doing = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(_end_of(reader))
        try:
            await asyncio.wait({doing, gone}, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                doing.result()
        finally:
            doing.cancel()
            gone.cancel()
            await asyncio.gather(doing, gone, return_exceptions=True)

    async def _read_body(self, reader: asyncio.StreamReader, arrival: Arrival) -> None:
        boundary = re.search(r"boundary=(\S+)", arrival.header("content-type") or "")
        form = FormReader(boundary[1]) if boundary else None
        async for piece in _pieces(reader, arrival):
            arrival.size += len(piece)
            if form is not None:
                form.take(piece)
            if arrival.size <= KEEP:
                arrival.body += piece
            await asyncio.sleep(len(piece) / self.reads_at)
        if form is not None:
            arrival.parts = form.parts


async def _end_of(reader: asyncio.StreamReader) -> None:
    """Wait until the client has closed its side; our clients never send a request before a reply is read."""
    while not reader.at_eof():  # noqa: ASYNC110 - a stream tells of its end only to who reads on
        await asyncio.sleep(0.005)


async def _pieces(reader: asyncio.StreamReader, arrival: Arrival) -> AsyncIterator[bytes]:
    assert arrival.header("transfer-encoding") is None, "our clients know how long their bodies are"
    left = int(arrival.header("content-length") or 0)
    while left:
        piece = await reader.read(min(left, PIECE))
        if not piece:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(piece)
        yield piece
