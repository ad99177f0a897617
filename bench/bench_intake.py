"""Measure an upload of 256 MB to the local service: its speed beside a plain endpoint, and how long others wait.

The plain way is an endpoint of the same framework on the same web server: its own form parser, then the hash, the
file on the disk, and every row parsed by `json`. Both receive the same bytes from the same sender, in turns.
"""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from _figures import figure
from bench_service import cpu_seconds

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.service import running_service

SIZE = 256 * 2**20
ROUNDS = 5
BLOCK = 1 << 20
ROWS = {
    "long rows": {"messages": [{"role": "user", "content": "x" * 940}, {"role": "assistant", "content": "yes"}]},
    "short rows": {
        "messages": [{"role": "user", "content": 'a "word"\n' * 20}, {"role": "assistant", "content": "no"}]
    },
}

PLAIN = """
import hashlib, json, os, sys, uvicorn
from pathlib import Path
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.routing import Route

def keep(file):
    digest = hashlib.sha256()
    with Path(sys.argv[2]).open("wb") as kept:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            kept.write(chunk)
        kept.flush()
        os.fsync(kept.fileno())
    with Path(sys.argv[2]).open("rb") as kept:
        good = all(isinstance(json.loads(line), dict) for line in kept)
    return {"sha256": digest.hexdigest(), "good": good}

async def create(request):
    async with request.form() as form:
        return JSONResponse(await run_in_threadpool(keep, form["file"].file))

class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print("ready", flush=True)

app = Starlette(routes=[Route("/v1/files", create, methods=["POST"])])
Server(uvicorn.Config(app, port=int(sys.argv[1]), log_level="error", access_log=False)).run()
"""


@contextmanager
def plain(folder: str) -> Iterator[tuple[str, int]]:
    """Run the plain endpoint; gives its base URL and its process id."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", PLAIN, str(port), str(Path(folder, "kept"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield f"http://127.0.0.1:{port}/v1", process.pid
        process.terminate()


def block_of(row: object) -> bytes:
    """About a megabyte of this row."""
    line = json.dumps(row).encode() + b"\n"
    return line * (BLOCK // len(line))


def send(base_url: str, rows: bytes) -> float:
    """Send a file that consists of these rows again and again; gives MiB a second until the reply."""
    address = urlsplit(base_url)
    head = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    head += b'--b\r\nContent-Disposition: form-data; name="file"; filename="large.jsonl"\r\n\r\n'
    tail, count = b"\r\n--b--\r\n", SIZE // len(rows)
    length = len(head) + count * len(rows) + len(tail)
    line = f"POST /v1/files HTTP/1.1\r\nhost: {address.netloc}\r\ncontent-length: {length}\r\n"
    with socket.create_connection((address.hostname, address.port)) as connection:
        began = time.perf_counter()
        connection.sendall(line.encode() + b"content-type: multipart/form-data; boundary=b\r\n\r\n" + head)
        for _ in range(count):
            connection.sendall(rows)
        connection.sendall(tail)
        assert b" 200 " in connection.recv(1 << 16)[:20]
        return length / 2**20 / (time.perf_counter() - began)


def run(base_url: str, pid: int, rows: bytes) -> tuple[float, float]:
    """Send the file once; gives MiB a second, and the seconds of CPU that the server needed."""
    before = cpu_seconds(pid)
    return send(base_url, rows), cpu_seconds(pid) - before


@contextmanager
def another_client(base_url: str) -> Iterator[list[float]]:
    """Ask for the list of jobs twenty times a second, and note how long each answer takes."""
    address, stop, seconds = urlsplit(base_url), threading.Event(), list[float]()
    request = f"GET /v1/fine_tuning/jobs HTTP/1.1\r\nhost: {address.netloc}\r\n\r\n".encode()

    def ask() -> None:
        with socket.create_connection((address.hostname, address.port)) as connection:
            while not stop.wait(0.05):
                began = time.perf_counter()
                connection.sendall(request)
                connection.recv(1 << 16)
                seconds.append(time.perf_counter() - began)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seconds
    finally:
        stop.set()
        thread.join()


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder, running_service() as service, plain(folder) as peer:
        for name, row in ROWS.items():
            rows = block_of(row)
            rounds = [(*run(service.base_url, service.pid, rows), *run(*peer, rows)) for _ in range(ROUNDS)]
            ours, our_cpu, theirs, their_cpu = (statistics.median(column) for column in zip(*rounds, strict=True))
            text = f"taking in 256 MB of {name}, hash and check included"
            figure(text, ours=ours, peer=theirs, unit="MiB/s", at_least=1.5)
            figure(text, ours=our_cpu, peer=their_cpu, unit="CPU s", at_most=0.9)
        with another_client(service.base_url) as seconds:
            send(service.base_url, block_of(ROWS["short rows"]))
        figure("the longest wait of another client meanwhile", ours=max(seconds), peer=None, unit="s", at_most=0.25)


if __name__ == "__main__":
    main()
