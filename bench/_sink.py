"""A loopback server that swallows uploads as fast as it can, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

FILE = {"id": "file-1", "object": "file", "status": "processed", "filename": "data.jsonl", "purpose": "fine-tune"}
EMPTY = {"object": "list", "data": [], "has_more": False}


class Sink(asyncio.BufferedProtocol):
    """Reads requests into one buffer, forgets their bodies, and answers as a files endpoint would."""

    def __init__(self) -> None:
        self.buffer = bytearray(1 << 20)
        self.head = b""
        self.left = 0
        self.posted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        """Always the same buffer."""
        del sizehint
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take in a piece."""
        if self.left:
            self.left -= nbytes
        else:
            self.head += bytes(self.buffer[:nbytes])
            end = self.head.find(b"\r\n\r\n")
            if end < 0:
                return
            lines = self.head[:end].lower().split(b"\r\n")
            length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
            self.posted = self.head.startswith(b"POST")
            self.left = length - (len(self.head) - end - 4)
        if self.left <= 0:
            body = json.dumps(FILE if self.posted else EMPTY).encode()
            head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            self.transport.write(head.encode() + body)  # type: ignore[attr-defined]
            self.head, self.left = b"", 0


async def serve() -> None:
    """Print the port, then serve until killed."""
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def sink() -> Iterator[str]:
    """Run the server; gives its base URL."""
    process = subprocess.Popen([sys.executable, str(Path(__file__))], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    asyncio.run(serve())
