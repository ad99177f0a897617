"""Python graders: what clients' code may use is limited, and it finds none of the service's keys."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.openai_jobs import openai_for
from support.service import running_service, until

from tuneway.models import PythonGrader
from tuneway_service.graders import Limits, ModelSample, grade, python_code
from tuneway_service.graders.python_code import CodeFailed
from tuneway_service.sandbox import kernel

pytestmark = pytest.mark.skipif(not kernel.LINUX, reason="these limits are Linux's")

SOME_SHIELDS = [(), ("processes", "files")]
OTHER_SHIELDS = [pytest.param(shields, marks=pytest.mark.slow) for shields in (("processes",), ("files",))]
GRADE = "def grade(sample, item):\n    "


@pytest.fixture(params=[*SOME_SHIELDS, *OTHER_SHIELDS], ids=lambda shields: "+".join(shields) or "none")
def shields(request, monkeypatch):
    """Each combination of what a system may have; where this one lacks it, the combination without it."""
    monkeypatch.setattr(python_code, "SHIELDS", request.param)
    return request.param


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder in which graders run."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def run(source: str, item=None, **options) -> float:
    return python_code.run(source, {"output_text": "x"}, item or {}, **options)


def left_over(folder: Path) -> list[str]:
    """The processes that work in a folder."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                place = str((process / "cwd").readlink())
            except OSError:
                continue
            found += [process.name] if place.startswith(str(folder)) else []
    return found


# limits


@pytest.mark.slow
def test_code_that_takes_too_long_is_ended(shields, here):
    for body in ("while True: pass", "__import__('time').sleep(60)", "__import__('signal').pause()"):
        with pytest.raises(CodeFailed, match=r"longer than 0\.3 s|signal"):
            run(GRADE + body, seconds=0.3)
    assert left_over(here) == []


def test_memory_is_limited(shields, monkeypatch):
    monkeypatch.setattr(python_code, "MEMORY", 2**28)
    with pytest.raises(CodeFailed, match="MemoryError"):
        run(GRADE + "return len('x' * 2**29)")


HOGS = """
import os, time
def grade(sample, item):
    for _ in range(5):
        if os.fork() == 0:
            hog = b"x" * (150 << 20)
            time.sleep(60)
    time.sleep(60)
"""


def test_memory_is_limited_for_all_processes_together(shields, here, monkeypatch):
    monkeypatch.setattr(python_code, "MEMORY", 2**28)
    with pytest.raises(CodeFailed, match="more than 256 MiB of memory"):
        run(HOGS)
    assert left_over(here) == []


MANY = """
import os, time
def grade(sample, item):
    for _ in range(60):
        if os.fork() == 0:
            os.setsid()
            time.sleep(60)
    time.sleep(60)
"""


def test_the_number_of_processes_is_limited(shields, here, monkeypatch):
    monkeypatch.setattr(python_code, "PROCESSES", 20)
    with pytest.raises(CodeFailed, match=r"more than 20 processes|BlockingIOError"):
        run(MANY)
    assert left_over(here) == []


FLOOD = """
import os
def grade(sample, item):
    for number in range(3, 200):
        try:
            while True:
                os.write(number, b"x" * 4096)
        except OSError:
            pass
"""


def test_output_is_limited(shields):
    assert run("import sys\n" + GRADE + "return sys.stdout.write('x' * 10**7) + sys.stderr.write('y' * 10**7)") == 2e7
    with pytest.raises(CodeFailed, match="reply is too long"):
        run(FLOOD)


FILES = """
import time
def grade(sample, item):
    for number in range(8):
        with open(f"file{number}", "wb") as file:
            file.write(b"x" * 2**19)
    time.sleep(60)
"""


def test_files_are_limited(shields, here, monkeypatch):
    monkeypatch.setattr(python_code, "DISK", 2**20)
    with pytest.raises(CodeFailed, match=r"File too large|signal|wrote more than"):
        run(GRADE + "return open('big', 'wb').write(b'x' * 2**25)")
    with pytest.raises(CodeFailed, match="wrote more than 1 MiB"):
        run(FILES)
    assert list(here.iterdir()) == []


