"""A gang on a real Ray cluster of this machine, whose GPUs are made up: on one machine of it, and on two."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.real_ray import TOKEN, RealRay, real_ray
from support.service import until

pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("peft", reason="needs the extra `train`")

from support.gangs import messages, metrics, order, processes, run, same, slowed
from support.tiny_llama import make_tiny_llama

from tuneway_service.executors.ray import RayExecutor
from tuneway_service.executors.ray_settings import RaySettings
from tuneway_service.folder import JobFolder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install 'ray[default]'"),
]

SECONDS = 240.0
CLOSE = 1e-5


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the head asks for."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def alone(base, tmp_path_factory) -> JobFolder:
    """What one process makes of the rows."""
    job = order(tmp_path_factory.mktemp("alone") / "job", base)
    run(job)
    return job


@contextmanager
def executor_on(
    ray: RealRay, jobs: Path, *, environment: dict[str, str] | None = None, **options
) -> Iterator[RayExecutor]:
    settings = RaySettings(
        address=ray.address,
        cpus=1,
        headers={"Authorization": f"Bearer {TOKEN}"},
        runtime_env={"env_vars": {"GLOO_SOCKET_IFNAME": "lo", **(environment or {})}},
        **options,
    )
    executor = RayExecutor(settings, jobs)
    try:
        yield executor
    finally:
        executor.close()


def on_cluster(job: JobFolder) -> JobFolder:
    """The same order, as it is where the cluster chooses the devices."""
    content = job.read("job")
    job.write("job", {name: value for name, value in content.items() if name != "devices"} | {"gpus": 2})
    return job


def ended(executor: RayExecutor, job: JobFolder) -> list[str]:
    """Wait until the attempt has ended; what the executor told meanwhile."""
    until(lambda: not executor.alive(job), seconds=SECONDS)
    return [notice.message for notice in executor.notices(job)]


@pytest.mark.parametrize("machines", [1, 2])
def test_a_gang_is_killed_in_the_middle_and_goes_on_to_the_weights_of_one_process(base, alone, tmp_path, machines):
    job = on_cluster(order(tmp_path / "jobs" / "ftjob-1", base))
    ordered = job.read("job")
    options = {"gpus_per_machine": 1} if machines == 2 else {}
    with real_ray(gpus=2 // machines) as ray:
        if machines == 2:
            ray.join(gpus=1)
        with executor_on(ray, job.path.parent, environment=slowed(tmp_path / "code", step=5), **options) as executor:
            executor.launch(job)
            until(lambda: job.state() is not None, seconds=SECONDS)
            living = processes(job)
            assert {"0", "1"} <= living.keys()
            os.kill(living["1"], signal.SIGKILL)
            ended(executor, job)
            assert job.read("outcome") is None
            assert "exited with status 1" in executor.exit_reason(job)
            assert processes(job) == {}
        assert "rank 1 was killed by SIGKILL" in job.log.read_text()
        # the order of the lost attempt was withdrawn
        job.write("job", ordered | {"attempt": 2})
        with executor_on(ray, job.path.parent, **options) as executor:
            executor.launch(job)
            ended(executor, job)
    assert job.read("outcome")["outcome"] == "succeeded", job.log.read_text()
    assert "Resuming from step 4" in messages(job)
    assert "2 processes train together, one on each device" in messages(job)
    same(alone, job, CLOSE)


def test_a_gang_on_two_machines_waits_for_room_stops_when_it_is_asked_and_ends_with_its_entrypoint(base, tmp_path):
    job = on_cluster(order(tmp_path / "jobs" / "ftjob-1", base, n_epochs=200, batch_size=9))
    ordered = job.read("job")
    with real_ray(gpus=1) as ray, executor_on(ray, job.path.parent, gpus_per_machine=1) as executor:
        # only one machine is there
        executor.launch(job)
        until(lambda: ray.jobs().get("ftjob-1", {}).get("status") == "RUNNING", seconds=SECONDS)
        executor.stop(job)
        ended(executor, job)
        assert job.read("outcome")["outcome"] == "stopped"
        assert job.state() is None

        ray.join(gpus=1)
        again(job, ordered, attempt=2)
        executor.launch(job)
        at_work(job)
        executor.stop(job)
        ended(executor, job)
        assert job.read("outcome")["outcome"] == "stopped"
        assert job.state() is not None

        again(job, ordered, attempt=3)
        executor.launch(job)
        at_work(job)
        os.kill(processes(job)["ray_gang"], signal.SIGKILL)
        ended(executor, job)
        until(lambda: not processes(job), seconds=30)
        assert job.read("outcome") is None


def again(job: JobFolder, ordered: dict[str, object], *, attempt: int) -> None:
    """Order the next attempt, as the supervisor does."""
    job.clear_stop()
    (job.path / "outcome.json").unlink(missing_ok=True)
    job.write("job", ordered | {"attempt": attempt})


def at_work(job: JobFolder) -> None:
    """Wait until both processes are there, and a step more than before has been trained."""
    before = len(metrics(job))
    until(lambda: len(metrics(job)) > before and len(processes(job).keys() & {"0", "1"}) == 2, seconds=SECONDS)
