"""`run`: everything, and again without paying twice."""

from __future__ import annotations

import pytest
from support.console import error_of, lines_of, write
from support.fault_server import answer, drop_after

from tuneway.cli._exits import ExitCode, Terminated
from tuneway.client import Client
from tuneway.dataset import fingerprint
from tuneway.registry import open_registry

RUN = ("--model", "base")


def words_of(result):
    return [line.split()[0] for line in result.stderr.splitlines() if line.strip()]


def test_a_run_goes_all_the_way(tuneway, service, train):
    result = tuneway("run", train, *RUN, "--name", "router", "--alias", "challenger")
    assert result.stdout == "ft:base:org::ftjob-1\n"
    steps = [word for word in words_of(result) if word not in ("log", "step")]
    assert steps == ["checked", "uploaded", "created", "succeeded", "registered",
                     "took", "curve", "report", "ask", "promote"]  # fmt: skip
    assert "registered router:1 @challenger" in result.stderr
    version = open_registry().get("router@challenger")
    assert version.model_id == "ft:base:org::ftjob-1"
    assert version.record.training is not None
    assert version.record.training.sha256 == fingerprint(train).sha256
    assert version.record.training.rows == 20
    assert version.record.requested == {}


def test_the_second_run_adopts_and_sends_nothing(tuneway, service, train):
    first, second = (tuneway("run", train, *RUN, "--name", "router") for _ in range(2))
    assert first.stdout == second.stdout
    assert "nothing was sent" in second.stderr
    assert "adopted    ftjob-1" in second.stderr
    assert "registered router:1, as before" in second.stderr
    assert "log" in words_of(first)
    assert "log" not in words_of(second)  # what was trained before isn't told as if it were trained now
    assert len(service.jobs) == 1
    assert len(service.requests("POST", "/files")) == 1
    assert len(open_registry().versions("router")) == 1


def test_for_machines_the_result_is_one_object(tuneway, service, train):
    first = tuneway("run", train, *RUN, "--json")
    (result,) = lines_of(first)
    assert first.stderr == ""
    assert result["name"] == "train"
    assert (result["model"], result["job_id"], result["status"]) == ("ft:base:org::ftjob-1", "ftjob-1", "succeeded")
    assert result["adopted"] is False
    assert result["files"] == [
        {"id": "file-1", "path": "train.jsonl", "sha256": fingerprint(train).sha256, "sent": True}
    ]
    assert result["metrics"] == {"first": 2.0, "last": 0.1, "validation": 0.2, "of": "loss"}
    assert result["registered"] == "train:1"
    (again,) = lines_of(tuneway("run", train, *RUN, "--json"))
    assert again["adopted"] is True
    assert again["files"][0]["sent"] is False


@pytest.fixture(autouse=True)
def _relative(train, monkeypatch):
    """Paths are shown as they were given."""
    monkeypatch.chdir(train.parent)


@pytest.fixture
def train(here):
    write(here / "train.jsonl", 20)
    return type(here)("train.jsonl")


def test_other_names_data_and_settings_are_other_jobs(tuneway, service, train, here):
    tuneway("run", train, *RUN)
    tuneway("run", train, *RUN, "--name", "other")
    tuneway("run", train, *RUN, "--epochs", 2)
    tuneway("run", write(here / "train.jsonl", 21), *RUN)
    tuneway("run", train, *RUN, "--reuse", "never")
    assert len(service.jobs) == 5
    tuneway("run", train, *RUN, "--name", "third", "--reuse", "content")
    assert len(service.jobs) == 5


def test_a_key_stands_for_who_asks_in_place_of_the_name(tuneway, service, train):
    tuneway("run", train, *RUN, "--name", "one", "--key", "nightly/2026-11-20")
    tuneway("run", train, *RUN, "--name", "two", "--key", "nightly/2026-11-20")
    assert len(service.jobs) == 1
    assert service.jobs[0]["metadata"]["tuneway_origin"] == "nightly/2026-11-20"


def test_validation_data_is_checked_uploaded_and_named(tuneway, service, train, here):
    write(here / "valid.jsonl", 12, start=100)
    tuneway("run", train, *RUN, "--valid", "valid.jsonl")
    assert service.jobs[0]["validation_file"] == "file-2"
    write(here / "valid.jsonl", 12, start=15)
    overlap = tuneway("run", train, *RUN, "--valid", "valid.jsonl", code=ExitCode.INVALID_DATA)
    assert "row.overlap" in overlap.stderr


def test_the_best_checkpoint_is_what_a_run_gives_if_asked(tuneway, service, train):
    result = tuneway("run", train, *RUN, "--checkpoint", "best")
    assert result.stdout == "ft:base:org::ftjob-1:ckpt-step-10\n"


def test_without_registering_the_registry_is_left_alone(tuneway, service, train):
    result = tuneway("run", train, *RUN, "--no-register", "--name", "not a name of the registry")
    assert result.stdout == "ft:base:org::ftjob-1\n"
    assert open_registry().models() == []


@pytest.mark.parametrize(
    "words", [["--name", "no/name"], ["--alias", "previous"], ["--metadata", "x"], ["--epochs", "0"]]
)
def test_what_is_wrong_is_found_before_a_job_is_paid_for(tuneway, service, train, words):
    tuneway("run", train, *RUN, *words, code=ExitCode.USAGE)
    assert service.jobs == []


