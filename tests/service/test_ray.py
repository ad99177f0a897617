"""The Ray executor against a head that fails in every way: nothing runs twice, nothing is taken for dead too soon."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.fake_ray import FakeRay

from tuneway.errors import InvalidSpec
from tuneway_service.commands.options import ExecutorName, ServeOptions
from tuneway_service.executors import ray as raying
from tuneway_service.executors.ray import RayExecutor
from tuneway_service.executors.ray_settings import RaySettings
from tuneway_service.executors.ray_share import shell_line
from tuneway_service.folder import JobFolder, Taken, process_start, this_machine
from tuneway_service.worker import TAKEN
from tuneway_service.worker import main as work

JOB = "ftjob-1"
ON_RAY = {"executor": ExecutorName.RAY, "ray_address": "http://ray:8265"}


class Stage:
    """A job folder, a fake cluster, and an executor whose time the test tells."""

    def __init__(self, ray: FakeRay, place, **options) -> None:
        self.ray = ray
        self.now = 1000.0
        self.options = options
        self.folder = JobFolder(place / JOB)
        self.folder.path.mkdir(parents=True)
        self.executor = self.restarted()

    def restarted(self) -> RayExecutor:
        """What another service finds."""
        settings = RaySettings(address=self.ray.address, **self.options)
        self.executor = RayExecutor(settings, self.folder.path.parent, clock=lambda: self.now, background=False)
        return self.executor

    def order(self, attempt: int = 1) -> None:
        """What the supervisor does to have a job run."""
        self.folder.clear_stop()
        self.folder.write("job", {"attempt": attempt})
        self.executor.launch(self.folder)

    def look(self, *, after: float = raying.LOOK_SECONDS) -> bool:
        """Let time pass and the executor look; whether the job is still alive."""
        self.now += after
        self.executor.alive(self.folder)
        self.executor.round()
        return self.executor.alive(self.folder)

    def news(self) -> list[str]:
        return [item.message for item in self.executor.notices(self.folder)]

    def run(self) -> None:
        """Bring a job as far as its worker being at work."""
        self.order()
        self.look()
        self.ray.set(JOB, "RUNNING", driver_node_id="n1")
        self.work()
        assert self.look()

    def work(self, *, machine: str = "far", pid: int = 1, started: str = "0", attempt: int = 1) -> None:
        """The worker's lease."""
        self.folder.write("lease", {"attempt": attempt, "machine": machine, "pid": pid, "started": started})


