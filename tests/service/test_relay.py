"""Job folders that go to a cluster and come back by a store: whole, in order, and each attempt's by itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from support.fake_ray import FakeRay
from support.openai_jobs import chats
from support.service import until

from tuneway.errors import InvalidSpec
from tuneway_service.executors.ray import RayExecutor
from tuneway_service.executors.ray_settings import RaySettings
from tuneway_service.executors.ray_share import Relay
from tuneway_service.folder import JobFolder
from tuneway_service.relay import Carrier, Store, from_service, from_worker
from tuneway_service.worker import TAKEN
from tuneway_service.worker import main as work

pytest.importorskip("fsspec", reason="needs the extra `stores`")

JOB = "ftjob-1"


@pytest.fixture
def stores(tmp_path):
    return f"file://{tmp_path}/store"


@pytest.fixture
def here(tmp_path):
    """The service's folder of a job."""
    job = JobFolder(tmp_path / "here" / JOB)
    job.path.mkdir(parents=True)
    job.training.write_bytes(chats(40))
    order(job, 1)
    return job


def order(job: JobFolder, attempt: int, **knobs) -> None:
    knobs = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 1.0} | knobs
    fields = {"job_id": JOB, "trainer": "bytes", "method": "supervised", "seed": 3, "integrations": []}
    job.write("job", fields | {"attempt": attempt, "hyperparameters": knobs})


def relayed(command: str) -> subprocess.Popen[bytes]:
    """What the cluster's shell runs; `python` is this one."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(command, shell=True, env=os.environ | {"PATH": path})


def finished(command: str) -> int:
    """Run it to its end."""
    return relayed(command).wait(timeout=60)


def told(relay: Relay, job: JobFolder, attempt: int, text: str) -> bool:
    """Whether the journal has come as far as that."""
    relay.fetch(job, attempt, at_once=True)
    return job.journal.exists() and text in job.journal.read_text()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_job_trains_by_a_store_to_the_same_weights(here, stores, tmp_path):
    other = JobFolder(tmp_path / "other")
    other.path.mkdir()
    other.training.write_bytes(chats(40))
    order(other, 1)
    subprocess.run([sys.executable, "-m", "tuneway_service.worker", str(other.path)], check=True)
    relay = Relay(stores)
    relay.offer(here, 1)
    assert finished(relay.command(here, 1)) == 0
    relay.fetch(here, 1, at_once=True)
    assert here.finished(1)
    assert contents(here.model) == contents(other.model)
    assert contents(here.checkpoints) == contents(other.checkpoints)
    assert here.results.read_bytes() == other.results.read_bytes()
    relay.drop(here, 1)
    assert contents(tmp_path / "store") == {}


@pytest.mark.slow
def test_what_has_come_so_far_goes_on_in_the_next_attempt(here, stores, tmp_path):
    here.training.write_bytes(chats(2000))
    order(here, 1, n_epochs=50, batch_size=1)
    relay = Relay(stores)
    relay.offer(here, 1)
    worker = relayed(relay.command(here, 1))
    until(partial(told, relay, here, 1, "Training on"), seconds=60)
    relay.ask_to_stop(here, 1)
    assert worker.wait(timeout=60) == 0
    relay.fetch(here, 1, at_once=True)
    step, place = here.state()
    assert here.read("outcome") == {"outcome": "stopped", "attempt": 1, "step": step}
    relay.drop(here, 1)
    order(here, 2, n_epochs=50, batch_size=1)
    relay.offer(here, 2)
    assert (tmp_path / "store" / JOB / "2" / "state" / str(step)).exists()
    worker = relayed(relay.command(here, 2))
    until(partial(told, relay, here, 2, f"Resuming from step {step}"), seconds=60)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == 0
    relay.fetch(here, 2, at_once=True)
    assert here.state()[0] > step
    assert not place.exists()


def test_a_worker_that_comes_too_late_does_nothing(here, stores, tmp_path):
    relay = Relay(stores)
    relay.offer(here, 1)
    relay.withdraw(here, 1)
    assert finished(relay.command(here, 1)) == TAKEN
    relay.drop(here, 1)
    assert finished(relay.command(here, 1)) == TAKEN
    assert contents(tmp_path / "store") == {}


def test_a_worker_that_was_given_up_brings_nothing_back(here, stores, tmp_path):
    relay = Relay(stores)
    relay.offer(here, 1)
    far = JobFolder(tmp_path / "far")
    far.path.mkdir()
    far.write("job", {"attempt": 1})
    relay.withdraw(here, 1)
    far.write("outcome", {"outcome": "succeeded"})
    Carrier(Store(f"{stores}/{JOB}/1"), far).exchange()
    assert not far.ordered(1)
    relay.fetch(here, 1, at_once=True)
    assert not here.finished(1)


# a store in memory, as object stores are: no folders, no renaming


@pytest.fixture
def store(request):
    made = Store(f"memory://{request.node.name}/{JOB}/1")
    yield made
    made.clear()


@pytest.fixture
def far(tmp_path):
    """The worker's folder."""
    job = JobFolder(tmp_path / "far")
    job.path.mkdir()
    return job


