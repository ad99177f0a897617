"""The support tickets that the examples train on."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

DATA = Path(__file__).parents[3] / "examples" / "data"
NAMES = ("support_train.jsonl", "support_valid.jsonl")


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(DATA / "make_support_data.py"))


def tickets(name):
    rows = [json.loads(line)["messages"] for line in (DATA / name).read_text(encoding="utf-8").splitlines()]
    return {(messages[-1]["content"], messages[1]["content"]) for messages in rows}


def test_the_files_are_those_that_the_script_makes(script, tmp_path):
    script["main"](tmp_path)
    for name in NAMES:
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes()


def test_what_is_asked_is_new_but_can_be_known(script):
    learned, asked = map(tickets, NAMES)
    assert not learned & asked
    for queue, problems in script["PROBLEMS"].items():
        for problem in problems:
            words = re.compile(re.sub(r"\\\{\w+\\\}", ".+", re.escape(problem)))
            assert sum(of == queue and bool(words.search(text)) for of, text in learned) >= 3, problem
