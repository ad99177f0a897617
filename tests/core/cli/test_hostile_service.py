"""Whatever a service sends, a terminal shows it and doesn't obey it, and a spreadsheet runs nothing."""

from __future__ import annotations

import csv
import io
import json

import pytest
from support.fault_server import FaultServer
from support.hostile_service import BAD, FORBIDDEN, FORMULA, HostileService

from tuneway._escape import printable


@pytest.fixture
def server():
    with FaultServer(HostileService()) as server:
        yield server


@pytest.fixture
def job(service):
    job = service.add_job(model="base", training_file="file-1", metadata={"team": "support"})
    service.train(job["id"])
    return job["id"]


@pytest.fixture
def failed(service):
    job = service.add_job(model="base", training_file="file-1")
    service.train(job["id"], "failed")
    return job["id"]


def assert_shown_only(*outputs: str) -> None:
    """Whether nothing is obeyed, and no line is forged."""
    for output in outputs:
        for forbidden in FORBIDDEN:
            assert forbidden not in output
        for line in output.split("\n"):
            assert not line.startswith(("forged", "error: forged"))


@pytest.mark.parametrize(
    "words",
    [
        ("list",), ("show", "JOB"), ("events", "JOB"), ("metrics", "JOB"), ("metrics", "JOB", "--csv"), ("wait", "JOB"),
        ("models", "--service"), ("validate", "--rules"), ("ask", "base", "Hello?"), ("events", "JOB", "--follow"),
        ("register", "JOB", "--name", "router"), ("metrics", "JOB", "--metric", "accuracy"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_no_command_passes_on_what_a_terminal_would_obey(words, tuneway, job):
    result = tuneway(*(job if word == "JOB" else word for word in words))
    assert_shown_only(result.stdout, result.stderr)


@pytest.mark.parametrize("command", ["list", "show", "events", "metrics"])
def test_programs_get_the_very_text_in_a_form_that_a_terminal_does_not_obey(command, tuneway, job, service):
    service.contents.clear()  # so that the numbers are those of the log, whose names the service chooses
    result = tuneway(*((command,) if command == "list" else (command, job)), "--json")
    assert_shown_only(result.stdout, result.stderr)
    sent = [str(value) for line in result.stdout.splitlines() for value in _values(json.loads(line))]
    assert any(BAD in value for value in sent)


def test_a_page_on_standard_output_has_nothing_that_a_terminal_obeys(tuneway, job):
    page = tuneway("report", job, "-o", "-").stdout
    assert "evil.example" in page
    assert not [one for one in FORBIDDEN if one in page]


def _values(value):
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _values(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _values(inner)
    else:
        yield value


def test_registered_models_of_such_a_service_are_only_shown(tuneway, job):
    tuneway("register", job, "--name", "router")
    for words in (("models",), ("models", "router"), ("models", "router", "--history"), ("lineage", "router")):
        result = tuneway(*words)
        assert_shown_only(result.stdout, result.stderr)


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["for people", "for programs"])
def test_the_reason_of_a_failed_job_is_one_line_that_a_terminal_can_show(more, tuneway, failed):
    result = tuneway("wait", failed, *more, code=4)
    assert_shown_only(result.stdout, result.stderr)
    assert "line 3 is no good" in result.stderr


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["for people", "for programs"])
def test_a_refusal_is_one_line_that_a_terminal_can_show(more, tuneway, job):
    result = tuneway("show", "ftjob-unknown", *more, code=1)
    assert_shown_only(result.stdout, result.stderr)
    assert "no such job" in result.stderr


def test_a_status_that_nobody_knows_is_only_shown(tuneway, job, service):
    service.kept = service.kept - {"status"}
    for words in (("list",), ("show", job), ("metrics", job), ("events", job)):
        result = tuneway(*words)
        assert_shown_only(result.stdout, result.stderr)


def test_a_spreadsheet_gets_no_formula(tuneway, job, service):
    service.contents.clear()  # so that the numbers are those of the log, whose names the service chooses
    heads, *rows = csv.reader(io.StringIO(tuneway("metrics", job, "--csv").stdout))
    assert f"'{FORMULA}" in heads
    assert not [head for head in heads if head.startswith(("=", "+", "-", "@"))]
    assert printable(BAD, lines=False) in heads
    assert {row[heads.index(f"'{FORMULA}")] for row in rows} == {"0.25"}
