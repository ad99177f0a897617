"""`create`, `wait`, `cancel`, `pause`, `resume`."""

from __future__ import annotations

import json

import pytest
from support.console import error_of, lines_of, write
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
        "create", file, "-m", "base", "--validation-file", valid, "--method", "dpo", "--epochs", 2, "--batch-size", 4,
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
    tuneway("create", file, "--validation-file", file, "-m", "base", "--grader", "grader.json")
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


ABSOLUTE = ("--dialect", "nebius", "--learning-rate", "2e-5")


def test_a_learning_rate_is_sent_beside_the_other_hyperparameters(tuneway, service, file):
    tuneway("create", file, "-m", "base", "--epochs", 2, *ABSOLUTE)
    (request,) = service.requests("POST", "/fine_tuning/jobs")
    assert request.json["hyperparameters"] == {"n_epochs": 2, "learning_rate": 2e-5}


@pytest.mark.parametrize(
    "method",
    [
        {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 9, "learning_rate": 1e-3}}},
        {"type": "supervised", "hyperparameters": {"n_epochs": 9, "learning_rate": 1e-3}},
        {"type": "supervised", "n_epochs": 9},
        {"type": "supervised", "supervised": {"n_epochs": 9}},
    ],
)
def test_a_learning_rate_wins_over_that_of_a_specification(method, tuneway, service, file, here):
    (here / "job.json").write_text(json.dumps({"model": "base", "training_file": file, "method": method}))
    tuneway("create", "--spec", "job.json", *ABSOLUTE)
    (request,) = service.requests("POST", "/fine_tuning/jobs")
    assert request.json["hyperparameters"] == {"n_epochs": 9, "learning_rate": 2e-5}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([*ABSOLUTE, "--lr-multiplier", 2], "--learning-rate and --lr-multiplier are both given"),
        (
            ["--dialect", "nebius", "--lr-multiplier", 2],
            "learning_rate_multiplier: nebius takes the learning rate itself",
        ),
        (["--dialect", "azure", "--learning-rate", 2e-5], "learning_rate: azure takes a multiplier"),
        (["--dialect", "nebius", "--learning-rate", 0], "learning_rate: "),
        (["--dialect", "nebius", "--learning-rate", "nan"], "learning_rate: "),
    ],
)
def test_a_learning_rate_that_the_service_does_not_take_is_refused(words, told, tuneway, server, file):
    result = tuneway("create", file, "-m", "base", *words, code=ExitCode.USAGE)
    assert told in " ".join(result.stderr.split())
    assert server.arrived == []


@pytest.mark.parametrize("method", [{"type": "supervised", "hyperparameters": 3}])
def test_a_learning_rate_over_hyperparameters_that_are_none_is_refused(method, tuneway, server, file, here):
    (here / "job.json").write_text(json.dumps({"model": "base", "training_file": file, "method": method}))
    tuneway("create", "--spec", "job.json", *ABSOLUTE, code=ExitCode.USAGE)
    assert server.arrived == []


def test_a_specification_comes_from_standard_input_too(tuneway, service, file):
    tuneway("create", "--spec", "-", stdin=json.dumps({"model": "base", "training_file": file}))
    assert sent(service) == {"model": "base", "training_file": file}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is not JSON"),
        ("[]", "not an object"),
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


def test_create_takes_what_upload_printed_and_hands_on_what_it_knows(tuneway, service, train, here):
    write(here / "valid.jsonl", 12, start=100)
    upload = tuneway("upload", train, "--validation-data", "valid.jsonl", "--json").stdout
    (job,) = lines_of(tuneway("create", upload, "-m", "base", "--epochs", 2, "--json"))
    body = sent(service)
    assert (body["training_file"], body["validation_file"]) == ("file-1", "file-2")
    assert job["requested"] == {"n_epochs": 2}
    assert [data["rows"] for data in job["data"]] == [20, 12]
    (done,) = lines_of(tuneway("wait", json.dumps(job), "--json"))
    assert (done["requested"], done["data"]) == (job["requested"], job["data"])


