"""A StatsD server that keeps what it hears."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

END = b""


class StatsD:
    """What was told to a StatsD server: one line for each metric, with its tags as InfluxDB writes them."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.lines: list[str] = []

    def counted(self, name: str, **tags: str) -> int:
        """How often a metric was counted with these tags among others."""
        return sum(int(value) for value, told in self._told(name) if told >= tags.items())

    def _told(self, name: str) -> Iterator[tuple[str, set[tuple[str, str]]]]:
        for line in list(self.lines):
            told, _, value = line.partition(":")
            metric, *pairs = told.split(",")
            count, _, kind = value.partition("|")
            if metric == name and kind == "c":
                yield count, {(key, of) for key, _, of in (pair.partition("=") for pair in pairs)}

    def listen(self) -> None:
        """Keep what comes, until the end is told."""
        with self._socket:
            while (told := self._socket.recv(65536)) != END:
                self.lines += told.decode().splitlines()

    def stop(self) -> None:
        """Tell the end."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(END, ("127.0.0.1", self.port))


@contextmanager
def running_statsd() -> Iterator[StatsD]:
    """Listen on a free port of this machine."""
    server = StatsD()
    thread = threading.Thread(target=server.listen)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()
