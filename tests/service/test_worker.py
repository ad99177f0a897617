"""The worker, by its folder alone: what it needs is there, what it does ends up there."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import pytest
from support.datasets import to_bytes
from support.openai_jobs import chats
from support.service import until

from tuneway_service import journal, worker
from tuneway_service.folder import JobFolder, Taken, replace
from tuneway_service.result_table import result_table
from tuneway_service.trainers import Remark, Step


def order(folder: Path, *, rows: bytes = b"", **changes) -> JobFolder:
    """A job folder as the service lays it out."""
    folder.mkdir(parents=True, exist_ok=True)
    job = JobFolder(folder)
    job.training.write_bytes(rows or chats(40))
    knobs = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 1.0}
    job.write(
        "job",
        {
            "job_id": "ftjob-test",
            "attempt": 1,
            "trainer": "bytes",
            "method": "supervised",
            "hyperparameters": knobs,
            "seed": 3,
            "model_name": "ft:test",
            "integrations": [],
        }
        | changes,
    )
    return job


def launch(job: JobFolder) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tuneway_service.worker", str(job.path)], stderr=subprocess.PIPE)


def run(job: JobFolder):
    process = launch(job)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 0, printed.decode()
    return job.read("outcome")


def weights(job: JobFolder) -> dict[str, bytes]:
    return {str(path.relative_to(job.model)): path.read_bytes() for path in job.model.rglob("*") if path.is_file()}


def told_steps(job: JobFolder) -> list[int]:
    return [record["step"] for record in journal.read_all(job.journal) if record["kind"] == "metrics"]


LONG = {"n_epochs": 12, "batch_size": 1, "learning_rate_multiplier": 1.0}


def test_a_job_is_done_once(tmp_path):
    job = order(tmp_path / "job")
    outcome = run(job)
    assert outcome["outcome"] == "succeeded"
    assert told_steps(job) == list(range(1, 21))
    before = {path: path.stat().st_mtime_ns for path in job.path.rglob("*")}
    assert run(job) == outcome
    assert {path: path.stat().st_mtime_ns for path in job.path.rglob("*") if path.name != "lease.json"} == {
        path: at for path, at in before.items() if path.name != "lease.json"
    }


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, None], ids=["by signal", "by file"])
def test_a_worker_that_is_asked_to_stop_saves_and_goes_on_to_the_same_weights(tmp_path, number):
    whole = order(tmp_path / "whole", hyperparameters=LONG)
    run(whole)
    job = order(tmp_path / "job", hyperparameters=LONG)
    process = launch(job)
    until(lambda: len(told_steps(job)) > 30)
    if number is None:
        job.ask_to_stop()
    else:
        process.send_signal(number)
    process.communicate(timeout=30)
    stopped = job.read("outcome")
    assert stopped["outcome"] == "stopped"
    assert not job.model.exists()
    job.clear_stop()
    assert run(job)["trained_tokens"] == whole.read("outcome")["trained_tokens"]
    assert told_steps(job) == list(range(1, 481))  # no step twice: it went on exactly where it was
    assert weights(job) == weights(whole)
    assert job.results.read_bytes() == whole.results.read_bytes()


@pytest.mark.slow
def test_a_killed_worker_is_followed_by_one_that_comes_to_the_same_weights(tmp_path):
    whole = order(tmp_path / "whole", hyperparameters=LONG)
    run(whole)
    job = order(tmp_path / "job", hyperparameters=LONG)
    for steps in (5, 60, 130, 300):
        process = launch(job)
        until(lambda steps=steps: len(told_steps(job)) > steps)
        process.kill()
        process.communicate()
    run(job)
    assert weights(job) == weights(whole)
    assert job.results.read_bytes() == whole.results.read_bytes()
    assert sorted(set(told_steps(job))) == list(range(1, 481))


WRITES = "write,rename,renameat,renameat2,fsync,unlink,unlinkat,mkdir,rmdir,openat"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_a_worker_killed_at_any_system_call_leaves_a_folder_that_the_next_can_finish(tmp_path):
    short = LONG | {"n_epochs": 3, "batch_size": 8}
    whole = order(tmp_path / "whole", hyperparameters=short)
    run(whole)
    counted = order(tmp_path / "counted", hyperparameters=short)
    command = [sys.executable, "-m", "tuneway_service.worker"]
    listing = tmp_path / "calls"
    subprocess.run(["strace", "-f", "-qq", "-o", listing, "-e", f"trace={WRITES}", *command, counted.path], check=True)
    calls = listing.read_text().splitlines()
    # reading modules is the same for every kill: begin where the folder is first touched
    first = next(number for number, call in enumerate(calls, start=1) if "/lock" in call)
    moments = range(first, len(calls), max(1, (len(calls) - first) // 60))
    for moment in moments:
        job = order(tmp_path / f"at-{moment}", hyperparameters=short)
        inject = f"inject={WRITES}:signal=SIGKILL:when={moment}"
        subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", inject, *command, job.path], check=False)
        assert run(job)["outcome"] == "succeeded", calls[moment - 1]
        assert weights(job) == weights(whole), calls[moment - 1]
        assert job.results.read_bytes() == whole.results.read_bytes(), calls[moment - 1]
    assert len(moments) >= 50


@pytest.mark.slow
def test_a_state_that_cannot_be_read_costs_time_and_nothing_else(tmp_path):
    whole = order(tmp_path / "whole", hyperparameters=LONG)
    run(whole)
    job = order(tmp_path / "job", hyperparameters=LONG)
    process = launch(job)
    until(lambda: job.state() is not None)
    process.kill()
    process.communicate()
    state = job.state()
    assert state is not None
    _, folder = state
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(b"gone bad")
    assert run(job)["outcome"] == "succeeded"
    assert weights(job) == weights(whole)
    texts = [record["message"] for record in journal.read_all(job.journal) if record["kind"] == "message"]
    assert any("can't be read: training again" in text for text in texts)


@pytest.mark.slow
def test_two_workers_never_train_the_same_job(tmp_path):
    job = order(tmp_path / "job", rows=chats(400), hyperparameters=LONG | {"n_epochs": 50})
    first = launch(job)
    until(lambda: told_steps(job))
    second = launch(job)
    second.communicate(timeout=30)
    assert second.returncode == worker.TAKEN
    assert job.holder() == first.pid
    first.kill()
    first.communicate()
    assert not job.held()
    assert job.holder() is None


def test_a_pid_that_became_another_process_is_not_the_worker(tmp_path):
    job = order(tmp_path / "job")
    with job.claim(1):
        assert job.holder() == os.getpid()
        job.write("lease", {"pid": os.getpid(), "started": "another time"})
        assert job.holder() is None
        with pytest.raises(Taken), JobFolder(job.path).claim(1, patience=0.05):
            pass


@pytest.mark.slow
def test_somebody_looking_does_not_keep_a_worker_out(tmp_path):
    job = order(tmp_path / "job")
    process = launch(job)
    while process.poll() is None:
        job.held()
    process.communicate()
    assert process.returncode == 0
    assert job.read("outcome")["outcome"] == "succeeded"


def test_rows_that_the_trainer_refuses_fail_the_job_in_its_words(tmp_path):
    job = order(tmp_path / "job", rows=to_bytes([{"messages": [{"role": "user", "content": "no answer"}]}] * 12))
    outcome = run(job)
    assert outcome["outcome"] == "failed"
    assert (outcome["code"], outcome["param"]) == ("invalid_training_file", "training_file")


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (OSError(28, "No space left on device"), "disk_full", "free some space"),
        (MemoryError(), "out_of_memory", "memory"),
        (ZeroDivisionError("division by zero"), "server_error", "ZeroDivisionError"),
    ],
)
def test_a_failure_says_whose_fault_it_is(error, code, word):
    outcome = worker.failure(error)
    assert outcome["code"] == code
    assert word in outcome["message"]


@pytest.mark.slow
def test_a_full_disk_fails_the_job_and_says_so(tmp_path):
    job = order(tmp_path / "job")
    # every write to this journal meets a full disk
    job.journal.symlink_to("/dev/full")
    outcome = run(job)
    assert (outcome["outcome"], outcome["code"]) == ("failed", "disk_full")
    assert "free some space" in outcome["message"]


WANDB = {"integrations": [{"type": "wandb", "wandb": {"project": "p", "tags": ["a"], "run_id": "abc"}}]}


def texts(job: JobFolder) -> list[str]:
    return [record["message"] for record in journal.read_all(job.journal) if record["kind"] == "message"]


@pytest.mark.skipif(find_spec("wandb") is not None, reason="it is installed here")
def test_without_wandb_an_event_says_so_and_the_training_goes_on(tmp_path):
    job = order(tmp_path / "job", **WANDB)
    assert run(job)["outcome"] == "succeeded"
    assert any("pip install 'tuneway[wandb]'" in text for text in texts(job))


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["init", "log", "finish"])
def test_whatever_wandb_does_the_training_goes_on(tmp_path, monkeypatch, broken):
    # a package of that name that fails in one place
    (tmp_path / "wandb.py").write_text(f"""
