"""`create`, `wait`, `cancel`, `pause`, `resume`."""

from __future__ import annotations

import json

import pytest
from support.console import error_of, lines_of
from support.fault_server import drop_after

from tuneway.cli._exits import ExitCode


@pytest.fixture
def file(service):
    return service.add_file()["id"]


def sent(service):
    (request,) = service.requests("POST", "/fine_tuning/jobs")
    return {name: value for name, value in request.json.items() if name != "metadata"}


def test_create_prints_the_id_alone(tuneway, file):
    result = tuneway("create", file, "--model", "base")
    assert result.stdout == "ftjob-1\n"
    assert "created    ftjob-1 from base" in result.stderr


def test_every_option_reaches_the_service(tuneway, service, file):
    valid = service.add_file()["id"]
    tuneway(
        "create", file, "-m", "base", "--valid", valid, "--method", "dpo", "--epochs", 2, "--batch-size", 4,
        "--lr-multiplier", 0.5, "--beta", 0.1, "--seed", 7, "--suffix", "mine", "--metadata", "team=a",
        "--metadata", "x=1=2", "--wandb", "lab",
    )  # fmt: skip
    assert sent(service) == {
        "model": "base",
        "training_file": file,
        "validation_file": valid,
        "method": {
            "type": "dpo",
            "dpo": {"hyperparameters": {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 0.5, "beta": 0.1}},
        },
        "seed": 7,
        "suffix": "mine",
        "integrations": [{"type": "wandb", "wandb": {"project": "lab"}}],
    }
    metadata = service.jobs[0]["metadata"]
    assert (metadata["team"], metadata["x"]) == ("a", "1=2")


def test_the_method_follows_from_its_own_knobs(tuneway, service, file, here):
    tuneway("create", file, "-m", "base", "--beta", 0.2)
    assert sent(service)["method"] == {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2}}}


def test_a_grader_is_read_from_a_file(tuneway, service, file, here):
    grader = {
        "type": "string_check",
        "name": "g",
        "input": "{{sample.output_text}}",
        "reference": "x",
        "operation": "eq",
    }
    (here / "grader.json").write_text(json.dumps(grader))
    tuneway("create", file, "--valid", file, "-m", "base", "--grader", "grader.json")
    assert sent(service)["method"]["reinforcement"]["grader"] == grader


def test_a_specification_is_taken_whole_and_options_win(tuneway, service, file, here):
    spec = {
        "model": "base",
        "training_file": file,
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 9, "batch_size": 3}}},
        "metadata": {"team": "a", "by": "file"},
        "seed": 1,
    }
    (here / "job.json").write_text(json.dumps(spec))
    tuneway("create", "--spec", "job.json", "--epochs", 2, "--metadata", "by=option", "--model", "other")
    body = sent(service)
    assert body["model"] == "other"
    assert body["seed"] == 1
    assert body["method"]["supervised"]["hyperparameters"] == {"n_epochs": 2, "batch_size": 3}
    assert {"team": "a", "by": "option"}.items() <= service.jobs[0]["metadata"].items()


def test_a_specification_comes_from_standard_input_too(tuneway, service, file):
    tuneway("create", "--spec", "-", stdin=json.dumps({"model": "base", "training_file": file}))
    assert sent(service) == {"model": "base", "training_file": file}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is not JSON"),
        ("[]", "no JSON object"),
        ('{"model": "base"}', "training_file is missing"),
        ("{}", "model is missing"),
    ],
)
def test_a_specification_that_is_none_is_refused_here(tuneway, service, text, told):
    result = tuneway("create", "--spec", "-", stdin=text, code=ExitCode.USAGE)
    assert told in result.stderr
    assert service.jobs == []


def test_a_field_out_of_its_limits_is_named(tuneway, service, file):
    error = error_of(tuneway("create", file, "-m", "base", "--epochs", 99, "--json", code=ExitCode.USAGE))
    assert "n_epochs" in error["param"]
    assert service.jobs == []


