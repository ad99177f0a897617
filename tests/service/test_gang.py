"""A gang: several processes that train one job, by its folder alone, with a real torchrun on processors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from support.service import until

pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("peft", reason="needs the extra `train`")

from support.gangs import (
    again,
    at_work,
    copy,
    launch,
    messages,
    metrics,
    order,
    processes,
    run,
    sabotage,
    same,
    slowed,
    stopped,
)
from support.tiny_llama import make_tiny_llama

from tuneway_service.executors import LocalExecutor
from tuneway_service.executors.ray_share import Relay

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

CLOSE = 1e-5
LONG = {"n_epochs": 200, "batch_size": 9}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_tiny_llama(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def whole(base, tmp_path_factory):
    """What two processes make of the rows without a break."""
    job = order(tmp_path_factory.mktemp("whole") / "job", base, count=2)
    run(job)
    return job


@pytest.mark.parametrize(
    ("method", "knobs"),
    [("supervised", {}), ("supervised", {"lora": False}), ("dpo", {}), ("reinforcement", {})],
    ids=["supervised", "all weights", "dpo", "reinforcement"],
)
def test_two_processes_learn_what_one_learns_also_when_they_take_turns(base, tmp_path, method, knobs):
    alone = order(tmp_path / "alone", base, method=method, **knobs)
    outcome = run(alone)
    both = order(tmp_path / "both", base, method=method, count=2, **knobs)
    assert run(both)["trained_tokens"] == outcome["trained_tokens"] > 0
    assert "2 processes train together, one on each device" in messages(both)
    same(alone, both, CLOSE)
    assert len({tuple(numbers.values()) for numbers in metrics(both).values()}) > 1

    # begun with two: finished with two it is the same to the last bit, and finished with one it is as close
    begun = stopped(order(tmp_path / "begun", base, method=method, count=2, **knobs))
    fewer = copy(begun, tmp_path / "fewer")
    run(again(begun, 2))
    same(both, begun)
    run(again(fewer, 1))
    same(alone, fewer, CLOSE)
    more = stopped(order(tmp_path / "more", base, method=method, **knobs))
    run(again(more, 2))
    same(alone, more, CLOSE)


@pytest.mark.parametrize("victim", ["0", "1", "launch"])
def test_when_a_process_is_killed_all_end_and_the_job_goes_on_from_its_last_state(base, whole, tmp_path, victim):
    job = order(tmp_path / "job", base, count=2)
    executor = LocalExecutor()
    with pytest.MonkeyPatch.context() as patch:
        # the second process waits before the second epoch, where it can be met
        for name, value in slowed(tmp_path / "code", step=5).items():
            patch.setenv(name, value)
        executor.launch(job)
    until(lambda: job.state() is not None, seconds=120)
    living = processes(job)
    assert living.keys() == {"gang", "launch", "0", "1"}
    os.kill(living[victim], signal.SIGKILL)
    began = time.monotonic()
    until(lambda: not executor.alive(job), seconds=30)
    assert time.monotonic() - began < 15
    assert processes(job) == {}
    assert job.read("outcome") is None
    what = "torchrun was" if victim == "launch" else f"rank {victim} was"
    assert executor.exit_reason(job) == f"its worker exited with status 1; its last output: {what} killed by SIGKILL"
    run(again(job, 2))
    assert "Resuming from step 4" in messages(job)
    same(whole, job)


def test_who_kills_the_gang_leaves_no_process(base, tmp_path):
    job = order(tmp_path / "job", base, count=2, **LONG)
    executor = LocalExecutor()
    executor.launch(job)
    assert len(at_work(job)) == 4
    executor.stop(job, force=True)
    until(lambda: not executor.alive(job), seconds=30)
    assert processes(job) == {}


def test_a_later_service_kills_the_gang_of_an_earlier_one(base, tmp_path):
    job = order(tmp_path / "job", base, count=2, **LONG)
    process = launch(job)
    living = at_work(job)
    later = LocalExecutor()
    assert later.alive(job)
    assert job.holder() == process.pid == living["gang"]
    later.stop(job, force=True)
    process.wait(timeout=30)
    until(lambda: not later.alive(job), seconds=30)
    assert processes(job) == {}


def test_a_signal_to_the_gang_stops_all_after_the_same_step_with_their_state_saved(base, tmp_path):
    job = order(tmp_path / "job", base, count=2, **LONG)
    process = launch(job)
    at_work(job)
    # to the group, as Ray sends it
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    outcome = job.read("outcome")
    assert outcome["outcome"] == "stopped"
    assert job.state()[0] == outcome["step"] == max(metrics(job)) < 400


FULL = """
import os
if os.environ.get("RANK") == "1":
    from tuneway_service.trainers import hf
    start = hf.HfTrainer.start
    def small(self, run):
        training = start(self, run)
        def learn():
            raise MemoryError("CUDA out of memory on the second device")
        training._learn = learn
        return training
    hf.HfTrainer.start = small