class Run:
    def log(self, metrics, step): check("log")
    def finish(self): check("finish")
def check(where):
    if where == "{broken}": raise ConnectionError("no way")
def init(**_):
    check("init")
    return Run()
""")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    job = order(tmp_path / "job", **WANDB)
    assert run(job)["outcome"] == "succeeded"
    assert sum("no longer logged to Weights & Biases: ConnectionError: no way" in text for text in texts(job)) == 1


@pytest.mark.slow
@pytest.mark.skipif(find_spec("wandb") is None, reason="needs the extra wandb")
def test_without_an_account_wandb_logs_into_the_folder(tmp_path):
    job = order(tmp_path / "job", **WANDB)
    assert run(job)["outcome"] == "succeeded"
    assert any("in the job's folder" in text for text in texts(job))
    assert list(job.path.rglob("*.wandb"))


# the journal and the files


def test_a_journal_line_that_a_kill_cut_short_is_passed_over(tmp_path):
    path = tmp_path / "journal.jsonl"
    pen = journal.Journal(path)
    pen.metrics(1, 3, {"train_loss": 1.0})
    pen.close()
    with path.open("ab") as file:
        file.write(b'{"kind": "metrics", "st')
    records, end = journal.read(path, 0)
    assert [record["step"] for record in records] == [1]
    assert journal.read(path, end) == ([], end)  # not yet whole: not yet read
    pen = journal.Journal(path)
    pen.metrics(2, 3, {})
    pen.close()
    records, _ = journal.read(path, end)
    assert [record["step"] for record in records] == [2]


def test_a_number_that_json_cannot_carry_is_left_out_and_told_once(tmp_path):
    path = tmp_path / "journal.jsonl"
    pen = journal.Journal(path)
    pen.metrics(7, 9, {"train_loss": float("nan"), "train_mean_token_accuracy": 0.5})
    pen.close()
    text = path.read_text()
    assert "NaN" not in text
    message, metrics = journal.read_all(path)
    assert "At step 7, train_loss is not a finite number" in message["message"]
    assert metrics["metrics"] == {"train_mean_token_accuracy": 0.5}


def test_a_journal_is_read_whole_whatever_the_chunks(tmp_path, monkeypatch):
    path = tmp_path / "journal.jsonl"
    pen = journal.Journal(path)
    for step in range(500):
        pen.message("x" * (step % 97), mark=str(step))
    pen.close()
    monkeypatch.setattr(journal, "CHUNK", 251)
    assert [record["mark"] for record in journal.read_all(path)] == [str(step) for step in range(500)]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff"])
def test_a_broken_json_file_reads_as_absent(tmp_path, content):
    job = JobFolder(tmp_path)
    (tmp_path / "outcome.json").write_bytes(content)
    assert job.read("outcome") in (None, [1])
    (tmp_path / "state.json").write_bytes(content)
    assert job.state() is None


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    replace(path, b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_rows_that_are_too_long_are_reported_once(tmp_path):
    row = (
        b'{"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "' + b"x" * 5000 + b'"}]}\n'
    )
    job = order(tmp_path / "job", rows=chats(40) + row)
    assert run(job)["outcome"] == "succeeded"
    (told,) = [record for record in journal.read_all(job.journal) if str(record.get("mark")).startswith("cut:")]
    assert (told["level"], told["mark"]) == ("warn", "cut:training.jsonl")
    assert "1 row is learned without the end (line 41)" in told["message"]


class Told:
    """A training of one step, with something to say about it."""

    total_steps, trained_tokens = 1, 7
    remarks = (Remark("a row is too long", mark="cut"),)
    groups: ClassVar[dict[str, Any]] = {"mean_unresponsive_rewards": 0.5}

    def advance(self):
        told = Remark("an answer is left out", mark="graders:1")
        yield Step(1, 1, {"train_mean_reward": 0.25}, (told,), self.groups)

    def save(self, folder):
        folder.mkdir()

    export = save


def test_what_a_training_has_to_say_and_its_groups_are_reported(tmp_path, monkeypatch):
    class Teller:
        name = "teller"

        def describe(self):
            return {}

        def start(self, run):
            return Told()

    monkeypatch.setattr(worker, "make_trainer", lambda name: Teller())
    monkeypatch.setattr(worker, "result_table", lambda journal: "")
    job = order(tmp_path / "job")
    assert worker.Worker(job).run()["outcome"] == "succeeded"
    records = list(journal.read_all(job.journal))
    assert [(record["mark"], record["level"]) for record in records if record["kind"] == "message"] == [
        ("training", "info"), ("cut", "warn"), ("graders:1", "warn"),
    ]  # fmt: skip
    (metrics,) = [record for record in records if record["kind"] == "metrics"]
    assert (metrics["metrics"], metrics["groups"]) == ({"train_mean_reward": 0.25}, Told.groups)


def test_the_result_table_has_each_step_once(tmp_path):
    path = tmp_path / "journal.jsonl"
    pen = journal.Journal(path)
    for step in (1, 2, 2, 3):
        pen.metrics(
            step,
            3,
            {"train_loss": 1 / step, "train_mean_token_accuracy": 0.5} | ({"valid_loss": 9.0} if step == 3 else {}),
        )
    pen.close()
    assert result_table(path).splitlines() == [
        "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy",
        "1,1.0,0.5,,",
        "2,0.5,0.5,,",
        f"3,{1 / 3},0.5,9.0,",
    ]


def test_the_result_file_decodes(tmp_path):
    job = order(tmp_path / "job")
    run(job)
    assert base64.b64decode(job.results.read_bytes(), validate=True).startswith(b"step,train_loss")
    assert json.loads((job.path / "lease.json").read_text())["pid"]
    shutil.rmtree(job.path)


@pytest.mark.slow
def test_a_worker_whose_order_went_to_another_saves_nothing_more(tmp_path):
    job = order(tmp_path / "job", hyperparameters=LONG, rows=chats(2000))
    process = launch(job)
    until(lambda: told_steps(job))
    job.write("job", job.read("job") | {"attempt": 2})
    _, printed = process.communicate(timeout=60)
    assert process.returncode == worker.TAKEN, printed.decode()
    assert job.read("outcome") is None
    assert job.state() is None
    assert not job.checkpoints.exists()


def test_a_worker_for_an_attempt_that_is_not_ordered_leaves_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # this process keeps its own
    job = order(tmp_path / "job")
    assert worker.main([str(job.path), "2"]) == worker.TAKEN
    job.withdraw()
    assert worker.main([str(job.path), "1"]) == worker.TAKEN
    assert worker.main([str(job.path)]) == worker.TAKEN
    assert not job.journal.exists()


def test_an_outcome_says_whose_it_is(tmp_path):
    job = order(tmp_path / "job", attempt=3)
    assert run(job)["attempt"] == 3
    assert job.finished(4), "there is nothing left to do for another"
