"""Memory stays where it is, however large the file and however long a line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.datasets import chat, say

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc"),
]

PROGRAM = """
import sys
from tuneway.dataset import validate
report = validate(sys.argv[1], tokenizer="estimate")
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) // 1024, report.rows, *report.counts)
"""


def peak(path):
    """The most memory a process took to check a file, in MiB; its rows; the rules that were broken."""
    out = subprocess.run([sys.executable, "-c", PROGRAM, path], check=True, capture_output=True, text=True).stdout
    mebibytes, rows, *rules = out.split()
    return int(mebibytes), int(rows), rules


def rows(path, megabytes):
    """A file of different chats."""
    with path.open("w", encoding="utf-8") as file:
        number = 0
        while file.tell() < megabytes * 10**6:
            for _ in range(1000):
                file.write(json.dumps(chat(say("user", f"{number} why? " * 9), say("assistant", "so. " * 99))) + "\n")
                number += 1
    return path


def test_twenty_times_the_file_takes_the_same_memory(tmp_path):
    small, _, _ = peak(rows(tmp_path / "small.jsonl", 10))
    large, count, rules = peak(rows(tmp_path / "large.jsonl", 200))
    assert count > 2**17  # enough to have gone by way of the disk
    assert rules == []
    assert large <= small + 24


def test_a_line_of_200_megabytes_is_told_and_not_kept(tmp_path):
    small, before, _ = peak(rows(tmp_path / "small.jsonl", 1))
    path = rows(tmp_path / "train.jsonl", 1)
    with path.open("ab") as file:
        file.write(b'{"messages": "')
        for _ in range(200):
            file.write(b"x" * 10**6)
        file.write(b'"}\n' + json.dumps(chat()).encode() + b"\n")
    large, count, rules = peak(path)
    assert rules == ["jsonl.line_too_long"]
    assert count == before + 1
    assert large <= small + 48