# children

ORPHANS = """
import os, signal, time
def grade(sample, item):
    ready, going = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in range(1, 32):
                if number not in (signal.SIGKILL, signal.SIGSTOP):
                    signal.signal(number, signal.SIG_IGN)
            os.write(going, b"x")
            time.sleep(600)
        os._exit(0)
    os.wait()
    os.read(ready, 1)
    if item["how"] == "crash":
        os.abort()
    if item["how"] == "kill the parent":
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(600)
    return 7
"""


@pytest.mark.parametrize("how", ["return", "crash", "kill the parent"])
def test_no_process_outlives_the_grading(shields, here, how):
    item = {"how": how}
    if how == "return":
        assert run(ORPHANS, item) == 7
    else:
        grading = grade_code(ORPHANS, item, seconds=1)
        assert grading.failure
    until(lambda: left_over(here) == [], seconds=10)


def grade_code(source: str, item, seconds: float):
    grader = PythonGrader(name="code", source=source)
    return grade(grader, ModelSample("x"), item, Limits(python=True, seconds=seconds))


GRADES = """
import sys, tempfile
from tuneway_service.graders import python_code
tempfile.tempdir = sys.argv[1]
python_code.run("import time\\ndef grade(sample, item): time.sleep(600)", {}, {})
"""


def test_no_process_outlives_a_service_that_is_killed(here):
    with subprocess.Popen([sys.executable, "-c", GRADES, str(here)]) as service:
        until(lambda: len(left_over(here)) > 1)
        service.kill()
    until(lambda: left_over(here) == [])


# keys

SCAN = """
import os
def grade(sample, item):
    wanted = [key[::-1].encode() for key in item["keys"]]
    hits = 0
    def look(path, start=0, size=1 << 22):
        nonlocal hits
        try:
            with open(path, "rb", 0) as file:
                file.seek(start)
                found = file.read(size) or b""
        except (OSError, ValueError, OverflowError):
            return b""
        hits += any(key in found for key in wanted)
        return found
    try:
        others = list(filter(str.isdigit, os.listdir("/proc"))) if item["everybody"] else []
    except OSError:
        others = []
    for number in others:
        for name in ("environ", "cmdline"):
            look(f"/proc/{number}/{name}")
    for number in (item["pid"], os.getppid()):
        for name in ("environ", "cmdline"):
            look(f"/proc/{number}/{name}")
        for line in look(f"/proc/{number}/maps").splitlines():
            start, end = (int(part, 16) for part in line.split()[0].split(b"-"))
            if b"r" in line.split()[1]:
                look(f"/proc/{number}/mem", start, end - start)
    return hits
"""
KEYS = ["sk-in-the-environment-4711", "sk-on-the-command-line-4712"]


@contextmanager
def holder_of_keys(*, protected: bool):
    """A process that was started with keys, as the service is."""
    protection = "from tuneway_service.sandbox import kernel, secrets; secrets.hide(); kernel.hide_memory();"
    program = f"import os, sys, time; {protection if protected else ''} print(os.environ['A_TOKEN'], flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", program + "; time.sleep(600)", "--token", KEYS[1]],
        env={**os.environ, "A_TOKEN": KEYS[0]},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            # it can still use its key
            assert process.stdout.readline().strip() == KEYS[0]
            yield process.pid
        finally:
            process.kill()


def attack(pid: int) -> float:
    return run(SCAN, {"keys": [key[::-1] for key in KEYS], "pid": pid, "everybody": False})


def test_code_finds_no_key_of_the_service(shields):
    with holder_of_keys(protected=True) as pid:
        assert attack(pid) == 0


