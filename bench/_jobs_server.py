"""A loopback server with many jobs that end on a schedule, in a process of its own.

It counts what it is asked, notes when each job's end was first shown, and can limit its rate as services
do: 429 with `retry-after` once a second's requests are used up, and nothing at all during a storm.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Jobs:
    """The state: when each job ends, and what was asked.

    Args:
        options: `count` jobs that end evenly between `first` and `last` seconds after the start; `per_second`
            requests are allowed (None: any number), and none between `storm` [from, to].
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.started = time.monotonic()
        count, first, last = options["count"], options["first"], options["last"]
        order = [(number * 7919) % count for number in range(count)]  # ends aren't in the list's order
        self.ends = {f"ftjob-{i}": first + (last - first) * rank / max(1, count - 1) for i, rank in enumerate(order)}
        self.ids = list(reversed(self.ends))
        self.shown: dict[str, float] = {}
        self.asked: list[float] = []
        self.tokens, self.refilled = float(options.get("per_second") or 0), 0.0

    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def render(self, job_id: str) -> dict[str, Any]:
        """A job as it is now; remembers when its end was first shown."""
        now, ended = self.now(), self.now() >= self.ends[job_id]
        if ended:
            self.shown.setdefault(job_id, now)
        return {
            "id": job_id,
            "object": "fine_tuning.job",
            "created_at": 1_790_000_000,
            "status": "succeeded" if ended else "running",
            "model": "gpt-4o-mini-2024-07-18",
            "fine_tuned_model": f"ft:gpt-4o-mini:org::{job_id}" if ended else None,
            "error": None,
            "training_file": "file-1",
            "hyperparameters": {"n_epochs": 3, "batch_size": 1, "learning_rate_multiplier": 1.8},
            "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}},
            "metadata": {"tuneway_key": job_id, "tuneway_content": job_id, "tuneway_origin": "bench"},
            "organization_id": "org-1",
            "result_files": [],
            "seed": 1,
            "trained_tokens": None,
        }

    def answer(self, target: str) -> tuple[int, dict[str, Any], str]:
        """Status, body and further headers."""
        url = urlsplit(target)
        if url.path == "/stats":
            return 200, {"asked": self.asked, "delays": [self.shown[i] - self.ends[i] for i in self.shown]}, ""
        self.asked.append(self.now())
        wait = self._refused_for()
        if wait is not None:
            body = {"error": {"message": "too fast", "type": "requests", "code": "rate_limit_exceeded"}}
            return 429, body, f"retry-after: {wait:.3f}\r\n"
        job = re.fullmatch(r"/v1/fine_tuning/jobs/([^/]+)", url.path)
        if job:
            return 200, self.render(job[1]), ""
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        start = self.ids.index(query["after"]) + 1 if "after" in query else 0
        page = self.ids[start : start + int(query.get("limit", 20))]
        more = start + len(page) < len(self.ids)
        return 200, {"object": "list", "data": [self.render(i) for i in page], "has_more": more}, ""

    def _refused_for(self) -> float | None:
        """A token bucket of one second; None lets the request through."""
        now, rate = self.now(), self.options.get("per_second")
        storm = self.options.get("storm")
        if storm and storm[0] <= now < storm[1]:
            return float(storm[1] - now)
        if not rate:
            return None
        self.tokens = min(rate, self.tokens + (now - self.refilled) * rate)
        self.refilled = now
        if self.tokens < 1:
            return float((1 - self.tokens) / rate)
        self.tokens -= 1
        return None


async def serve(options: dict[str, Any]) -> None:
    """Print the port, then serve until killed."""
    jobs = Jobs(options)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                status, body, headers = jobs.answer(head.split(b" ", 2)[1].decode())
                content = json.dumps(body).encode()
                start = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{headers}"
                writer.write(f"{start}content-length: {len(content)}\r\n\r\n".encode() + content)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def jobs_server(**options: Any) -> Iterator[str]:
    """Run the server; gives its root URL."""
    command = [sys.executable, str(Path(__file__)), json.dumps(options)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
