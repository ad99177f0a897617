"""A file that several processes check: the report is that of one process, and none of them is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.datasets import chat, good_rows, say, to_bytes, write

from tuneway.dataset import _cpus, _helpers, _helping, _scan, _tokens, validate
from tuneway.dataset._exact import ends_of
from tuneway.dataset._seen import Seen
from tuneway.errors import InvalidInput, InvalidSpec, TunewayError

from .test_properties import files

STARTS_HELPERS = """
import sys
from tuneway.dataset import _cpus, _helpers, _scan, validate
_scan.HELPED_BYTES, _scan.usable_cpus = 0, lambda: 2
give = _helpers.Helpers.give

def give_when_ready(self, block, job):
    while not all(helper.ready for helper in self._helpers):
        self.checked()
    return give(self, block, job)

_helpers.Helpers.give = give_when_ready
"""


class _Thread:
    """A helper in a thread, in the place of a process."""

    def __init__(self, connection: int, file: int, spool: int) -> None:
        arguments = (os.dup(connection), file, os.dup(spool))
        self._thread = threading.Thread(target=_helping.main, args=arguments, daemon=True)
        self._thread.start()

    def kill(self) -> None:
        """It ends when its connection does."""

    def wait(self) -> int:
        self._thread.join()
        return 1


@contextlib.contextmanager
def helpers(*, threads=True, takes=lambda: True):
    """Let three helpers check even small files; gives a list with an entry for each block that they check.

    `takes` says which blocks a helper takes.
    """
    taken: list[int] = []
    give = _helpers.Helpers.give

    def give_some(self, block, job):
        while not all(helper.ready for helper in self._helpers):
            self.checked()
        if takes() and give(self, block, job):
            taken.append(block.offset)
            return True
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_scan, "HELPED_BYTES", 0)
        patch.setattr(_scan, "usable_cpus", lambda: 4)
        patch.setattr(_helpers.Helpers, "give", give_some)
        if threads:
            patch.setattr(_helpers, "start_helper", _Thread)
        yield taken


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("data") / "train.jsonl"


def in_pieces(patch, size):
    """Read blocks of this size."""
    patch.setattr("tuneway.dataset._blocks._CHUNK", size // 2 + 1)
    patch.setattr("tuneway.dataset._reading._BLOCK", max(size, 40))


@given(data=files, beside=files, size=st.integers(1, 300), seed=st.integers(0, 9), shown=st.sampled_from([0, 1, 50]))
def test_wherever_a_file_is_cut_the_report_is_that_of_one_process(path, data, beside, size, seed, shown):
    path.write_bytes(data)
    valid = path.with_name("valid.jsonl")
    valid.write_bytes(beside + data[: len(data) // 3])
    options = {"tokenizer": "estimate", "validation_data": valid, "max_shown": shown, "format": "chat"}
    report = validate(path, **options)
    with pytest.MonkeyPatch.context() as patch:
        in_pieces(patch, size)
        assert validate(path, **options) == report
        chosen = random.Random(seed)
        with helpers(takes=lambda: chosen.random() < 0.7):
            assert validate(path, processes=4, **options) == report


@given(data=files)
def test_the_format_that_is_recognised_is_that_of_one_process(path, data):
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        in_pieces(patch, 100)
        report = validate(path, tokenizer="estimate")
        with helpers():
            assert validate(path, tokenizer="estimate", processes=4) == report


@given(data=files, size=st.integers(1, 300), seed=st.integers(0, 9))
def test_counted_tokens_are_those_of_one_process(path, data, size, seed):
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_tokens, "load_encoding", lambda _: ends_of(len))
        patch.setattr("tuneway.dataset._prices._CONTEXTS", {"gpt-4o": 20})
        report = validate(path, tokenizer="o200k_base", model="gpt-4o", format="chat")
        in_pieces(patch, size)
        chosen = random.Random(seed)
        with helpers(takes=lambda: chosen.random() < 0.7):
            assert validate(path, tokenizer="o200k_base", model="gpt-4o", format="chat", processes=4) == report


def test_helpers_find_duplicates_among_rows_that_went_to_the_disk(path, monkeypatch):
    rows = good_rows(count=400)
    write(path, [*rows, *rows[100:130]])
    report = validate(path, tokenizer="estimate", validation_data=path)
    monkeypatch.setattr(_helping, "Seen", lambda line_at, **options: Seen(line_at, limit=50, **options))
    monkeypatch.setattr("tuneway.dataset._reading._BLOCK", 1000)
    with helpers() as taken:
        assert validate(path, tokenizer="estimate", validation_data=path, processes=4) == report
    assert report.counts["row.duplicate"] == 30
    assert len(taken) > 20


@pytest.mark.slow
def test_processes_give_the_report_of_one(tmp_path):
    path = write(tmp_path / "train.jsonl", [*good_rows(count=30_000), chat(say("bot")), *good_rows(count=20)])
    report = validate(path, tokenizer="estimate", validation_data=0.1)
    assert validate(path, tokenizer="estimate", validation_data=0.1, processes=4) == report
    told = []
    report = validate(path, tokenizer="estimate")
    with helpers(threads=False) as taken:
        assert validate(path, tokenizer="estimate", processes=4, on_progress=told.append) == report
    assert taken
    assert (told[-1].rows, told[-1].done_bytes) == (30_021, path.stat().st_size)


def test_a_line_beyond_the_limit_is_reported_by_several_processes_too(path):
    rows = good_rows(count=5000)
    path.write_bytes(to_bytes([*rows, chat(say("assistant", "x" * 3_000_000)), *good_rows(start=5000)]))
    options = {"tokenizer": "estimate", "max_line_bytes": 2**21}
    report = validate(path, **options)
    assert report.counts == {"jsonl.line_too_long": 1}
    with helpers():
        assert validate(path, processes=2, **options) == report


@pytest.mark.slow
def test_a_process_that_dies_is_an_error(tmp_path):
    path = write(tmp_path / "train.jsonl", good_rows(count=40_000))
    killed = []

    def kill_it():
        if not killed:
            killed.extend(children())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
        return True

    with helpers(threads=False, takes=kill_it), pytest.raises(TunewayError, match="ended with status -9") as caught:
        validate(path, tokenizer="estimate", processes=2)
    assert "processes=1" in caught.value.hint
    assert not children()


def test_processes_that_can_not_start_are_done_without(tmp_path, monkeypatch):
    path = write(tmp_path / "train.jsonl", good_rows(count=100))
    report = validate(path, tokenizer="estimate", format="chat")
    for program in ("/bin/false", "/missing"):
        monkeypatch.setattr(sys, "executable", program)
        with helpers(threads=False) as taken:
            assert validate(path, tokenizer="estimate", format="chat", processes=3) == report
        assert not taken


def test_a_disk_that_is_full_for_a_helper_is_told(path, monkeypatch):
    write(path, good_rows(count=100))
    with Path("/dev/full").open("wb", buffering=0) as full, helpers():
        monkeypatch.setattr(_helping, "Seen", lambda line_at, **_: Seen(line_at, limit=1, spool=full))
        with pytest.raises(InvalidInput, match="temporary file for the data can't be written"):
            validate(path, tokenizer="estimate", format="chat", processes=2)


def test_a_helper_that_ends_before_it_is_given_more_has_said_why(path, monkeypatch):
    write(path, good_rows(count=100))

    class Ended(_Thread):
        def __init__(self, connection: int, *_: int) -> None:
            self._thread = threading.Thread(target=lambda: None)
            self._thread.start()
            with Connection(os.dup(connection)) as parent:
                parent.send(None)
                parent.send(InvalidInput("the disk is full"))

    with helpers(threads=False):
        monkeypatch.setattr(_helpers, "start_helper", Ended)
        with pytest.raises(InvalidInput, match="the disk is full"):
            validate(path, tokenizer="estimate", format="chat", processes=2)


def test_a_helper_ends_when_the_connection_does(tmp_path):
    ours, theirs = Pipe()
    with (tmp_path / "spool").open("wb") as spool, theirs:
        thread = threading.Thread(target=_helping.main, args=(os.dup(theirs.fileno()), -1, os.dup(spool.fileno())))
        thread.start()
    ours.recv()
    ours.close()
    thread.join(timeout=30)
    assert not thread.is_alive()


def test_a_function_that_counts_tokens_is_called_in_this_process_only(path, monkeypatch):
    write(path, good_rows())
    monkeypatch.setattr(_helpers, "start_helper", None)
    with helpers(threads=False):
        assert validate(path, tokenizer=len, processes=4).ok


@pytest.mark.parametrize("processes", [0, -1, True, "2", 1.5, None])
def test_a_wrong_number_of_processes_is_refused(path, processes):
    with pytest.raises(InvalidSpec, match="processes") as caught:
        validate(path, processes=processes)
    assert caught.value.field == "processes"


# --- how many processors there are


@pytest.mark.parametrize(
    ("membership", "limits", "cpus"),
    [
        ("", {}, 8),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/job/step\n", {"job/cpu.max": "250000 100000\n"}, 3),
        ("0::/job\n", {"job/cpu.max": "400000 100000\n", "cpu.max": "50000 100000\n"}, 1),
        ("4:cpu,cpuacct:/a\n3:pids:/a\n", {"cpu/a/cpu.cfs_quota_us": "200000", "cpu/a/cpu.cfs_period_us": "100000"}, 2),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
    ],
)  # fmt: skip
def test_processors_are_those_of_the_process_and_its_container(tmp_path, monkeypatch, membership, limits, cpus):
    (tmp_path / "cgroup").write_text(membership)
    for name, text in limits.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(_cpus, "_MEMBERSHIP", tmp_path / "cgroup")
    monkeypatch.setattr(_cpus, "_CGROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    assert _cpus.usable_cpus() == cpus


def test_no_more_processes_run_than_there_are_processors(path, monkeypatch):
    write(path, good_rows())
    counts = []

    class Counting(_helpers.Helpers):
        def __init__(self, count, descriptor):
            counts.append(count)
            super().__init__(0, descriptor)

    monkeypatch.setattr(_helpers, "Helpers", Counting)
    monkeypatch.setattr(_scan, "HELPED_BYTES", 0)
    for cpus in (1, 2, 3):
        monkeypatch.setattr(_scan, "usable_cpus", lambda cpus=cpus: cpus)
        assert validate(path, tokenizer="estimate", processes=8).ok
    assert counts == [1, 2]


# --- programs around it


def children():
    """The processes that this one has started and that run."""
    listed = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    if not listed.exists():
        pytest.skip("there is no list of children")
    return [int(pid) for pid in listed.read_text().split()]


@contextlib.contextmanager
def program_that_waits(tmp_path):
    """A program that waits while its helper has nothing to do; gives it, and the id of the helper's process."""
    path = write(tmp_path / "train.jsonl", good_rows(count=40_000))
    script = tmp_path / "script.py"
    script.write_text(
        STARTS_HELPERS
        + "import time\n"
        + "def wait(_):\n"
        + "    print(open(f'/proc/self/task/{__import__(\"os\").getpid()}/children').read(), flush=True)\n"
        + "    time.sleep(60)\n"
        + f"validate({str(path)!r}, tokenizer='estimate', processes=2, on_progress=wait)\n"
    )
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def gone(pid):
    """Whether a process ends soon."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True  # nobody has asked for its status
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")
@pytest.mark.parametrize(("kill", "status"), [(signal.SIGKILL, -9), (signal.SIGINT, -2), (signal.SIGTERM, -15)])
def test_no_process_is_left_however_the_program_ends(tmp_path, kill, status):
    with program_that_waits(tmp_path) as (process, helper):
        if kill == signal.SIGINT:
            os.killpg(process.pid, kill)  # as Ctrl-C does
        else:
            process.send_signal(kill)
        assert process.wait(timeout=60) == status
        assert gone(helper)


@pytest.mark.slow
def test_a_script_without_a_guard_runs_once(tmp_path):
    path = write(tmp_path / "train.jsonl", good_rows(count=40_000))
    (tmp_path / "signal.py").write_text("raise SystemExit('a module of the working folder was imported')")
    script = tmp_path / "folder" / "script.py"
    script.parent.mkdir()
    script.write_text(
        f"{STARTS_HELPERS}print('started')\nprint(validate({str(path)!r}, tokenizer='estimate', processes=2).rows)\n"
    )
    done = subprocess.run([sys.executable, script], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("started\n40000\n", "")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_no_process_takes_more_memory_for_a_larger_file(tmp_path):
    peaks = []
    for name, count in (("small", 20_000), ("large", 400_000)):
        path = tmp_path / f"{name}.jsonl"
        with path.open("w", encoding="utf-8") as file:
            for number in range(count):
                file.write(json.dumps(chat(say("user", f"{number} why? " * 20), say("assistant", "so"))) + "\n")
        program = STARTS_HELPERS + (
            "import resource\n"
            f"validate({str(path)!r}, tokenizer='estimate', processes=2)\n"
            "for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):\n"
            "    print(resource.getrusage(who).ru_maxrss // 1024)\n"
        )
        done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        peaks.append([int(line) for line in done.stdout.split()])
    (small, small_helper), (large, large_helper) = peaks
    assert large <= small + 24
    assert large_helper <= small_helper + 24