def watched(monkeypatch, store: Store, *kinds: str) -> list[str]:
    """The names that are carried from now on."""
    carried: list[str] = []

    def watch(act):
        def acting(*places):
            carried.extend(
                place.removeprefix(store.place + "/") for place in places if str(place).startswith(store.place)
            )
            return act(*places)

        return acting

    for kind in kinds:
        monkeypatch.setattr(store.files, kind, watch(getattr(store.files, kind)))
    return carried


def test_what_points_at_something_is_carried_after_it(store, far, monkeypatch):
    far.keep_state(1, lambda place: (place.mkdir(), (place / "w").write_bytes(b"1")))
    far.journal.write_bytes(b"{}\n")
    far.write("outcome", {"outcome": "stopped"})
    carried = watched(monkeypatch, store, "put_file", "pipe_file")
    store.send(far.path, from_worker)
    assert carried == ["state/1/w", "journal.jsonl", "state.json", "outcome.json"]


def test_prepared_rows_stay_on_the_machine_that_made_them(store, far):
    far.prepared.mkdir()
    (far.prepared / "ids").write_bytes(b"1")
    for wanted in (from_worker, from_service):
        store.send(far.path, wanted)
    assert not any(name.startswith("prepared") for name in store.listed())


def test_a_state_that_is_replaced_while_it_is_carried_leaves_the_old_one_whole(store, far, here, monkeypatch):
    save = lambda text: lambda place: (place.mkdir(), (place / "w").write_bytes(text))  # noqa: E731
    far.keep_state(1, save(b"1"))
    store.send(far.path, from_worker)
    put = store.files.put_file

    def slow(here_, there):
        put(here_, there)
        if there.endswith("state/2/w"):
            far.keep_state(3, save(b"3"))

    monkeypatch.setattr(store.files, "put_file", slow)
    far.keep_state(2, save(b"2"))
    store.send(far.path, from_worker)
    Store(f"memory://{store.place}").fetch(here.path, from_worker)
    step, place = here.state()
    assert (step, (place / "w").read_bytes()) == (1, b"1")
    store.send(far.path, from_worker)
    Store(f"memory://{store.place}").fetch(here.path, from_worker)
    step, place = here.state()
    assert (step, (place / "w").read_bytes()) == (3, b"3")


def test_what_vanishes_while_it_is_carried_holds_up_nothing_else(store, far, here, monkeypatch):
    far.keep_state(1, lambda place: (place.mkdir(), (place / "a").write_bytes(b"1"), (place / "b").write_bytes(b"1")))
    far.journal.write_bytes(b"{}\n")
    put = store.files.put_file

    def slow(from_, there):
        put(from_, there)
        if there.endswith("state/1/a"):
            far.keep_state(2, lambda place: (place.mkdir(), (place / "a").write_bytes(b"2")))

    monkeypatch.setattr(store.files, "put_file", slow)
    store.send(far.path, from_worker)
    reader = Store(f"memory://{store.place}")
    reader.fetch(here.path, from_worker)
    assert here.journal.read_bytes() == b"{}\n"
    assert here.state() is None
    store.send(far.path, from_worker)
    reader.fetch(here.path, from_worker)
    step, place = here.state()
    assert (step, contents(place)) == (2, {"a": b"2"})


