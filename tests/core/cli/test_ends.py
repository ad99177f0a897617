"""How commands end: exit codes, and errors for people and for machines."""

from __future__ import annotations

import pytest
from support.console import error_of, write
from support.fault_server import answer, drop_before

from tuneway import errors
from tuneway.cli import _exits
from tuneway.cli._exits import ExitCode, exit_code
from tuneway.dataset import validate

REFUSALS = [
    (401, "invalid_api_key", ExitCode.NOT_ALLOWED),
    (403, "training_not_available", ExitCode.NOT_ALLOWED),
    (429, "insufficient_quota", ExitCode.NOT_ALLOWED),
    (404, "fine_tuning_job_not_found", ExitCode.ERROR),
    (400, "bad", ExitCode.ERROR),
]


@pytest.mark.parametrize(("status", "code", "expected"), REFUSALS)
def test_what_a_service_refuses_has_its_exit_code(tuneway, server, status, code, expected):
    server.fault(answer({"error": {"message": "no", "code": code}}, status, x_request_id="req-7"))
    result = tuneway("show", "ftjob-1", "--json", code=expected)
    error = error_of(result)
    assert error["status"] == status
    assert error["code"] == code
    assert error["request_id"] == "req-7"
    assert error["exit_code"] == expected
    assert result.stdout == ""


def test_a_service_that_is_not_there_may_be_there_later(tuneway):
    result = tuneway("show", "ftjob-1", "--base-url", "http://127.0.0.1:9/v1", "--json", code=ExitCode.TRY_LATER)
    assert error_of(result)["type"] == "ConnectionFailed"
    assert error_of(result)["retryable"] is True


def every_error() -> list[type[errors.TunewayError]]:
    def below(kind: type[errors.TunewayError]) -> list[type[errors.TunewayError]]:
        return [kind, *(error for child in kind.__subclasses__() for error in below(child))]

    return [kind for kind in below(errors.TunewayError) if kind.__module__ == "tuneway.errors"]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_of_the_tree_has_an_exit_code_that_fits(kind):
    error = kind.__new__(kind)
    error.status = None
    code = exit_code(error)
    by_name = {
        "InvalidDataset": ExitCode.INVALID_DATA,
        "JobFailed": ExitCode.JOB_FAILED,
        "JobCancelled": ExitCode.JOB_CANCELLED,
        "WaitTimeout": ExitCode.TIMED_OUT,
        "GateRefused": ExitCode.GATE_REFUSED,
        "InvalidInput": ExitCode.USAGE,
        "InvalidSpec": ExitCode.USAGE,
        "OverBudget": ExitCode.USAGE,
        "Unauthorized": ExitCode.NOT_ALLOWED,
        "Forbidden": ExitCode.NOT_ALLOWED,
        "TrainingNotAvailable": ExitCode.NOT_ALLOWED,
        "QuotaExhausted": ExitCode.NOT_ALLOWED,
    }
    assert code == by_name.get(kind.__name__, ExitCode.TRY_LATER if kind.retryable else ExitCode.ERROR)


def test_a_look_that_the_key_may_not_do_is_not_allowed():
    assert exit_code(errors.LookupFailed("can't tell", status=401)) == ExitCode.NOT_ALLOWED
    assert exit_code(errors.LookupFailed("can't tell", status=500)) == ExitCode.TRY_LATER


def test_an_error_says_what_happened_and_then_what_to_do(tuneway):
    result = tuneway("show", "ftjob-1", code=1)
    assert result.stderr.startswith("error: no such job: ftjob-1")
    assert len(result.stderr.splitlines()) == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize("words", [["show"], ["show", "x", "--nonsense"], ["nonsense"], ["list", "--limit", "many"]])
def test_a_wrong_command_line_says_so_and_where_to_look(tuneway, words):
    result = tuneway(*words, code=ExitCode.USAGE)
    assert result.stderr.startswith("error: ")
    assert "--help`" in result.stderr
    assert error_of(tuneway(*words, "--json", code=ExitCode.USAGE))["type"] == "InvalidInput"


def test_bad_data_is_told_by_line_to_machines_too(here):
    bad = write(here / "bad.jsonl", 12)
    bad.write_text(bad.read_text() + "no\nno\n")
    with pytest.raises(errors.InvalidDataset) as caught:
        validate("bad.jsonl").raise_for_errors()
    problems = _exits.as_json(caught.value)["error"]["problems"]
    assert [problem["line"] for problem in problems] == [13, 14]
    assert problems[0]["path"] == "bad.jsonl"


def test_an_unexpected_error_is_one_line_unless_debugging(tuneway, monkeypatch):
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("tuneway.cli._connect.Connection.client", broken)
    result = tuneway("show", "ftjob-1", code=1)
    assert result.stderr.startswith("error: RuntimeError: a bug\n")
    assert "Traceback" not in result.stderr
    assert "Traceback" in tuneway("show", "ftjob-1", "--debug", code=1).stderr
    monkeypatch.setenv("TUNEWAY_DEBUG", "1")
    assert "Traceback" in tuneway("show", "ftjob-1", code=1).stderr


def test_the_key_comes_from_the_environment_and_is_never_shown(tuneway, server, service, monkeypatch):
    service.add_job()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    result = tuneway("show", "ftjob-1")
    assert server.arrived[0].header("authorization") == "Bearer sk-secret"
    server.fault(drop_before(), times=10)
    failed = tuneway("wait", "ftjob-1", code=ExitCode.TRY_LATER, stdin="")
    assert "sk-secret" not in result.output + failed.output


def test_connection_options_reach_the_service(tuneway, server, service):
    service.add_job()
    tuneway("show", "ftjob-1", "--organization", "org-1", "--project", "proj-1")
    assert server.arrived[0].header("openai-organization") == "org-1"
    assert server.arrived[0].header("openai-project") == "proj-1"


COMMANDS = [
    ("list",), ("run", "train.jsonl", "--model", "base"), ("create", "file-1", "--model", "base"),
    ("wait", "ftjob-1"), ("wait", "ftjob-1", "ftjob-2"), ("show", "ftjob-1"), ("events", "ftjob-1"),
    ("events", "ftjob-1", "--follow"), ("metrics", "ftjob-1"), ("cancel", "ftjob-1"), ("pause", "ftjob-1"),
    ("resume", "ftjob-1"), ("upload", "train.jsonl"), ("models", "--service"), ("register", "ftjob-1", "--name", "m"),
    ("ask", "base", "hello"), ("report", "ftjob-1"),
]  # fmt: skip
PAGE = answer(b"<!doctype html><html></html>", kind="text/html")
OTHERS = [
    answer(b"<!doctype html><html></html>", 404, kind="text/html"),
    answer(b"404 page not found", 404, kind="text/plain"),
    answer({"error": {"message": "Unknown request URL", "code": "unknown_url"}}, 404),
]


@pytest.mark.parametrize(
    ("words", "fault"),
    [*((words, PAGE) for words in COMMANDS), *((COMMANDS[0], fault) for fault in OTHERS)],
    ids=[*map(" ".join, COMMANDS), "a page with 404", "text with 404", "JSON with 404"],
)
@pytest.mark.usefixtures("train")
def test_every_command_explains_at_once_that_there_is_no_api_at_the_base_url(tuneway, server, words, fault):
    server.fault(fault, times=20)
    # a page with 200 may be a proxy's, whose trouble passes
    result = tuneway(*words, code=ExitCode.TRY_LATER if fault is PAGE else ExitCode.ERROR)
    assert "base_url" in result.stderr
    assert "it ends in /v1" in result.stderr
    assert "trying again" not in result.output
    assert len(server.arrived) == 1