@pytest.fixture(autouse=True)
def _own_signals(monkeypatch):
    """Workers that are called here leave this process its own."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)


@pytest.fixture
def ray():
    with FakeRay() as fake:
        yield fake


@pytest.fixture
def stage(ray, tmp_path):
    made = Stage(ray, tmp_path / "jobs")
    yield made
    made.executor.close()


def test_a_job_is_submitted_under_its_own_name(ray, tmp_path):
    stage = Stage(ray, tmp_path / "a b", cpus=2, gpus=0.5, runtime_env={"env_vars": {"A": "1"}})
    stage.order()
    assert stage.look()
    asked = ray.jobs[JOB]["asked"]
    assert asked["submission_id"] == JOB
    assert (asked["entrypoint_num_cpus"], asked["entrypoint_num_gpus"]) == (2, 0.5)
    assert asked["runtime_env"] == {"env_vars": {"A": "1"}}
    assert f" '{stage.folder.path}' 1;" in asked["entrypoint"]
    assert stage.news() == ["Submitted to the Ray cluster as ftjob-1"]
    stage.executor.close()


def test_the_cluster_may_have_the_folders_elsewhere(ray, tmp_path):
    stage = Stage(ray, tmp_path, jobs_dir=tmp_path / "mnt")
    stage.order()
    stage.look()
    assert f" {tmp_path / 'mnt' / JOB} 1;" in ray.jobs[JOB]["asked"]["entrypoint"]
    stage.executor.close()


STUB = "import os, sys; print(__name__, os.getpid(), *sys.argv[1:], sep='\\n'); sys.exit(7)"


def machine_with(place: Path, *packages: str) -> dict[str, str]:
    """The environment of a machine that has these packages and no others, with a `python` that prints its arguments."""
    for package in packages:
        folder = place / "site" / package.replace(".", "/")
        folder.mkdir(parents=True)
        for part in (folder, *folder.parents[: package.count(".")]):
            (part / "__init__.py").touch()
        for module in ("worker", "relay"):
            (folder / f"{module}.py").write_text(STUB)
    python = place / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -S "$@"\n')
    python.chmod(0o755)
    return {"PATH": f"{python.parent}{os.pathsep}{os.defpath}", "PYTHONPATH": str(place / "site")}


@pytest.mark.parametrize("module", ["worker", "relay"])
@pytest.mark.parametrize(
    ("packages", "place"),
    [
        (["tuneway_service"], "/srv/jobs/ftjob-1"),
        (["tuneway.service"], "/srv/jobs/ftjob-1"),
        (["tuneway_service", "tuneway.service"], 's3://bucket/it\'s $(mine) "1"; exit/ftjob-1/2'),
        (["tuneway.service"], 's3://bucket/it\'s $(mine) "1"; exit/ftjob-1/2'),
    ],
)
def test_the_entrypoint_starts_the_worker_of_the_tuneway_that_the_machine_has(tmp_path, module, packages, place):
    line = shell_line(module, place, 2)
    with subprocess.Popen(
        line,
        shell=True,
        env=machine_with(tmp_path, *packages),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as shell:
        printed, errors = shell.communicate(timeout=60)
    # the process of the shell becomes the worker's: its signals and its exit status are the worker's own
    assert printed.splitlines() == ["__main__", str(shell.pid), place, "2"]
    assert (shell.returncode, errors) == (7, "")


def test_an_entrypoint_on_a_machine_without_tuneway_says_what_is_missing(tmp_path):
    line, machine = shell_line("worker", "/srv/jobs/ftjob-1", 1), {"env": machine_with(tmp_path), "cwd": tmp_path}
    done = subprocess.run(line, shell=True, **machine, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "No module named 'tuneway'" in done.stderr


def test_a_later_attempt_is_another_submission(stage, ray):
    stage.run()
    ray.set(JOB, "FAILED", driver_exit_code=-9)
    assert not stage.look()
    stage.news()
    assert "killed by SIGKILL" in stage.executor.exit_reason(stage.folder)
    stage.order(2)
    assert stage.look()
    assert ray.submitted == [JOB, f"{JOB}-2"]


@pytest.mark.parametrize("fault", ["lost", "dropped", "500", "502", "503", "429", "garbage", "elsewhere", "302"])
def test_whatever_becomes_of_a_submission_the_job_runs_once(stage, ray, fault):
    ray.faults["POST"].append(fault)
    stage.order()
    for _ in range(5):
        assert stage.look()
    assert ray.submitted == [JOB]


def test_a_submission_that_was_taken_before_the_look_is_recognised_by_its_refusal(stage, ray):
    """Its first answer was lost, and the cluster was too slow to know it at once."""
    ray.faults["POST"].append("lost")
    ray.faults["GET"] += ["pass", "pass"]
    stage.order()
    stage.look()
    taken = ray.jobs.pop(JOB)
    submit = ray._submit

    def slow(body):
        ray.jobs[JOB] = taken
        return submit(body)

    ray._submit = slow
    assert stage.look()
    assert stage.look()
    assert ray.submitted == [JOB]
    assert sum(method == "POST" for method, *_ in ray.seen) == 2
    assert stage.news() == ["Submitted to the Ray cluster as ftjob-1"]


def test_a_service_killed_before_it_knew_of_its_submission_finds_it(stage, ray):
    ray.faults["POST"].append("lost")
    stage.order()
    stage.look()
    stage.restarted()
    assert stage.look()
    assert ray.submitted == [JOB]


def test_a_service_killed_before_submitting_submits(stage, ray):
    stage.folder.write("job", {"attempt": 1})
    stage.restarted()
    assert stage.look()
    assert ray.submitted == [JOB]


def test_a_job_that_never_had_an_order_is_not_alive(stage):
    assert not stage.executor.alive(stage.folder)


def test_a_refused_job_is_lost_with_the_reason(stage, ray):
    ray.refuses = "runtime_env is no good"
    stage.order()
    assert not stage.look()
    stage.news()
    assert "the Ray cluster refuses it" in (words := stage.executor.exit_reason(stage.folder))
    assert "runtime_env is no good" in words


@pytest.mark.parametrize("fault", ["dropped", "500", "503", "401", "403", "garbage", "elsewhere", "404"])
def test_no_answer_is_no_end(stage, ray, fault):
    stage.run()
    stage.news()
    for _ in range(50):
        ray.faults["GET"].append(fault)
        assert stage.look(after=40)
    ray.faults["GET"].clear()
    assert stage.look(after=40)
    told = stage.news()
    assert len(told) == 2
    assert "gives no status of the job" in told[0]
    assert told[1] == "The Ray cluster answers again"
    assert ray.submitted == [JOB]


def test_a_cluster_that_is_away_is_asked_less_and_less(stage, ray):
    stage.run()
    for _ in range(600):
        if not ray.faults["GET"]:
            ray.faults["GET"].append("503")
        stage.look(after=1)
    asked = sum(method == "GET" for method, *_ in ray.seen)
    assert 30 < asked < 60


def test_a_moment_without_an_answer_is_no_news(stage, ray):
    stage.run()
    stage.news()
    ray.faults["GET"].append("503")
    stage.look()
    stage.look()
    assert stage.news() == []


def test_a_head_that_is_down_and_up_again_still_has_the_job(stage, ray):
    stage.run()
    ray.down()
    for _ in range(10):
        assert stage.look(after=60)
    ray.up()
    stage.folder.write("outcome", {"outcome": "succeeded"})
    ray.set(JOB, "SUCCEEDED", driver_exit_code=0)
    assert not stage.look(after=60)
    assert ray.submitted == [JOB]


def test_an_outcome_counts_though_ray_is_away(stage, ray):
    stage.run()
    ray.down()
    assert stage.look()
    stage.folder.write("outcome", {"outcome": "succeeded"})
    assert not stage.look()


def test_what_an_earlier_attempt_left_is_no_outcome_of_this_one(stage, ray):
    stage.folder.write("outcome", {"outcome": "stopped", "attempt": 1})
    stage.order(2)
    stage.look()
    ray.set(f"{JOB}-2", "RUNNING")
    assert stage.look()
    stage.folder.write("outcome", {"outcome": "stopped", "attempt": 2})
    assert not stage.look()


def test_the_log_is_brought_back_and_the_record_cleared_away_later(stage, ray):
    stage.run()
    ray.logs[JOB] = "Running entrypoint\nTraceback: oh no\n"
    stage.folder.write("outcome", {"outcome": "failed"})
    assert not stage.look()
    assert stage.folder.log.read_text() == ray.logs[JOB]
    ray.set(JOB, "SUCCEEDED", driver_exit_code=0)
    stage.look(after=1)
    assert JOB in ray.jobs
    stage.news()
    stage.look(after=raying.DELETE_AFTER)
    assert JOB not in ray.jobs


def test_a_log_that_can_not_be_had_holds_nothing_up(stage, ray):
    stage.run()
    ray.set(JOB, "FAILED", driver_exit_code=1)
    ray.faults["GET"] += ["pass", "500"]
    assert not stage.look()


def test_only_the_end_of_a_long_log_is_kept(stage, ray):
    stage.run()
    ray.logs[JOB] = "x" * (raying.LOG_BYTES * 2) + "\nthe end"
    ray.set(JOB, "FAILED", driver_exit_code=1)
    assert not stage.look()
    assert stage.folder.log.stat().st_size == raying.LOG_BYTES
    stage.news()
    assert stage.executor.exit_reason(stage.folder) == "its worker exited with status 1; its last output: the end"


# when Ray doesn't know how its process ended


def died(ray):
    ray.set(JOB, "FAILED", message="Job supervisor actor died: node 1 is gone\nmore", driver_exit_code=None)


def forgotten(ray):
    ray.jobs.clear()


@pytest.mark.parametrize("how", [died, forgotten])
def test_a_worker_on_another_machine_is_dead_only_after_a_long_silence(stage, ray, how):
    stage.run()
    how(ray)
    lease = stage.folder.path / "lease.json"
    for beat in range(5):
        os.utime(lease, (beat, beat))
        assert stage.look(after=raying.SILENCE)
    assert stage.look(after=raying.SILENCE - 1)
    assert not stage.look(after=2)
    assert ray.submitted == [JOB]


@pytest.mark.parametrize("how", [died, forgotten])
def test_a_worker_of_this_machine_is_dead_when_its_process_is(stage, ray, how):
    stage.run()
    how(ray)
    stage.work(machine=this_machine(), pid=os.getpid(), started=process_start(os.getpid()))
    assert stage.look(after=1000)
    stage.work(machine=this_machine(), pid=os.getpid(), started="another process of that pid")
    assert not stage.look()


@pytest.mark.parametrize("how", [died, forgotten])
def test_a_worker_that_holds_the_lock_is_alive_whatever_ray_says(stage, ray, how):
    stage.run()
    how(ray)
    with stage.folder.claim(1):
        stage.work()
        assert stage.look(after=1000)
    assert stage.look(after=3)
    assert not stage.look(after=1000)


@pytest.mark.parametrize("how", [died, forgotten])
def test_a_worker_that_never_came_finds_nothing_to_do_should_it_come_late(stage, ray, how):
    stage.order()
    stage.look()
    how(ray)
    assert not stage.look()
    assert work([str(stage.folder.path), "1"]) == TAKEN
    stage.order(2)
    assert work([str(stage.folder.path), "1"]) == TAKEN
    with pytest.raises(Taken), stage.folder.claim(1):
        pass


# cancel and pause


def test_stopping_asks_by_file_and_forcing_asks_ray(stage, ray):
    stage.run()
    stage.executor.stop(stage.folder)
    assert stage.look()
    assert stage.folder.stop_asked()
    assert ray.stopped == []
    stage.executor.stop(stage.folder, force=True)
    assert stage.look()
    assert ray.stopped == [JOB]
    ray.set(JOB, "STOPPED")
    assert not stage.look()


def test_a_job_that_waits_for_room_is_called_off_at_once_and_never_begins(stage, ray):
    stage.order()
    stage.look()
    stage.executor.stop(stage.folder)
    assert not stage.look()
    assert ray.stopped == [JOB]
    assert stage.folder.read("outcome") == {"outcome": "stopped", "attempt": 1}
    # Ray has it still and starts it one day
    assert work([str(stage.folder.path), "1"]) == TAKEN


def test_a_job_that_begins_while_it_is_called_off_is_waited_for(stage, ray):
    stage.order()
    stage.look()
    stop = ray._answer

    def begins(method, path, body):
        reply = stop(method, path, body)
        if path.endswith("/stop"):
            ray.set(JOB, "RUNNING")
        return reply

    ray._answer = begins
    stage.executor.stop(stage.folder)
    assert stage.look()
    ray.set(JOB, "STOPPED")
    assert not stage.look()


def test_a_job_that_was_never_taken_is_called_off_without_ray(stage, ray):
    ray.faults["POST"] += ["500"] * 3
    stage.order()
    stage.look()
    stage.executor.stop(stage.folder)
    assert not stage.look()
    assert ray.submitted == []


def test_a_job_that_had_no_room_for_too_long_is_no_loss(stage, ray):
    stage.order()
    stage.look()
    ray.set(JOB, "FAILED", error_type="JOB_SUPERVISOR_ACTOR_START_TIMEOUT")
    assert not stage.look()
    assert any("no resources" in text for text in stage.news())
    assert stage.folder.read("outcome")["outcome"] == "stopped"


def test_a_job_that_waits_says_so_once(stage, ray):
    stage.order()
    for _ in range(20):
        stage.look()
    assert sum(text.startswith("Waiting for the Ray cluster") for text in stage.news()) == 1


# keys


def test_keys_come_from_the_environment_and_show_nowhere(ray, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "hush-hush")
    monkeypatch.setenv("RAY_JOB_HEADERS", json.dumps({"X-Proxy": "shh-shh"}))
    settings = RaySettings.read(address=ray.address)
    assert "hush" not in repr(settings)
    assert "shh" not in repr(settings)
    stage = Stage(ray, tmp_path, headers=settings.headers)
    stage.order()
    ray.faults["GET"] += ["401"] * 3
    for _ in range(4):
        stage.look(after=30)
    _, _, sent = ray.seen[0]
    assert sent["Authorization"] == "Bearer hush-hush"
    assert sent["X-Proxy"] == "shh-shh"
    told = " ".join(stage.news()) + caplog.text
    assert "RAY_AUTH_TOKEN" in told
    assert not re.search(r"hush-|shh-", told)
    stage.executor.close()


@pytest.mark.parametrize(
    ("variable", "value"),
    [("RAY_JOB_HEADERS", "hush"), ("RAY_JOB_HEADERS", '["hush"]'), ("RAY_AUTH_TOKEN", "hush\nhush")],
)
def test_a_key_that_makes_no_sense_is_refused_without_showing_it(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidSpec) as caught:
        RaySettings.read(address="http://ray:8265")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"executor": ExecutorName.RAY}, "needs a cluster"),
        ({"ray_address": "http://ray:8265"}, "jobs run here"),
        (ON_RAY | {"ray_address": "ray:8265"}, "not an address"),
        (ON_RAY | {"ray_address": "http://ray:port"}, "not an address"),
        (ON_RAY | {"ray_address": "http://[::1"}, "not an address"),
        (ON_RAY | {"ray_address": "http://me:pw@ray:8265"}, "would show in logs"),
        (ON_RAY | {"ray_gpus": -1}, "can't reserve -1"),
        (
            ON_RAY | {"ray_runtime_env": "[1]"},
            "runtime environment",
        ),
        (
            ON_RAY | {"ray_runtime_env": "{1}"},
            "runtime environment",
        ),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(options, word):
    with pytest.raises(InvalidSpec, match=re.escape(word)):
        ServeOptions(**options).settings()


def test_a_runtime_environment_may_be_in_a_file(tmp_path):
    file = tmp_path / "env.json"
    file.write_text('{"pip": ["tuneway[local]"]}')
    settings = RaySettings.read(address="http://ray:8265", runtime_env=str(file))
    assert settings.runtime_env == {"pip": ["tuneway[local]"]}


def test_a_gang_reserves_a_gpu_for_each_of_its_processes(ray, stage):
    stage.folder.write("job", {"attempt": 1, "trainer": "hf:/models/tiny", "gpus": 3})
    stage.executor.launch(stage.folder)
    stage.look()
    asked = ray.jobs[JOB]["asked"]
    assert asked["entrypoint_num_gpus"] == 3
    assert "tuneway_service.gang" in asked["entrypoint"]


@pytest.mark.parametrize(
    ("processes", "per_machine", "machines", "gpus"),
    [(1, 4, 1, 0.5), (4, None, 1, 4), (4, 4, 1, 4), (8, 4, 2, 4), (6, 4, 2, 3), (5, 4, 5, 1), (9, 4, 3, 3)],
)
def test_a_gang_has_as_many_processes_on_each_machine(processes, per_machine, machines, gpus):
    settings = RaySettings(address="http://ray:8265", gpus=0.5, cpus=3, gpus_per_machine=per_machine)
    plan = settings.plan(processes)
    assert (plan.machines, plan.gpus, plan.cpus) == (machines, gpus, 3)


def test_a_gang_on_several_machines_reserves_them_itself(ray, tmp_path):
    stage = Stage(ray, tmp_path, gpus_per_machine=2, cpus=3)
    stage.folder.write("job", {"attempt": 1, "trainer": "hf:/models/tiny", "gpus": 4})
    stage.executor.launch(stage.folder)
    stage.look()
    asked = ray.jobs[JOB]["asked"]
    assert (asked["entrypoint_num_cpus"], asked["entrypoint_num_gpus"]) == (0, 0)
    words = shlex.split(asked["entrypoint"])
    assert words[:4] == ["exec", "python", "-m", "tuneway_service.executors.ray_gang"]
    assert words[4:6] == [str(stage.folder.path), "1"]
    assert json.loads(words[6]) == {"machines": 2, "gpus": 2, "cpus": 3}
    stage.executor.close()


@pytest.mark.parametrize(("code", "alive"), [(-signal.SIGKILL, True), (1, False)])
def test_a_gang_whose_entrypoint_is_killed_lives_until_the_machine_that_holds_the_folder_is_silent(
    ray, tmp_path, code, alive
):
    stage = Stage(ray, tmp_path, gpus_per_machine=2)
    stage.folder.write("job", {"attempt": 1, "trainer": "hf:/models/tiny", "gpus": 4})
    stage.executor.launch(stage.folder)
    stage.look()
    ray.set(JOB, "RUNNING", driver_node_id="n1")
    stage.work()
    assert stage.look()
    ray.set(JOB, "FAILED", driver_exit_code=code)
    assert stage.look() is alive
    assert not stage.look(after=raying.SILENCE) or not stage.look(after=raying.SILENCE)
    stage.executor.close()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"gpus_per_machine": 0}, "a machine can't have 0 GPUs"),
        ({"gpus_per_machine": 4, "jobs_url": "s3://bucket/jobs"}, "on storage that they share"),
    ],
)
def test_machines_that_cannot_train_one_job_together_are_refused(options, text):
    with pytest.raises(InvalidSpec, match=text):
        RaySettings(address="http://ray:8265", **options)
