"""What the service adds to a Ray cluster: small jobs through one head, and the service's own load as it watches.

The peer is Ray's own `JobSubmissionClient`, which has the same workers run on folders that are ready, and asks
each job for its status as often as the service does. The cluster is this machine with two CPUs, so that most of
the time is Ray starting processes: what is compared is the way through the service, not the training.

python bench/bench_ray.py
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from _figures import figure

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from openai import OpenAI
from support.openai_jobs import TERMINAL, chats, openai_for, submit
from support.real_ray import HEADERS, TOKEN, RealRay, real_ray
from support.service import RunningService, running_service

from tuneway_service.executors.ray import LOOK_SECONDS
from tuneway_service.folder import JobFolder

JOBS = 20
WATCHED_SECONDS = 30.0
TICKS = os.sysconf("SC_CLK_TCK")
KNOBS = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1, "batch_size": 4}}}


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def create(client: OpenAI, count: int) -> list[str]:
    file = client.files.create(file=("a.jsonl", chats(40)), purpose="fine-tune").id
    return [submit(client, file, method=KNOBS, seed=1).id for _ in range(count)]


def through_the_service(service: RunningService, client: OpenAI) -> tuple[float, float]:
    """The seconds that all jobs take, and those of CPU that the service does."""
    began, busy = time.monotonic(), cpu_seconds(service.pid)
    ids = set(create(client, JOBS))
    ended: dict[str, str] = {}
    while len(ended) < JOBS:
        time.sleep(0.5)
        ended = {job.id: job.status for job in client.fine_tuning.jobs.list(limit=100) if job.status in TERMINAL}
    assert ended == dict.fromkeys(ids, "succeeded"), ended
    return time.monotonic() - began, cpu_seconds(service.pid) - busy


def by_ray_alone(ray: RealRay, order: dict[str, object], folder: Path) -> float:
    """The seconds that the same workers take when Ray's client submits them."""
    from ray.job_submission import JobSubmissionClient

    client = JobSubmissionClient(ray.address, headers=HEADERS)
    folders = []
    for number in range(JOBS):
        job = JobFolder(folder / str(number))
        job.path.mkdir()
        job.training.write_bytes(chats(40))
        job.write("job", order | {"attempt": 1})
        folders.append(job)
    began = time.monotonic()
    waiting = {
        client.submit_job(
            entrypoint=f"exec python -m tuneway_service.worker {job.path} 1",
            entrypoint_num_cpus=1,
            submission_id=f"bare-{job.path.name}",
        )
        for job in folders
    }
    while waiting:
        time.sleep(LOOK_SECONDS)
        waiting = {name for name in waiting if not client.get_job_status(name).is_terminal()}
    seconds = time.monotonic() - began
    assert all(job.read("outcome")["outcome"] == "succeeded" for job in folders)
    return seconds


def watching(ray: RealRay) -> float:
    """The share of a CPU that the service takes while as many jobs wait on the cluster."""
    options = {"executor": "ray", "ray_address": ray.address, "ray_gpus": 1, "concurrency": JOBS}
    with running_service(**options) as service, openai_for(service) as client:
        ids = create(client, JOBS)
        while not set(ids) <= ray.jobs().keys():
            time.sleep(0.5)
        before = cpu_seconds(service.pid)
        time.sleep(WATCHED_SECONDS)
        return (cpu_seconds(service.pid) - before) / WATCHED_SECONDS


def main() -> None:
    os.environ["RAY_AUTH_TOKEN"] = TOKEN
    os.environ["RAY_AUTH_MODE"] = "token"
    with real_ray() as ray, tempfile.TemporaryDirectory() as folder:
        options = {"executor": "ray", "ray_address": ray.address, "concurrency": JOBS}
        with running_service(**options) as service, openai_for(service) as client:
            seconds, busy = through_the_service(service, client)
            one = next(path for path in (service.data_dir / "jobs").iterdir())
            order = json.loads((one / "job.json").read_bytes())
        alone = by_ray_alone(ray, order, Path(folder))
        share = watching(ray)
    figure(f"{JOBS} small jobs through a Ray head with 2 CPUs", ours=seconds, peer=alone, unit="s", at_most=1.25)
    figure("CPU of the service per job", ours=busy / JOBS, peer=None, unit="s", at_most=0.5)
    figure(f"CPU of the service while it watches {JOBS} jobs", ours=share * 100, peer=None, unit="%", at_most=20)


if __name__ == "__main__":
    main()