def test_a_validation_file_that_is_given_wins_over_the_one_beside_the_training_file(tuneway, service, train, here):
    write(here / "valid.jsonl", 12, start=100)
    upload = tuneway("upload", train, "--validation-data", "valid.jsonl", "--json").stdout
    other = tuneway("upload", "--validation-data", write(here / "other.jsonl", 10, start=200), "--json").stdout
    tuneway("create", upload, "--validation-file", other, "-m", "base")
    assert sent(service)["validation_file"] == "file-3"


@pytest.mark.parametrize("text", ['{"file_id": ', '{"status": "succeeded"}'])
def test_what_no_step_printed_is_refused_here(tuneway, server, text):
    tuneway("create", text, "-m", "base", code=ExitCode.USAGE)
    assert server.arrived == []


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
    assert lines_of(result) == [
        {
            "job_id": "ftjob-1", "status": "succeeded", "model": "base",
            "fine_tuned_model": "ft:base:org::ftjob-1", "trained_tokens": 1_000_000,
        }
    ]  # fmt: skip
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


@pytest.fixture
def three(service):
    """Three jobs; how they end is the test's."""
    return [service.add_job()["id"] for _ in range(3)]


def test_several_jobs_are_waited_for_on_one_poll_and_their_models_printed_in_order(tuneway, server, service, three):
    for job in reversed(three):
        service.train(job)
    result = tuneway("wait", three[2], three[0], three[1], three[0], "--quiet")
    assert result.stdout.splitlines() == [f"ft:base:org::{job}" for job in ("ftjob-3", "ftjob-1", "ftjob-2")]
    assert len([sent for sent in server.arrived if "/events" not in sent.target]) == 2, "a list to look, a list to wait"


def test_of_several_jobs_each_line_says_which_it_is_about(tuneway, service, three):
    for job, end in zip(three, ("succeeded", "failed", "cancelled"), strict=True):
        service.train(job, end)
    told = tuneway("wait", *three, code=ExitCode.JOB_FAILED).stderr.splitlines()
    assert "log        ftjob-1 Fine-tuning job started" in told
    assert "step       ftjob-2 10 of 20, loss 0.2, validation 0.3" in told
    assert any(line.startswith("succeeded  ftjob-1 in 0 s, loss 2 → 0.1") for line in told)
    assert {"failed     ftjob-2", "cancelled  ftjob-3"} <= set(told)
    why = [line for line in told if line.startswith("error: ")]
    assert [line.partition(" (")[0] for line in why] == [
        "error: ftjob-2 failed: line 3 is no good",
        "error: ftjob-3 was cancelled",
    ]


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        (("succeeded", "succeeded", "succeeded"), ExitCode.DONE),
        (("succeeded", "cancelled", "succeeded"), ExitCode.JOB_CANCELLED),
        (("cancelled", "succeeded", "failed"), ExitCode.JOB_FAILED),
        (("cancelled", None, "succeeded"), ExitCode.JOB_CANCELLED),
        (("succeeded", None, "succeeded"), ExitCode.TIMED_OUT),
    ],
)
def test_the_worst_end_of_several_decides_the_exit_code(tuneway, service, three, ends, code):
    for job, end in zip(three, ends, strict=True):
        if end is not None:
            service.train(job, end)
    result = tuneway("wait", *three, "--timeout", 0, "--quiet", code=code)
    well = [job for job, end in zip(three, ends, strict=True) if end == "succeeded"]
    assert result.stdout.splitlines() == [f"ft:base:org::{job}" for job in well]


def test_for_machines_several_jobs_are_a_line_each_and_so_are_their_errors(tuneway, service, three):
    for job, end in zip(three, ("failed", "succeeded", "cancelled"), strict=True):
        service.train(job, end)
    result = tuneway("wait", *three, "--json", code=ExitCode.JOB_FAILED)
    assert [(job["job_id"], job["status"]) for job in lines_of(result)] == [
        ("ftjob-1", "failed"),
        ("ftjob-2", "succeeded"),
        ("ftjob-3", "cancelled"),
    ]
    errors = [json.loads(line)["error"] for line in result.stderr.splitlines()]
    assert [(error["type"], error["job_id"]) for error in errors] == [
        ("JobFailed", "ftjob-1"),
        ("JobCancelled", "ftjob-3"),
    ]


