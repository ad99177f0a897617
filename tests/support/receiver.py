"""HTTP servers in threads; among them one that takes whatever is sent to it, and keeps it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, TypeVar

AnyServer = TypeVar("AnyServer", bound=ThreadingHTTPServer)


class QuietHandler(BaseHTTPRequestHandler):
    """Answers requests, and logs none."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send a whole reply."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(
    handler: type[BaseHTTPRequestHandler],
    make: Callable[[tuple[str, int], type[BaseHTTPRequestHandler]], AnyServer] = ThreadingHTTPServer,  # type: ignore[assignment]
    *,
    port: int = 0,
) -> Iterator[AnyServer]:
    """Serve on a port of loopback while the block lasts; on a free one unless it is given."""
    with make(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class Delivery(NamedTuple):
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """What came, and what is answered: `answers` are used up one by one, then 200."""

    def __init__(self, answers: list[int]) -> None:
        self.url = ""
        self.answers = answers
        self.deliveries: list[Delivery] = []


@contextmanager
def receiver(*answers: int, reply: bytes = b"") -> Iterator[Receiver]:
    """Listen while the block lasts."""
    found = Receiver(list(answers))

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            found.deliveries.append(Delivery(self.path, headers, body))
            self.answer(found.answers.pop(0) if found.answers else 200, reply)

    with serving(Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_port}/hook"
        yield found
