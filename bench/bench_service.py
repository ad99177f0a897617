"""What the local service costs: a job from create to succeeded, requests among 100,000 jobs, memory at rest.

python bench/bench_service.py
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from _figures import figure

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.openai_jobs import chats, openai_for, submit, wait_for
from support.service import RunningService, running_service

from tuneway_service.states import JobStatus
from tuneway_service.store.database import Connection, Database

MANY = 100_000
SECONDS = 1.5
ROUNDS = 3

# The same rows, settings and seed, trained in one process without a service: what can't be saved.
BARE_TRAINING = """
import sys
from pathlib import Path
from tuneway_service.trainers import TrainingRun, make_trainer
trainer = make_trainer("bytes")
knobs = trainer.resolve("supervised", {"n_epochs": 3}, 200)
run = TrainingRun(method="supervised", train_path=Path(sys.argv[1]), hyperparameters=knobs, seed=1)
training = trainer.start(run)
for _ in training.advance():
    pass
training.export(Path(sys.argv[2]))
"""

# The same web server and framework with one route and nothing behind it.
BARE_SERVER = """
import asyncio, sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
async def hello(request):
    return JSONResponse({"hello": "world"})
class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print("ready", flush=True)
app = Starlette(routes=[Route("/", hello)])
Server(uvicorn.Config(app, port=int(sys.argv[1]), log_level="error", access_log=False)).run()
"""


def cpu_seconds(pid: int) -> float:
    """What a process has used, its ended children included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int) -> float:
    """The memory of a process."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


def a_whole_job() -> None:
    """200 examples, 3 epochs; the service and the bare training in turns, the best of each."""
    content = chats(200)
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}}
    ours, bare = [], []
    with running_service() as service, openai_for(service) as client:
        file = client.files.create(file=("train.jsonl", content), purpose="fine-tune")
        for _ in range(ROUNDS):
            before, began = cpu_seconds(service.pid), time.perf_counter()
            job = submit(client, file.id, seed=1, method=method)
            assert wait_for(client, job.id).status == "succeeded"
            ours.append((cpu_seconds(service.pid) - before, time.perf_counter() - began))
            bare.append(bare_training(content))
    (cpu, wall), (bare_cpu, bare_wall) = (tuple(map(min, zip(*rounds, strict=True))) for rounds in (ours, bare))
    name = "create to succeeded, 200 examples x 3 epochs"
    figure(f"{name}: CPU of service and worker", ours=cpu, peer=None, unit="s", at_most=2)
    figure(f"{name}: CPU beside the bare training", ours=cpu, peer=bare_cpu, unit="s", at_most=2)
    figure(f"{name}: time beside the bare training", ours=wall, peer=bare_wall, unit="s", at_most=3)


def bare_training(content: bytes) -> tuple[float, float]:
    """CPU and time of the training alone, a fresh interpreter included."""
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "train.jsonl"
        rows.write_bytes(content)
        before, began = os.times(), time.perf_counter()
        subprocess.run([sys.executable, "-c", BARE_TRAINING, rows, Path(folder) / "model"], check=True)
        after = os.times()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        return cpu, time.perf_counter() - began


def requests_a_second(service: RunningService, path: str) -> tuple[float, float]:
    """One round over one connection: requests per second of time, and per second of the service's processor."""
    address = urlsplit(service.base_url)
    request = f"GET {address.path}{path} HTTP/1.1\r\nhost: {address.netloc}\r\n\r\n".encode()
    with socket.create_connection((address.hostname, address.port)) as connection:
        count, cpu, began = 0, cpu_seconds(service.pid), time.perf_counter()
        while time.perf_counter() - began < SECONDS:
            connection.sendall(request)
            read_reply(connection)
            count += 1
        return count / (time.perf_counter() - began), count / (cpu_seconds(service.pid) - cpu)


def read_reply(connection: socket.socket) -> None:
    """Read one reply to its end."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(1 << 20)
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(1 << 20)


def fill(data_dir: Path, count: int) -> None:
    """That many ended jobs, as a year of pipelines leaves them."""
    knobs = {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 1.0}
    body: dict[str, Any] = {
        "model": "gpt-4o-mini",
        "training_file": "file-" + "a" * 24,
        "validation_file": None,
        "method": {"type": "supervised", "supervised": {"hyperparameters": knobs}},
        "seed": 1,
        "suffix": "nightly",
        "integrations": [],
    }

    def act(connection: Connection) -> None:
        connection.executemany(
            "INSERT INTO jobs (seq, id, created_at, finished_at, status, trainer, plain, body, hyperparameters)"
            " VALUES (?, ?, ?, ?, ?, 'bytes', 0, ?, ?)",
            (
                (
                    number,
                    f"ftjob-{number:024}",
                    1_700_000_000 + number,
                    1_700_000_060 + number,
                    JobStatus.SUCCEEDED,
                    json.dumps(body | {"metadata": {"pipeline": f"p{number % 50}", "run": str(number)}}),
                    json.dumps(knobs),
                )
                for number in range(1, count + 1)
            ),
        )
        for key, value in (("pipeline", "'p' || (seq % 50)"), ("run", "seq")):
            connection.execute(f"INSERT INTO job_metadata SELECT '{key}', {value}, seq FROM jobs")

    database = Database(data_dir / "tuneway.db")
    database.write_now(act)
    database.close()


def requests_among_many() -> None:
    """Retrieve, list, and list by metadata: a hundred jobs, and a hundred thousand."""
    paths = {
        "retrieve": "/fine_tuning/jobs/ftjob-{one:024}",
        "list, 20 a page": "/fine_tuning/jobs?limit=20",
        "list after the middle": "/fine_tuning/jobs?limit=20&after=ftjob-{one:024}",
        "list by metadata": "/fine_tuning/jobs?limit=20&metadata%5Brun%5D={one}",
        "list by a pair that many have": "/fine_tuning/jobs?limit=2&metadata%5Bpipeline%5D=p7",
    }
    with ExitStack() as stack:
        services = {}
        for count in (100, MANY):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            fill(folder, count)
            services[count] = stack.enter_context(running_service(folder))
        for name, path in paths.items():
            # in turns, so that whatever else the machine does meets both
            rounds: dict[int, list[tuple[float, float]]] = {count: [] for count in services}
            for _ in range(ROUNDS):
                for count, service in services.items():
                    rounds[count].append(requests_a_second(service, path.format(one=count // 2)))
            (wall, cpu), (wall_few, cpu_few) = (tuple(map(max, zip(*rounds[n], strict=True))) for n in (MANY, 100))
            figure(f"{name}, {MANY:,} jobs beside 100", ours=wall, peer=wall_few, unit="req/s")
            figure(f"{name}, {MANY:,} jobs beside 100", ours=cpu, peer=cpu_few, unit="req per CPU s", at_least=0.8)


def memory_at_rest() -> None:
    """The service, beside the bare web server that it stands on."""
    with running_service() as service:
        time.sleep(1)
        ours = rss_mib(service.pid)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    bare = subprocess.Popen([sys.executable, "-c", BARE_SERVER, str(port)], stdout=subprocess.PIPE)
    assert bare.stdout is not None
    bare.stdout.readline()
    time.sleep(1)
    theirs = rss_mib(bare.pid)
    bare.terminate()
    bare.communicate()
    figure("memory at rest, beside a bare Starlette and uvicorn", ours=ours, peer=theirs, unit="MiB", at_most=2)


if __name__ == "__main__":
    a_whole_job()
    requests_among_many()
    memory_at_rest()
