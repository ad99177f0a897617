"""Keep keys and other secrets out of the logs of httpx and of what is below it.

At the level DEBUG, httpcore logs the headers of replies, and hpack those of requests over HTTP/2. A service may send
the key back, so it is replaced there too. What a filter of a logger changes, no handler sees.
"""

from __future__ import annotations

import logging
import re
from typing import Protocol
from weakref import WeakValueDictionary

LOGGERS = (
    "httpx",
    *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")),
    *(f"hpack.{part}" for part in ("hpack", "table")),
)


# a service may answer with a signed address, which nobody knows before
_LOCATION = re.compile(rb"""(b'location', b)(?:'(?:[^'\\]|\\.)*'|"[^"]*")""", re.IGNORECASE)


class Scrubbing(Protocol):
    """Something that knows a secret, and replaces it in a text."""

    def scrub(self, text: bytes) -> bytes:
        """Replace the secret."""
        ...


class _KeyFilter(logging.Filter):
    def __init__(self) -> None:
        super().__init__()
        self.known: WeakValueDictionary[int, Scrubbing] = WeakValueDictionary()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        hidden = text.encode("utf-8", "surrogatepass")
        for one in tuple(self.known.values()):
            hidden = one.scrub(hidden)
        hidden = _LOCATION.sub(rb"\1'[address]'", hidden)
        if (shown := hidden.decode("utf-8", "surrogatepass")) != text:
            record.msg, record.args = shown, ()
        return True


_FILTER = _KeyFilter()


def hide_in_logs(one: Scrubbing) -> None:
    """Replace the secret in these logs, for as long as this object lives."""
    _FILTER.known[id(one)] = one
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)