def test_bad_data_ends_a_run_before_anything_is_sent(tuneway, server, here):
    (here / "bad.jsonl").write_text("no\n" * 12)
    error = error_of(tuneway("run", "bad.jsonl", *RUN, "--json", code=ExitCode.INVALID_DATA))
    assert error["problems"][1]["line"] == 1
    assert server.arrived == []


def test_a_failed_job_is_told_and_the_next_run_is_a_new_attempt(tuneway, service, train):
    service.ends = "failed"
    tuneway("run", train, *RUN, code=ExitCode.JOB_FAILED)
    service.ends = "succeeded"
    tuneway("run", train, *RUN)
    assert [job["status"] for job in service.jobs] == ["failed", "succeeded"]


def test_a_gate_that_refuses_has_its_own_exit_code_and_the_model_is_registered(tuneway, train):
    words = ("run", train, *RUN, "--name", "router", "--alias", "champion", "--gate", "full_valid_loss<=0.01")
    result = tuneway(*words, code=ExitCode.GATE_REFUSED)
    assert "router:1 is registered but may not become champion" in result.stderr
    assert open_registry().get("router").aliases == []


def test_a_file_that_changes_meanwhile_is_not_trained_on(tuneway, service, train, monkeypatch):
    upload = Client.upload

    def meanwhile(self, path, **options):
        write(train, 30)
        return upload(self, path, **options)

    monkeypatch.setattr(Client, "upload", meanwhile)
    result = tuneway("run", train, *RUN, code=ExitCode.USAGE)
    assert "changed while it was being uploaded" in result.stderr
    assert service.jobs == []


@pytest.mark.parametrize(
    ("stop", "code"), [(KeyboardInterrupt, ExitCode.INTERRUPTED), (Terminated, ExitCode.TERMINATED)]
)
def test_who_stops_waiting_is_told_how_to_go_on(tuneway, service, train, monkeypatch, stop, code):
    service.ends = None

    def wait(*_args, **_options):
        raise stop

    monkeypatch.setattr(Client, "wait", wait)
    result = tuneway("run", train, *RUN, code=code)
    assert result.stderr.endswith(
        "stopped waiting; ftjob-1 goes on\nWait on: tuneway wait ftjob-1\nCancel:  tuneway cancel ftjob-1\n"
    )
    assert service.jobs[0]["status"] == "validating_files"
    error = error_of(tuneway("wait", "ftjob-1", "--json", code=code))
    assert (error["type"], error["job_id"], error["exit_code"]) == ("Stopped", "ftjob-1", code)


@pytest.mark.parametrize("step", ["validate", "upload", "submit"])
def test_who_stops_before_there_is_a_job_may_just_run_again(tuneway, service, train, monkeypatch, step):
    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Client, step, interrupted)
        result = tuneway("run", train, *RUN, code=ExitCode.INTERRUPTED)
    assert "The same command goes on from here" in result.stderr
    assert tuneway("run", train, *RUN).stdout == "ft:base:org::ftjob-1\n"
    assert len(service.jobs) == 1


def test_ctrl_c_cancels_the_job_only_if_asked(tuneway, service, train, monkeypatch):
    service.ends = None

    def wait(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "wait", wait)
    result = tuneway("run", train, *RUN, "--cancel-on-interrupt", code=ExitCode.INTERRUPTED)
    assert "ftjob-1 is cancelled" in result.stderr
    assert service.jobs[0]["status"] == "cancelled"


def test_an_account_that_may_not_train_is_told_what_else_there_is(tuneway, server, train):
    refusal = {"error": {"message": "closed", "code": "training_not_available", "type": "invalid_request_error"}}
    server.fault(answer(refusal, 403), "POST", "/fine_tuning/jobs")
    result = tuneway("run", train, *RUN, code=ExitCode.NOT_ALLOWED)
    assert "base_url" in result.stderr


def test_lost_replies_on_the_way_make_nothing_double(tuneway, server, service, train):
    server.fault(drop_after(), "POST", "/files")
    server.fault(drop_after(), "POST", "/fine_tuning/jobs")
    tuneway("run", train, *RUN)
    assert len(service.jobs) == 1
    assert len([file for file in service.files if file["purpose"] == "fine-tune"]) == 1


def test_warnings_are_told_a_few_at_a_time_and_block_nothing(tuneway, service, train):
    train.write_text(train.read_text() * 2)
    result = tuneway("run", train, *RUN)
    told = [line for line in result.stderr.splitlines() if line.startswith("warning")]
    assert "train.jsonl:21: row.duplicate" in told[0]
    assert told[3] == "warning    17 more warnings: tuneway validate train.jsonl"
    assert len(told) == 4


def test_a_hosted_run_tells_what_it_costs(tuneway, service, train, monkeypatch):
    monkeypatch.setattr("tuneway.cli._journey.is_local", lambda _url: False)
    result = tuneway("run", train, "--model", "gpt-4o-mini", "--json")
    assert lines_of(result)[0]["cost"]["amount"] == 3.0  # a million trained tokens
    assert lines_of(tuneway("run", train, *RUN, "--json"))[0]["cost"] is None


def test_a_file_names_the_result_unless_told_otherwise(tuneway, here):
    write(here / "my data (v2).jsonl", 20)
    (result,) = lines_of(tuneway("run", "my data (v2).jsonl", *RUN, "--json"))
    assert result["registered"] == "my-data-v2-:1"
