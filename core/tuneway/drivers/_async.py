"""The driver for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, closing
from typing import Any, TypeVar, assert_never

import httpx

from tuneway.calls import Request, Response
from tuneway.drivers._clock import Clock, steady_clock
from tuneway.drivers._sync import UNAUTHORIZED, ignore
from tuneway.drivers._wire import Body, ListenerFailed, ReplyReader, Wire, address_hidden, notify
from tuneway.errors import TransportError
from tuneway.flows import Effect, Flow, Notify, Now, Send, Sleep, Work
from tuneway.models import prepare
from tuneway.progress import Listener, News

T = TypeVar("T")

Nap = Callable[[float], Awaitable[object]]


class AsyncDriver:
    """Runs flows over one `httpx.AsyncClient`, on one event loop."""

    def __init__(
        self,
        wire: Wire,
        http: httpx.AsyncClient,
        *,
        sleep: Nap = asyncio.sleep,
        clock: Callable[[], Clock] = steady_clock,
    ) -> None:
        _import_backend()
        prepare()
        self.wire = wire
        self._http = http
        self.sleep = sleep
        self._clock = clock
        self._asking = asyncio.Lock()

    async def run(self, flow: Flow[T], listener: Listener | None = None, *, nap: Nap | None = None) -> T:
        """Run a flow to its end. `nap` does the sleeps that may end early."""
        clock = self._clock()
        listener = listener or ignore
        answer: Any = None
        error: TransportError | None = None
        try:
            while True:
                effect: Effect = flow.send(answer) if error is None else flow.throw(error)
                answer, error = None, None
                match effect:
                    case Send():
                        try:
                            answer = await self.send(effect.request, listener)
                        except TransportError as failure:
                            error = failure
                    case Sleep():
                        await (nap if nap and effect.wakeable else self.sleep)(effect.seconds)
                    case Now():
                        answer = clock()
                    case Notify():
                        told = (effect.to or listener)(effect.news)
                        if inspect.isawaitable(told):  # such as a store that keeps a mark before its create is sent
                            await told
                    case Work():
                        answer = await _in_thread(effect, listener)
                    case _:
                        assert_never(effect)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        finally:
            flow.close()

    async def together(self, flows: Sequence[Flow[object]], listener: Listener | None = None) -> None:
        """Run flows at once, each in a task. The first error cancels the others, and is raised."""
        tasks = [asyncio.create_task(self.run(flow, listener)) for flow in flows]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def now(self) -> float:
        """The time in epoch seconds, as flows see it."""
        return self._clock()()

    async def send(self, request: Request, listener: Listener) -> Response:
        """Send a request once. If the service refuses a token that expires, it is sent again with a new one.

        The time-out is for the whole exchange, also if the reply arrives slowly.
        """
        key = await self._key(request)
        response = await self._send(request, listener, key)
        if response.status == UNAUTHORIZED and key and self.wire.tokens:
            renewed = await self._key(request, refused=key)
            if renewed != key:
                response = await self._send(request, listener, renewed)
        return response

    async def _key(self, request: Request, refused: str | None = None) -> str | None:
        tokens = self.wire.tokens
        if tokens is None or request.address is not None:
            return self.wire.api_key
        async with self._asking:
            token = tokens.current(self.now(), refused)
            if token is not None:
                return token
            try:
                given = tokens.ask() if tokens.awaited else await asyncio.to_thread(tokens.ask)
                if inspect.isawaitable(given):
                    given = await given
            except Exception as failure:  # noqa: BLE001 - the user's code may raise anything
                tokens.without(failure)
            return tokens.take(given)

    async def _send(self, request: Request, listener: Listener, key: str | None) -> Response:
        try:
            async with asyncio.timeout(self.wire.timeout) as limit:
                return await self._exchange(request, listener, limit, key)
        except ListenerFailed as failed:
            raise failed.error from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as failure:
            raise self.wire.error(failure, request) from self.wire.cause(failure, request)
        except RuntimeError:
            if self._http.is_closed:
                raise self.wire.closed() from None
            raise

    async def _exchange(
        self, request: Request, listener: Listener, limit: asyncio.Timeout, key: str | None
    ) -> Response:
        on_disk = request.form is not None or request.content is not None
        encoded = await asyncio.to_thread(Body.of, request) if on_disk else Body.of(request)
        with address_hidden(request), closing(encoded) as body:
            outgoing = self._http.build_request(
                request.method,
                self.wire.url(request),
                headers=self.wire.headers(request, key) | body.headers,
                content=self._stream(body, listener, limit) if body.file else body.head,
                timeout=self.wire.timeouts,
            )
            reply = await self._http.send(outgoing, stream=True, follow_redirects=False)
            async with aclosing(reply):
                reader = ReplyReader(self.wire, request, reply.status_code, reply.headers)
                async for piece in reply.aiter_raw():
                    reader.take(piece)
                return reader.response()

    async def _stream(self, body: Body, listener: Listener, limit: asyncio.Timeout) -> AsyncIterator[bytes]:
        """Give the body's pieces. Files are read in a thread; each piece that was sent restarts the time-out."""
        chunks = body.chunks()
        sent = 0
        while (item := await asyncio.to_thread(next, chunks, None)) is not None:
            chunk, of_file = item
            yield chunk
            limit.reschedule(asyncio.get_running_loop().time() + self.wire.timeout)
            if of_file:
                sent += of_file
                notify(listener, body.progress(sent))


def _import_backend() -> None:
    """Import httpx's backend now. With the first connection, it would block the event loop for 40 ms."""
    with contextlib.suppress(ImportError):
        importlib.import_module("anyio._backends._asyncio")


class _LoopListener:
    """Passes a thread's news to a listener on the event loop. An error of the listener ends the work."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self.end: BaseException | None = None

    def __call__(self, news: News) -> None:
        """Take news; called in the thread."""
        if self.end is not None:
            raise self.end
        self._loop.call_soon_threadsafe(self._hear, news)

    def _hear(self, news: News) -> None:
        if self.end is None:
            try:
                self._listener(news)
            except Exception as error:  # noqa: BLE001 - the user's code may raise anything; it is raised to them
                self.end = error


async def _in_thread(work: Work, listener: Listener) -> Any:
    """Do blocking work in a thread. After a cancellation the work ends when it next reports news."""
    relay = _LoopListener(listener)
    answer: Any = None
    try:
        answer = await asyncio.to_thread(work.run, relay)
    except asyncio.CancelledError as left:
        relay.end = left
        raise
    except Exception:
        if relay.end is None:
            raise
    if relay.end is not None:
        raise relay.end
    return answer
