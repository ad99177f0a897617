"""`serve`, as a process: the whole way from a file to an answer, on one machine."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest
from support.datasets import write
from support.support_chats import chats

TUNEWAY = [sys.executable, "-m", "tuneway.cli"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def serve(here):
    """Starts a service; ends it, and checks that it went quietly."""
    started = []

    def start(*words):
        process = subprocess.Popen(
            [*TUNEWAY, "serve", "--port", "0", "--data-dir", "data", "--log-level", "error", *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_serve_prints_its_address_and_stops_quietly(serve, stop):
    process, url = serve()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", url)
    process.send_signal(stop)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")


def test_a_wrong_setting_is_said_in_one_line(here):
    done = subprocess.run(
        [*TUNEWAY, "serve", "--model", "gpt-4o-mini"], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "error: 'gpt-4o-mini' isn't NAME=TRAINER\nFor example: gpt-4o-mini=bytes\n"


@pytest.mark.slow
def test_from_a_file_to_an_answer_on_one_machine(serve, here):
    rows = chats(260, seed=1)
    write(here / "train.jsonl", rows[:200])
    write(here / "valid.jsonl", rows[200:])
    write(here / "questions.jsonl", rows[255:])
    process, url = serve("--model", "gpt-4o-mini=bytes", "--token", "secret")
    environment = os.environ | {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "secret"}

    def tuneway(*words):
        done = subprocess.run(
            [*TUNEWAY, *words], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    words = ["run", "train.jsonl", "--validation-data", "valid.jsonl", "-m", "gpt-4o-mini", "-n", "router"]
    words += ["--alias", "champion"]
    first = json.loads(tuneway(*words, "--json"))
    again = json.loads(tuneway(*words, "--json"))
    assert first["metrics"]["full_valid_loss"] < 0.5
    assert (again["job_id"], again["adopted"]) == (first["job_id"], True)
    question, expected = rows[200]["messages"][1]["content"], rows[200]["messages"][2]["content"]
    system = rows[200]["messages"][0]["content"]
    assert tuneway("ask", "router@champion", question, "--system", system) == f"{expected}\n"
    tuneway("report", first["job_id"], "--training-data", "train.jsonl", "--held-out", "questions.jsonl")
    assert "router" in (here / "report.html").read_text()
    assert process.poll() is None