def test_a_path_where_an_id_belongs_is_recognised(tuneway, train):
    result = tuneway("create", train, "-m", "base", code=ExitCode.USAGE)
    assert f"tuneway upload {train}" in result.stderr


def test_the_same_create_gives_the_same_job(tuneway, service, file):
    first, second = (tuneway("create", file, "-m", "base") for _ in range(2))
    assert first.stdout == second.stdout == "ftjob-1\n"
    assert "adopted    ftjob-1" in second.stderr
    assert len(service.jobs) == 1


def test_reuse_and_keys_say_which_job_will_do(tuneway, service, file):
    by_key = [tuneway("create", file, "-m", "base", "--key", key).stdout for key in ("a", "b", "a")]
    assert by_key == ["ftjob-1\n", "ftjob-2\n", "ftjob-1\n"]
    assert tuneway("create", file, "-m", "base", "--reuse", "content").stdout in by_key
    assert tuneway("create", file, "-m", "base", "--reuse", "never").stdout == "ftjob-3\n"


def test_a_reply_that_is_lost_makes_no_second_job(tuneway, server, service, file):
    server.fault(drop_after(), "POST", "/fine_tuning/jobs")
    assert tuneway("create", file, "-m", "base").stdout == "ftjob-1\n"
    assert len(service.jobs) == 1


def test_wait_prints_the_tuned_model_and_tells_the_way_there(tuneway, service):
    service.add_job()
    service.train("ftjob-1")
    result = tuneway("wait", "ftjob-1")
    assert result.stdout == "ft:base:org::ftjob-1\n"
    told = result.stderr.splitlines()
    assert told[0] == "log        Fine-tuning job started"
    assert "step       10 of 20, loss 0.2, validation 0.3" in told
    assert len([line for line in told if line.startswith("step ")]) == 11  # the first, and each tenth
    assert told[-1].startswith("succeeded  in 0 s, loss 2 → 0.1")


def test_wait_for_machines_is_silent_and_gives_the_job(tuneway, service):
    service.add_job()
    service.train("ftjob-1")
    result = tuneway("wait", "ftjob-1", "--json")
    assert lines_of(result)[0]["fine_tuned_model"] == "ft:base:org::ftjob-1"
    assert result.stderr == ""


def test_a_failed_job_gives_its_reason_and_exit_code(tuneway, service):
    service.add_job()
    service.train("ftjob-1", "failed")
    result = tuneway("wait", "ftjob-1", code=ExitCode.JOB_FAILED)
    assert "ftjob-1 failed: line 3 is no good" in result.stderr
    assert result.stdout == ""
    error = error_of(tuneway("wait", "ftjob-1", "--json", code=ExitCode.JOB_FAILED))
    assert (error["type"], error["code"], error["job_id"]) == ("JobFailed", "invalid_training_file", "ftjob-1")


def test_a_cancelled_job_has_its_own_exit_code(tuneway, service):
    service.add_job(status="cancelled")
    tuneway("wait", "ftjob-1", code=ExitCode.JOB_CANCELLED)


def test_a_wait_that_runs_out_says_that_the_job_goes_on(tuneway, service):
    service.add_job()
    result = tuneway("wait", "ftjob-1", "--timeout", 0, code=ExitCode.TIMED_OUT)
    assert "tuneway wait ftjob-1" in result.stderr
    assert service.jobs[0]["status"] == "running"


def test_a_mistyped_id_fails_at_once(tuneway, server):
    result = tuneway("wait", "ftjob-typo", code=ExitCode.ERROR)
    assert "ftjob-typo" in result.stderr
    assert len(server.arrived) == 1


def test_jobs_are_paused_resumed_and_cancelled(tuneway, service):
    service.add_job()
    assert tuneway("pause", "ftjob-1").stdout == "ftjob-1 paused\n"
    assert lines_of(tuneway("resume", "ftjob-1", "--json"))[0]["status"] == "queued"
    assert tuneway("cancel", "ftjob-1").stdout == "ftjob-1 cancelled\n"
    assert tuneway("cancel", "ftjob-1").stdout == "ftjob-1 cancelled\n"
