"""The blocking driver."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, TypeVar, assert_never

import httpx

from tuneway.calls import Request, Response
from tuneway.drivers._clock import Clock, steady_clock
from tuneway.drivers._deadline import check, restart, total_timeout
from tuneway.drivers._threads import in_threads
from tuneway.drivers._wire import Body, ListenerFailed, ReplyReader, Wire, address_hidden, notify
from tuneway.errors import TransportError
from tuneway.flows import Flow, Notify, Now, Send, Sleep, Work, until
from tuneway.progress import Listener

T = TypeVar("T")

UNAUTHORIZED = 401


def ignore(_news: object) -> None:
    """Do nothing with news: the listener where none is given."""


class Driver:
    """Runs flows over one `httpx.Client`. Threads may share a driver."""

    def __init__(
        self,
        wire: Wire,
        http: httpx.Client,
        *,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], Clock] = steady_clock,
    ) -> None:
        from tuneway.drivers._backend import enforce_total_timeout

        self.wire = wire
        self._http = http
        self.sleep = sleep
        self._clock = clock
        self._asking = threading.Lock()
        enforce_total_timeout(http)

    def run(
        self, flow: Flow[T], listener: Listener | None = None, *, nap: Callable[[float], object] | None = None
    ) -> T:
        """Run a flow to its end. `nap` does the sleeps that may end early."""
        clock = self._clock()
        listener = listener or ignore
        answer: Any = None
        error: TransportError | None = None
        try:
            while True:
                effect = flow.send(answer) if error is None else flow.throw(error)
                answer, error = None, None
                match effect:
                    case Send():
                        try:
                            answer = self.send(effect.request, listener)
                        except TransportError as failure:
                            error = failure
                    case Sleep():
                        (nap if nap and effect.wakeable else self.sleep)(effect.seconds)
                    case Now():
                        answer = clock()
                    case Notify():
                        (effect.to or listener)(effect.news)
                    case Work():
                        answer = effect.run(listener)
                    case _:
                        assert_never(effect)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        finally:
            flow.close()

    def together(self, flows: Sequence[Flow[object]], listener: Listener | None = None) -> None:
        """Run flows at once, each in a thread. The first error ends the others, and is raised.

        They end before their next effect, or in their sleep. A request that is being made is waited for. The
        listener is called from all threads.
        """
        ended = threading.Event()
        runs = [partial(self.run, until(ended.is_set, flow), listener, nap=ended.wait) for flow in flows]
        in_threads(runs, end=ended.set)

    def now(self) -> float:
        """The time in epoch seconds, as flows see it."""
        return self._clock()()

    def send(self, request: Request, listener: Listener) -> Response:
        """Send a request once. If the service refuses a token that expires, it is sent again with a new one.

        The time-out is for the whole exchange, also if the reply arrives slowly.
        """
        key = self._key(request)
        response = self._send(request, listener, key)
        if response.status == UNAUTHORIZED and key and self.wire.tokens:
            renewed = self._key(request, refused=key)
            if renewed != key:
                response = self._send(request, listener, renewed)
        return response

    def _key(self, request: Request, refused: str | None = None) -> str | None:
        tokens = self.wire.tokens
        if tokens is None or request.address is not None:
            return self.wire.api_key
        with self._asking:
            token = tokens.current(self.now(), refused)
            if token is not None:
                return token
            try:
                given = tokens.ask()
            except Exception as failure:  # noqa: BLE001 - the user's code may raise anything
                tokens.without(failure)
            return tokens.take(given)

    def _send(self, request: Request, listener: Listener, key: str | None) -> Response:
        with total_timeout(self.wire.timeout):
            try:
                return self._exchange(request, listener, key)
            except ListenerFailed as failed:
                raise failed.error from None
            except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as failure:
                raise self.wire.error(failure, request) from self.wire.cause(failure, request)
            except RuntimeError:
                if self._http.is_closed:
                    raise self.wire.closed() from None
                raise

    def _exchange(self, request: Request, listener: Listener, key: str | None) -> Response:
        with address_hidden(request), closing(Body.of(request)) as body:
            outgoing = self._http.build_request(
                request.method,
                self.wire.url(request),
                headers=self.wire.headers(request, key) | body.headers,
                content=self._stream(body, listener) if body.file else body.head,
                timeout=self.wire.timeouts,
            )
            reply = self._http.send(outgoing, stream=True, follow_redirects=False)
            with closing(reply):
                reader = ReplyReader(self.wire, request, reply.status_code, reply.headers)
                for piece in reply.iter_raw():
                    reader.take(piece)
                    check()
                return reader.response()

    def _stream(self, body: Body, listener: Listener) -> Iterator[bytes]:
        sent = 0
        for chunk, of_file in body.chunks():
            yield chunk
            restart(self.wire.timeout)
            if of_file:
                sent += of_file
                notify(listener, body.progress(sent))