def test_without_protection_the_attack_finds_keys(monkeypatch):
    monkeypatch.setattr(python_code, "SHIELDS", ())
    with holder_of_keys(protected=False) as pid:
        assert attack(pid) > 0


@pytest.mark.slow
def test_code_finds_no_key_of_a_real_service(monkeypatch, tmp_path):
    monkeypatch.setenv("TUNEWAY_GRADER_KEY", KEYS[0])
    monkeypatch.setenv("TUNEWAY_TOKEN", KEYS[0])
    with running_service(allow_python_graders=True, token=KEYS[1]) as service:
        with openai_for(service) as client:
            item = {"keys": [key[::-1] for key in KEYS], "pid": service.pid, "everybody": True}
            grader = {"type": "python", "name": "scan", "source": SCAN}
            reply = openai_run(client.with_options(api_key=KEYS[1]), grader, item)
        assert reply.metadata.errors.python_grader_runtime_error_details is None
        assert reply.reward == 0
        shown = b"".join(Path(f"/proc/{service.pid}/{name}").read_bytes() for name in ("environ", "cmdline"))
        assert not any(key.encode() in shown for key in KEYS)


def openai_run(client, grader, item):
    return client.fine_tuning.alpha.graders.run(grader=grader, model_sample="x", item=item)


@pytest.mark.skipif(not kernel.rules_version(), reason="this kernel has no Landlock")
def test_code_reads_no_file_of_the_service_and_writes_only_in_its_folder(tmp_path):
    (tmp_path / "secret").write_text("whsec_")
    for body in (
        "return len(open(item['file']).read())",
        "return len(__import__('os').listdir(item['folder']))",
        "return open(item['folder'] + '/new', 'w').write('x')",
        "return len(open('/etc/shadow').read())",
        "return len(open('/proc/self/environ').read())",
    ):
        with pytest.raises(CodeFailed, match="PermissionError"):
            run(GRADE + body, {"file": str(tmp_path / "secret"), "folder": str(tmp_path)})
    libraries = "import json, decimal, sqlite3, ssl, zoneinfo, tempfile, subprocess, sys\n"
    uses = "return tempfile.TemporaryFile().write(b'xy') + subprocess.run([sys.executable, '-c', '']).returncode"
    assert run(libraries + GRADE + uses) == 2


# what the code is


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def grade(:", "line 1"),
        ("x = 1", "must define grade"),
        ("(" * 5000, "SyntaxError|MemoryError|nested"),
        ("x = " + "-" * 200_000 + "1", ""),
        ("def grade(s, i): return 1\n" + "x" + ".a" * 100_000, ""),
        ("\0", "null"),
    ],
)
def test_source_is_compiled_where_it_can_do_no_harm(source, words):
    wrong = python_code.problem(source)
    if words:
        assert wrong
        assert any(word in wrong for word in words.split("|"))


def test_what_the_code_raises_is_told(shields):
    errors = {
        "raise KeyError('a')": "KeyError: 'a'",
        "raise SystemExit(0)": "SystemExit: 0",
        "__import__('os')._exit(0)": "status 0",
        "return grade(sample, item)": "RecursionError",
        "return None": "TypeError",
        "__import__('ctypes').string_at(0)": "signal 11",
        "raise type('Odd', (Exception,), {'__str__': lambda self: 1/0})()": "an error",
    }
    for body, words in errors.items():
        with pytest.raises(CodeFailed, match=words):
            run(GRADE + body, seconds=5)


def test_an_error_that_is_no_text_can_be_sent():
    grading = grade_code(GRADE + "raise ValueError(chr(0xD800))", {}, seconds=5)
    assert grading.failure.endswith("ValueError: ?")


def test_a_runner_that_cannot_start_is_no_error_of_the_code(monkeypatch):
    monkeypatch.setattr(python_code, "START", "raise SystemExit(3)")
    grading = grade_code(GRADE + "return 1", {}, seconds=5)
    assert "python_grader_server_error" in grading.errors
    assert grading.may_pass