def test_a_mistyped_id_among_several_fails_at_once(tuneway, server, three):
    result = tuneway("wait", *three, "ftjob-typo", code=ExitCode.ERROR)
    assert "ftjob-typo" in result.stderr
    assert not [sent for sent in server.arrived if "/events" in sent.target]


def test_jobs_are_paused_resumed_and_cancelled(tuneway, service):
    service.add_job()
    assert tuneway("pause", "ftjob-1").stdout == "ftjob-1 paused\n"
    assert lines_of(tuneway("resume", "ftjob-1", "--json"))[0]["status"] == "queued"
    assert tuneway("cancel", "ftjob-1").stdout == "ftjob-1 cancelled\n"
    assert tuneway("cancel", "ftjob-1").stdout == "ftjob-1 cancelled\n"


@pytest.mark.parametrize("command", ["cancel", "pause", "resume"])
@pytest.mark.parametrize("form", ["text", "file", "-"])
def test_a_job_is_given_by_what_a_command_has_printed_about_it(tuneway, service, here, command, form):
    job_id = service.add_job()["id"]
    printed = json.dumps({"job_id": job_id, "requested": {"n_epochs": 3}})
    (here / "job.json").write_text(printed, encoding="utf-8")
    argument = {"text": printed, "file": "job.json"}.get(form, form)
    (after,) = lines_of(tuneway(command, argument, "--json", stdin=printed))
    assert (after["job_id"], after["requested"]) == (job_id, {"n_epochs": 3})
    assert len(service.requests("POST", f"/fine_tuning/jobs/{job_id}/{command}")) == 1


@pytest.mark.parametrize("command", ["show", "events", "metrics", "report", "wait", "register"])
def test_every_command_about_a_job_takes_the_file_of_a_step_or_of_the_job_itself(tuneway, file, service, here, command):
    printed = tuneway("create", file, "-m", "base", "--json").stdout, tuneway("show", "ftjob-1", "--json").stdout
    for text in printed:
        (here / "job.json").write_text(text, encoding="utf-8")
        tuneway(command, "job.json", *(["--name", "n"] if command == "register" else []))
        assert any(request.path.startswith("/fine_tuning/jobs/ftjob-1") for request in service.log[-4:])


def test_an_id_may_come_from_standard_input(tuneway, service):
    service.add_job()
    assert tuneway("cancel", "-", stdin="ftjob-1\n").stdout == "ftjob-1 cancelled\n"


@pytest.mark.parametrize("content", ['{"messages": []}\n{"messages": []}', '{"messages": []}', "question,answer", "["])
def test_a_data_file_in_place_of_a_job_is_refused_with_the_command_for_it(tuneway, service, here, content):
    (here / "train.jsonl").write_text(content, encoding="utf-8")
    result = tuneway("cancel", "train.jsonl", code=ExitCode.USAGE)
    assert "train.jsonl is a file on this machine" in result.stderr
    assert "tuneway run train.jsonl" in result.stderr
    assert service.log == []


def test_service_options_reach_the_dialect(tuneway, server, service, file, monkeypatch):
    monkeypatch.setattr(server, "prefix", "/openai/v1")
    where = ("--base-url", server.origin, "--dialect", "azure")
    tuneway("create", file, "-m", "base", *where, "--service-option", "training_type=globalStandard")
    assert sent(service)["trainingType"] == "globalStandard"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("training_type", "--service-option is not NAME=VALUE"),
        ("=x", "--service-option is not NAME=VALUE"),
        ("x=", "--service-option is not NAME=VALUE"),
        ("colour=red", "openai takes no option 'colour'"),
    ],
)
def test_a_service_option_that_makes_no_sense_is_refused(given, told, tuneway, service, file):
    result = tuneway("create", file, "-m", "base", "--service-option", given, code=ExitCode.USAGE)
    assert told in result.stderr
    assert service.log == []
