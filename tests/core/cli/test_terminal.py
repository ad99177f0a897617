"""Real processes: a terminal, a pipe, signals."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time

import pytest

CONTROL = re.compile(r"\x1b|\r|[\x00-\x08\x0b-\x1f]")
TUNEWAY = [sys.executable, "-m", "tuneway.cli"]


@pytest.fixture
def environment(server):
    return os.environ | {"OPENAI_BASE_URL": server.base_url, "TERM": "xterm-256color", "COLUMNS": "100"}


class Terminal:
    """A process that has a terminal."""

    def __init__(self, words, environment, here):
        controller, terminal = pty.openpty()
        self.process = subprocess.Popen(
            [*TUNEWAY, *words], stdin=terminal, stdout=terminal, stderr=terminal, cwd=here, env=environment,
            start_new_session=True, preexec_fn=_take_terminal,  # noqa: PLW1509 - it calls nothing that locks
        )  # fmt: skip
        os.close(terminal)
        self._controller = controller
        self.seen = ""

    def until(self, text, seconds=20):
        """Read until the terminal has shown this; None: until the process ends."""
        end = time.monotonic() + seconds
        while text is None or text not in self.seen:
            ready, _, _ = select.select([self._controller], [], [], max(end - time.monotonic(), 0))
            if not ready:
                raise AssertionError(f"{text!r} was not shown within {seconds} s:\n{self.seen}")
            try:
                piece = os.read(self._controller, 65536)
            except OSError:  # the other side is closed
                piece = b""
            if not piece:
                break
            self.seen += piece.decode(errors="replace")
        return self.seen

    def type(self, keys):
        os.write(self._controller, keys)

    def end(self):
        self.until(None)
        os.close(self._controller)
        return self.process.wait(20)


def _take_terminal():
    """Let the signals of standard input's terminal come to this process, as an interactive shell does."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever runs the tests in the background ignores it
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def run(environment, here, *words):
    """Run a command without a terminal."""
    return subprocess.run([*TUNEWAY, *words], cwd=here, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_terminal_sees_the_run_go_by(environment, train, here):
    terminal = Terminal(["run", str(train), "--model", "base", "--settle", "0"], environment, here)
    assert terminal.end() == 0
    text = terminal.seen
    for word in ("✓", "checked", "uploaded", "created", "succeeded", "registered", "ft:base:org::ftjob-1"):
        assert word in text
    assert "\x1b[?25l" in text  # the cursor was hidden while things were drawn over,
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # and came back


def test_the_live_view_shows_status_step_loss_and_time(environment, service, train, here):
    service.ends = None
    terminal = Terminal(["run", str(train), "--model", "base", "--settle", "0"], environment, here)
    terminal.until("created")
    service.job("ftjob-1")["status"] = "running"
    for step in (1, 2, 3):
        data = {"step": step, "total_steps": 4, "train_loss": 4 / step, "full_valid_loss": 3.5}
        service.add_event("ftjob-1", f"Step {step}", type="metrics", data=data)
    for text in ("step 3 of 4", "running", "━", "1.333", "█", "validation", "3.5", "so far"):
        terminal.until(text)
    service.finish("ftjob-1")
    assert terminal.end() == 0


@pytest.mark.slow
def test_ctrl_c_leaves_the_job_alive_and_says_how_to_come_back(environment, service, train, here):
    service.ends = None
    terminal = Terminal(["run", str(train), "--model", "base", "--settle", "0"], environment, here)
    terminal.until("validating")
    terminal.type(b"\x03")
    assert terminal.end() == 130
    assert "ftjob-1 goes on" in terminal.seen
    assert "tuneway wait ftjob-1" in terminal.seen
    assert terminal.seen.rindex("\x1b[?25h") > terminal.seen.rindex("\x1b[?25l")
    assert "Traceback" not in terminal.seen
    assert service.jobs[0]["status"] == "validating_files"


def test_sigterm_leaves_the_job_alive_too(environment, service, here):
    service.add_job()
    process = subprocess.Popen(
        [*TUNEWAY, "wait", "ftjob-1"],
        cwd=here,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("running")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 143
    assert out == ""
    assert err == "stopped waiting; ftjob-1 goes on\nWait on: tuneway wait ftjob-1\nCancel:  tuneway cancel ftjob-1\n"
    assert service.jobs[0]["status"] == "running"


def test_of_several_jobs_those_that_go_on_are_named(environment, service, here):
    for _ in range(3):
        service.add_job()
    service.train("ftjob-2")
    terminal = Terminal(["wait", "ftjob-1", "ftjob-2", "ftjob-3"], environment, here)
    for text in ("succeeded", "1 of 3 jobs ended", "ftjob-1  running", "ftjob-3  running"):
        terminal.until(text)
    terminal.type(b"\x03")
    assert terminal.end() == 130
    assert "stopped waiting; ftjob-1, ftjob-3 go on" in terminal.seen
    assert "tuneway wait ftjob-1 ftjob-3" in terminal.seen
    assert {job["status"] for job in service.jobs} == {"running", "succeeded"}


@pytest.mark.slow
def test_ctrl_c_cancels_all_that_go_on_where_that_is_wanted(environment, service, here):
    for _ in range(2):
        service.add_job()
    terminal = Terminal(["wait", "ftjob-1", "ftjob-2", "--cancel-on-interrupt"], environment, here)
    terminal.until("ftjob-2  running")
    terminal.type(b"\x03")
    assert terminal.end() == 130
    assert "interrupted; ftjob-1 is cancelled, ftjob-2 is cancelled" in terminal.seen


def test_a_log_gets_lines_without_control_codes(environment, train, here):
    done = run(environment, here, "run", train, "--model", "base", "--settle", "0")
    assert done.returncode == 0
    assert done.stdout == "ft:base:org::ftjob-1\n"
    assert not CONTROL.search(done.stdout.replace("\n", "") + done.stderr.replace("\n", ""))


@pytest.mark.slow
def test_a_log_that_claims_colours_is_still_not_drawn_over(environment, train, here):
    done = run(environment | {"FORCE_COLOR": "1"}, here, "run", train, "--model", "base", "--settle", "0")
    assert not re.search(r"\x1b\[[\d;?]*[A-HJKhlsu]|\r", done.stderr)


def test_a_reader_that_has_enough_is_no_error(environment, service, here):
    for _ in range(100):
        service.add_job(fine_tuned_model="x" * 5000)
    command = f'{" ".join(TUNEWAY)} list --json --limit 100 | head -c 100; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(
        ["bash", "-c", command], cwd=here, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.endswith("141\n")
    assert done.stderr == ""


def test_a_terminal_without_these_characters_gets_others(environment, train, here):
    ascii_only = environment | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = run(ascii_only, here, "models", "--service")
    assert done.returncode == 0
    assert "?" in done.stdout