"""


def test_when_one_process_runs_out_of_memory_the_job_says_so(base, tmp_path):
    job = order(tmp_path / "job", base, count=2)
    began = time.monotonic()
    outcome = run(job, **sabotage(tmp_path / "code", FULL))
    assert outcome["code"] == "out_of_memory"
    assert "CUDA out of memory on the second device" in outcome["message"]
    assert time.monotonic() - began < 60
    assert processes(job) == {}


def test_a_training_that_diverges_gives_the_error_that_one_process_gives(base, tmp_path):
    knobs = {"learning_rate_multiplier": 1e30, "lora": False}
    outcomes = [run(order(tmp_path / f"job-{count}", base, count=count, **knobs)) for count in (1, 2)]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0]["code"] == "invalid_hyperparameters"
    assert "the training diverged at step" in outcomes[0]["message"]


def test_a_state_that_one_process_cannot_read_is_left_by_all(base, whole, tmp_path):
    job = stopped(order(tmp_path / "job", base, count=2))
    code = """
import os
if os.environ.get("RANK") == "1":
    from tuneway_service.trainers import hf
    def unreadable(*_):
        raise OSError("no such file")
    hf.HfTrainer.resume = unreadable
"""
    run(again(job, 2), **sabotage(tmp_path / "code", code))
    assert any("can't be read: training again from the start" in text for text in messages(job))
    same(whole, job)


def test_a_process_that_hangs_ends_all(base, tmp_path):
    job = order(tmp_path / "job", base, count=2)
    variables = slowed(tmp_path / "code", step=2)
    with (tmp_path / "code" / "sitecustomize.py").open("a") as code:
        code.write(IMPATIENT)
    began = time.monotonic()
    assert launch(job, **variables).wait(timeout=120) == 1
    assert time.monotonic() - began < 50  # the process hangs for a minute
    assert job.read("outcome") is None
    assert processes(job) == {}


IMPATIENT = """
if "RANK" in os.environ:
    from datetime import timedelta
    from tuneway_service.trainers.hf import ranks
    ranks.TIMEOUT = timedelta(seconds=10)
"""


def test_a_gang_trains_where_the_folder_comes_from_a_store(base, whole, tmp_path):
    pytest.importorskip("fsspec")
    job = order(tmp_path / "jobs" / "ftjob-1", base, count=2)
    relay = Relay(f"file://{tmp_path}/store")
    relay.offer(job, 1)
    done = subprocess.run(
        [sys.executable, "-m", "tuneway_service.relay", f"{tmp_path}/store/ftjob-1/1", "1"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    relay.fetch(job, 1, at_once=True)
    assert job.read("outcome")["outcome"] == "succeeded"
    assert not [path for path in (tmp_path / "store").rglob("*") if "rank" in path.name]
    same(whole, job)


def test_only_the_first_process_asks_the_grader_and_about_each_answer_once(base, tmp_path):
    asked = tmp_path / "asked"
    job = order(tmp_path / "job", base, method="reinforcement", count=2)
    run(job, **sabotage(tmp_path / "code", COUNTS.format(place=str(asked))))
    # two epochs of 6 questions with 4 answers each, and two validations of 6 questions with 2 answers each
    assert asked.read_text().split() == ["0"] * (2 * 6 * 4 + 2 * 6 * 2)


COUNTS = """
import os
from tuneway_service import rewards
grader_of = rewards.grader_of
def counted(job):
    grade = grader_of(job)
    def judge(item, answer):
        with open({place!r}, "a") as file:
            file.write(os.environ.get("RANK", "none") + "\\n")
        return grade(item, answer)
    return judge
rewards.grader_of = counted
"""


def test_processes_add_up_what_each_has(tmp_path):
    """Gradients that only some have, of several kinds and in several messages; tensors, and JSON of any length."""
    script = tmp_path / "talk.py"
    script.write_text(TALK)
    words = ["--nproc-per-node=2", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"]
    done = subprocess.run(
        [sys.executable, "-m", "tuneway_service.trainers.hf.launch", *words, str(script)],
        env={**os.environ, "TUNEWAY_PARENT": str(os.getpid()), "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("all is well") == 2


TALK = """
import os
import torch
from tuneway_service.trainers import join_gang
from tuneway_service.trainers.hf import ranks as module

module.BUCKET = 64
ranks = join_gang()
kinds = [torch.float32, torch.float32, torch.float64, torch.float32, torch.float32]
weights = [torch.nn.Parameter(torch.zeros(4 + 8 * number, dtype=kind)) for number, kind in enumerate(kinds)]
for number, weight in enumerate(weights):
    # nobody has that of the last, and only one has that of the one before
    if number < 3 or (number == 3 and ranks.first):
        weight.grad = torch.full_like(weight, float(number + ranks.rank))
ranks.add_up_gradients(weights)
assert [weight.grad if weight.grad is None else weight.grad.unique().tolist() for weight in weights] == [
    [1.0], [3.0], [5.0], [3.0], None
]
assert weights[2].grad.dtype == torch.float64
assert ranks.gathered(["ä" * 1000 * ranks.rank, None]) == [["", None], ["ä" * 1000, None]]
assert ranks.told(ranks.rank) == 0
assert ranks.any(ranks.rank == 1) and not ranks.any(False)
numbers = torch.tensor([1.0, ranks.rank])
ranks.add_up(numbers)
assert numbers.tolist() == [2.0, 1.0]
print("all is well", flush=True)
os._exit(0)
"""