def test_only_what_has_changed_is_carried(store, far, here, monkeypatch):
    (far.path / "checkpoints" / "1").mkdir(parents=True)
    (far.path / "checkpoints" / "1" / "w").write_bytes(b"1")
    reader = Store(f"memory://{store.place}")
    store.send(far.path, from_worker)
    reader.fetch(here.path, from_worker)
    carried = watched(monkeypatch, store, "put_file", "get_file")
    (far.path / "checkpoints" / "2").mkdir()
    (far.path / "checkpoints" / "2" / "w").write_bytes(b"2")
    for _ in range(3):
        store.send(far.path, from_worker)
        reader.fetch(here.path, from_worker)
    assert carried == ["checkpoints/2/w", "checkpoints/2/w"]
    assert contents(here.checkpoints) == {"1/w": b"1", "2/w": b"2"}


def test_what_is_gone_there_goes_here_unless_all_is(store, far, here):
    for step in ("1", "2"):
        (far.path / "checkpoints" / step).mkdir(parents=True)
        (far.path / "checkpoints" / step / "w").write_bytes(b"w")
    reader = Store(f"memory://{store.place}")
    store.send(far.path, from_worker)
    reader.fetch(here.path, from_worker)
    (far.path / "checkpoints" / "1" / "w").unlink()
    store.send(far.path, from_worker)
    reader.fetch(here.path, from_worker)
    assert contents(here.checkpoints) == {"2/w": b"w"}
    store.clear()
    reader.fetch(here.path, from_worker)
    assert contents(here.checkpoints) == {"2/w": b"w"}


def test_a_service_sends_no_outcome_and_no_model(here, store):
    here.write("outcome", {"outcome": "stopped"})
    here.write("lease", {})
    here.log.write_bytes(b"x")
    store.send(here.path, from_service)
    assert set(store.listed()) == {"training.jsonl"}


# the executor with a store


@pytest.fixture(autouse=True)
def _own_signals(monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)


def test_the_executor_sends_and_fetches(here, stores, tmp_path):
    with FakeRay() as ray:
        now = [1000.0]
        settings = RaySettings(address=ray.address, jobs_url=stores)
        executor = RayExecutor(settings, here.path.parent, clock=lambda: now[0], background=False)

        def look() -> bool:
            now[0] += 6
            executor.alive(here)
            executor.round()
            return executor.alive(here)

        executor.launch(here)
        assert look()
        asked = ray.jobs[JOB]["asked"]["entrypoint"]
        assert f"exec python -m tuneway_service.relay {stores}/{JOB}/1 1;" in asked
        ray.set(JOB, "RUNNING")
        assert look()
        there = tmp_path / "store" / JOB / "1"
        (there / "progress.json").write_text('{"step": 7}')
        assert look()
        assert here.read("progress") == {"step": 7}
        executor.stop(here)
        assert look()
        assert (there / "stop").exists()
        # Ray is away when the outcome arrives
        ray.down()
        (there / "outcome.json").write_text(json.dumps({"outcome": "stopped", "attempt": 1}))
        assert not look()
        executor.close()


def test_a_store_that_is_away_is_no_end(here, stores, monkeypatch):
    with FakeRay() as ray:
        now = [1000.0]
        settings = RaySettings(address=ray.address, jobs_url=stores)
        executor = RayExecutor(settings, here.path.parent, clock=lambda: now[0], background=False)

        def away(*_, **__):
            raise ConnectionError("no store")

        with monkeypatch.context() as patch:
            patch.setattr(Store, "send", away)
            executor.launch(here)
            for _ in range(10):
                now[0] += 6
                executor.round()
                assert executor.alive(here)
        assert ray.submitted == []
        assert any("no store" in item.message for item in executor.notices(here))
        now[0] += 6
        executor.round()
        ray.set(JOB, "FAILED", driver_exit_code=1)
        with monkeypatch.context() as patch:
            patch.setattr(Store, "fetch", away)
            now[0] += 6
            executor.round()
            assert executor.alive(here)
        now[0] += 6
        executor.round()
        assert not executor.alive(here)
        executor.close()
        assert work([str(here.path), "1"]) == TAKEN


@pytest.mark.parametrize("url", ["nonsense://x", "s4://bucket"])
def test_a_store_that_nobody_knows_is_refused(url, tmp_path):
    with pytest.raises(InvalidSpec, match="can't use"):
        RayExecutor(RaySettings(address="http://ray:8265", jobs_url=url), tmp_path, background=False)
