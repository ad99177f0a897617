"""`run`: everything, and again without paying twice."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager

import pytest
from support import datasets
from support.console import error_of, lines_of, write
from support.fault_server import answer, drop_after

from tuneway.cli._exits import ExitCode, Terminated
from tuneway.client import Client
from tuneway.dataset import fingerprint, ready
from tuneway.drivers import Driver
from tuneway.registry import open_registry

RUN = ("--model", "base")


def words_of(result):
    return [line.split()[0] for line in result.stderr.splitlines() if line.strip()]


@pytest.fixture
def train(here):
    """A good training file; paths are shown as they were given."""
    write(here / "train.jsonl", 20)
    return type(here)("train.jsonl")


@pytest.fixture
def valid(here):
    """Good validation data for it."""
    write(here / "valid.jsonl", 12, start=100)
    return type(here)("valid.jsonl")


@pytest.fixture
def hosted(monkeypatch):
    """Let the service count as one that sends bills."""
    for module in ("tuneway.client._settings", "tuneway.cli._run"):
        monkeypatch.setattr(f"{module}.is_local", lambda _url: False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")


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


def test_where_a_model_must_be_deployed_first_a_run_says_so(tuneway, train):
    result = tuneway("run", train, *RUN, "--dialect", "nebius")
    (line,) = [line for line in result.stderr.splitlines() if "tuneway ask" in line]
    assert "deploy the model" in line
    assert "ft:base" not in line


def test_a_run_names_no_curve_where_the_service_tells_no_metrics(tuneway, service, train, monkeypatch):
    monkeypatch.setattr(service, "train", service.finish)
    result = tuneway("run", train, *RUN)
    assert "tuneway report" in result.stderr
    assert "tuneway metrics" not in result.stderr


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


def test_for_programs_a_run_gives_what_its_steps_give_and_what_only_it_knows(tuneway, service, train, valid):
    first = tuneway("run", train, *RUN, "--validation-data", valid, "--epochs", 2, "--json")
    (result,) = lines_of(first)
    assert first.stderr == ""
    upload = lines_of(tuneway("upload", train, "--validation-data", valid, "--model", "base", "--json"))[0]
    job = lines_of(tuneway("create", json.dumps(upload), *RUN, "--epochs", 2, "--key", "train", "--json"))[0]
    job = lines_of(tuneway("wait", json.dumps(job), "--json"))[0]
    version = lines_of(tuneway("register", json.dumps(job), "--name", "train", "--json"))[0]
    own = {"upload": upload, "sent": ["file-1", "file-2"], "adopted": False, "seconds": 0.0, "usd": None}
    assert result == job | version | own
    assert len(service.jobs) == 1
    (again,) = lines_of(tuneway("run", train, *RUN, "--validation-data", valid, "--epochs", 2, "--json"))
    assert again == result | {"adopted": True, "sent": []}


def test_for_programs_a_run_that_registers_nothing_gives_the_job_and_its_model(tuneway, train):
    (result,) = lines_of(tuneway("run", train, *RUN, "--no-register", "--json"))
    assert (result["job_id"], result["status"], result["model"]) == ("ftjob-1", "succeeded", "base")
    assert result["model_id"] == result["fine_tuned_model"] == "ft:base:org::ftjob-1"
    assert not {"ref", "version", "aliases"} & result.keys()


def test_one_by_one_the_steps_write_the_same_record_as_a_run(tuneway, train, valid):
    tuneway("run", train, *RUN, "--validation-data", valid, "--epochs", 2, "--name", "whole")
    upload = tuneway("upload", train, "--validation-data", valid, "--model", "base", "--json").stdout
    job = tuneway("create", upload, *RUN, "--epochs", 2, "--key", "whole", "--json").stdout
    tuneway("register", tuneway("wait", job, "--json").stdout, "--name", "parts")
    whole, parts = (open_registry().get(name).record for name in ("whole", "parts"))
    assert whole.origin is not None
    assert (whole.origin.engine, whole.origin.text) == ("command line", "command line: whole")
    own = {"name", "version", "created_at"}
    assert parts.model_dump(exclude=own) == whole.model_dump(exclude=own)
    assert parts.training is not None
    assert (parts.training.rows, parts.requested) == (20, {"n_epochs": 2})


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
    assert service.jobs[0]["metadata"]["tuneway_origin"] == "command line: nightly/2026-11-20"


def test_another_deployment_is_somebody_else(tuneway, service, train, monkeypatch):
    tuneway("run", train, *RUN)
    monkeypatch.setenv("TUNEWAY_DEPLOYMENT", "staging")
    tuneway("run", train, *RUN)
    assert len(service.jobs) == 2
    assert service.jobs[1]["metadata"]["tuneway_origin"] == "command line: staging / train"
    record = open_registry().get("train").record
    assert record.origin is not None
    assert record.origin.deployment == "staging"


def test_validation_data_is_checked_uploaded_and_named(tuneway, service, train, valid, here):
    result = tuneway("run", train, *RUN, "--validation-data", valid)
    assert service.jobs[0]["validation_file"] == "file-2"
    assert words_of(result)[:4] == ["checked", "checked", "uploaded", "uploaded"]
    record = open_registry().get("train").record
    assert record.validation is not None
    assert record.validation.rows == 12
    write(here / "valid.jsonl", 12, start=15)
    overlap = tuneway("run", train, *RUN, "--validation-data", valid, code=ExitCode.INVALID_DATA)
    assert "row.overlap" in overlap.stderr


def test_the_best_checkpoint_is_what_a_run_gives_if_asked(tuneway, service, train, valid):
    result = tuneway("run", train, *RUN, "--validation-data", valid, "--checkpoint", "best")
    assert result.stdout == "ft:base:org::ftjob-1:ckpt-step-10\n"


def test_without_registering_the_registry_is_left_alone(tuneway, service, train):
    result = tuneway("run", train, *RUN, "--no-register", "--name", "not a name of the registry")
    assert result.stdout == "ft:base:org::ftjob-1\n"
    assert open_registry().models() == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--name", "no/name"], "no/name"),
        (["--alias", "previous"], "previous"),
        (["--registry", "nonsense"], "registry"),
        (["--metadata", "x"], "--metadata name=value"),
        (["--epochs", "0"], "n_epochs"),
        (["--reuse", "sometimes"], "sometimes"),
        (["--checkpoint", "first"], "first"),
        (["--checkpoint", "best"], "validation data"),
        (["--gate", "full_valid_loss<=1"], "no validation data"),
        (["--gate", "train_lost<=1"], "train_loss"),
        (["--no-register", "--alias", "champion"], "alias: "),
        (["--max-usd", "0"], "max_usd"),
        (["--prices", "nowhere.json"], "nowhere.json"),
        (["--validation-data", "nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_sent(tuneway, server, train, words, told):
    result = tuneway("run", train, *RUN, *words, code=ExitCode.USAGE)
    assert told in result.stderr
    assert server.arrived == []


def test_bad_data_ends_a_run_before_anything_is_sent(tuneway, server, here):
    (here / "bad.jsonl").write_text("no\n" * 12)
    error = error_of(tuneway("run", "bad.jsonl", *RUN, "--json", code=ExitCode.INVALID_DATA))
    assert error["problems"][1]["line"] == 1
    assert server.arrived == []


def test_data_for_another_method_is_refused_before_anything_is_sent(tuneway, server, here):
    datasets.write(here / "pairs.jsonl", datasets.good_rows("preference", count=12))
    error = error_of(tuneway("run", "pairs.jsonl", *RUN, "--json", code=ExitCode.USAGE))
    assert error["param"] == "method"
    assert server.arrived == []


def test_a_run_over_its_budget_is_refused_before_anything_is_sent(tuneway, server, hosted, train, here):
    words = ("run", train, "--model", "gpt-4o-mini", "--max-usd", "0.000001", "--json")
    error = error_of(tuneway(*words, code=ExitCode.USAGE))
    assert (error["type"], error["param"]) == ("OverBudget", "max_usd")
    unknown = error_of(tuneway("run", train, *RUN, "--max-usd", 5, "--json", code=ExitCode.USAGE))
    assert "no price is known for base" in unknown["message"]
    assert server.arrived == []
    (here / "prices.json").write_text(json.dumps({"base": 1}))
    tuneway("run", train, *RUN, "--max-usd", 5, "--prices", "prices.json")


def test_a_service_on_this_machine_sends_no_bill(tuneway, train):
    tuneway("run", train, "--model", "gpt-4o-mini", "--max-usd", "0.000001")


opened: list[str] = []


def _note_opening(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open":
        opened.append(str(arguments[0]))


sys.addaudithook(_note_opening)


def test_the_data_is_read_once_to_check_it_and_once_to_send_it(tuneway, train, valid):
    opened.clear()
    tuneway("run", train, *RUN, "--validation-data", valid)
    assert [opened.count(str(path)) for path in (train, valid)] == [2, 2]


def test_a_failed_job_is_told_and_the_next_run_is_a_new_attempt(tuneway, service, train):
    service.ends = "failed"
    tuneway("run", train, *RUN, code=ExitCode.JOB_FAILED)
    service.ends = "succeeded"
    tuneway("run", train, *RUN)
    assert [job["status"] for job in service.jobs] == ["failed", "succeeded"]


def test_a_gate_that_refuses_has_its_own_exit_code_and_the_model_is_registered(tuneway, train, valid):
    words = ("run", train, *RUN, "--validation-data", valid, "--name", "router", "--alias", "champion")
    result = tuneway(*words, "--gate", "full_valid_loss<=0.01", code=ExitCode.GATE_REFUSED)
    assert "router:1 is registered but may not become champion" in result.stderr
    assert open_registry().get("router").aliases == []


def test_a_file_that_changes_after_its_check_is_not_trained_on(tuneway, service, train, monkeypatch):
    check = ready.checked_data

    @contextmanager
    def meanwhile(*given, **options):
        with check(*given, **options) as checked:
            write(train, 30)
            yield checked

    monkeypatch.setattr(ready, "checked_data", meanwhile)
    result = tuneway("run", train, *RUN, code=ExitCode.USAGE)
    assert "train.jsonl changed while it was being uploaded" in result.stderr
    assert service.files == service.jobs == []


@pytest.fixture
def stop_at(monkeypatch):
    """Interrupts a command when it sends this request for the nth time."""

    def stop_at(method: str, path: str, *, nth: int = 1, stop: type[BaseException] = KeyboardInterrupt) -> None:
        send, seen = Driver.send, []

        def interrupted(self, request, listener):
            if request.method == method and request.path.startswith(path):
                seen.append(request)
                if len(seen) == nth:
                    raise stop
            return send(self, request, listener)

        monkeypatch.setattr(Driver, "send", interrupted)

    return stop_at


BOTH = pytest.mark.parametrize(
    ("stop", "code"), [(KeyboardInterrupt, ExitCode.INTERRUPTED), (Terminated, ExitCode.TERMINATED)]
)


@BOTH
def test_who_stops_the_check_may_just_run_again(tuneway, server, train, monkeypatch, stop, code):
    def check(*_given, **_options):
        raise stop

    monkeypatch.setattr(ready, "checked_data", check)
    result = tuneway("run", train, *RUN, code=code)
    assert result.stderr.startswith("stopped; no job of this run is known yet\nThe same command goes on from here")
    assert server.arrived == []


@BOTH
@pytest.mark.parametrize("request_", [("GET", "/files"), ("POST", "/files"), ("POST", "/fine_tuning/jobs")])
def test_who_stops_before_there_is_a_job_may_just_run_again(
    tuneway, service, train, stop_at, request_, stop, code, monkeypatch
):
    with monkeypatch.context():
        stop_at(*request_, stop=stop)
        result = tuneway("run", train, *RUN, code=code)
    assert "stopped; no job of this run is known yet\nThe same command goes on from here" in result.stderr
    assert tuneway("run", train, *RUN).stdout == "ft:base:org::ftjob-1\n"
    assert len(service.jobs) == 1


def test_who_stops_while_a_new_job_settles_is_told_that_it_goes_on(tuneway, service, train, stop_at):
    service.ends = None
    stop_at("GET", "/fine_tuning/jobs", nth=2)
    result = tuneway("run", train, *RUN, code=ExitCode.INTERRUPTED)
    assert "created    ftjob-1" in result.stderr
    assert "stopped waiting; ftjob-1 goes on\nWait on: tuneway wait ftjob-1" in result.stderr


@BOTH
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


def test_who_stops_when_the_job_has_succeeded_is_not_told_that_it_goes_on(tuneway, train, stop_at):
    stop_at("GET", "/fine_tuning/jobs/ftjob-1/checkpoints")
    result = tuneway("run", train, *RUN, "--cancel-on-interrupt", code=ExitCode.INTERRUPTED)
    assert "stopped; ftjob-1 has succeeded\nThe same command goes on from here" in result.stderr
    assert "registered train:1" in tuneway("run", train, *RUN).stderr


@pytest.fixture
def impatient(monkeypatch):
    """Whoever waits presses Ctrl-C."""

    def wait(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "wait", wait)


def test_ctrl_c_cancels_the_job_only_if_asked(tuneway, service, train, impatient):
    service.ends = None
    result = tuneway("run", train, *RUN, "--cancel-on-interrupt", code=ExitCode.INTERRUPTED)
    assert "ftjob-1 is cancelled" in result.stderr
    assert service.jobs[0]["status"] == "cancelled"


def test_ctrl_c_never_cancels_a_job_that_another_run_made(tuneway, service, train, impatient):
    service.ends = None
    tuneway("run", train, *RUN, "--name", "theirs", code=ExitCode.INTERRUPTED)
    words = ("run", train, *RUN, "--name", "ours", "--reuse", "content", "--cancel-on-interrupt")
    result = tuneway(*words, code=ExitCode.INTERRUPTED)
    assert "stopped waiting; ftjob-1 goes on, since another run made it" in result.stderr
    assert service.jobs[0]["status"] == "validating_files"


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


def test_a_hosted_run_tells_what_it_costs(tuneway, hosted, train):
    result = tuneway("run", train, "--model", "gpt-4o-mini")
    assert "1,000,000 trained tokens, about $3.00 at prices of" in result.stderr
    assert lines_of(tuneway("run", train, "--model", "gpt-4o-mini", "--json"))[0]["usd"] == 3.0
    assert lines_of(tuneway("run", train, *RUN, "--json"))[0]["usd"] is None
    record = open_registry().get("train:1").record
    assert record.cost is not None
    assert record.cost.amount == 3.0


def test_a_file_names_the_result_unless_told_otherwise(tuneway, here):
    write(here / "my data (v2).jsonl", 20)
    (result,) = lines_of(tuneway("run", "my data (v2).jsonl", *RUN, "--json"))
    assert result["ref"] == "my-data-v2-:1"


def test_a_table_is_trained_on_by_its_columns(tuneway, service, tmp_path):
    lines = [f"Is {number} even?,{'no' if number % 2 else 'yes'}" for number in range(60)]
    table = tmp_path / "questions.csv"
    table.write_text("question,answer\n" + "\n".join(lines))
    columns = ("--row", "system=Answer yes or no.", "--row", "user=question", "--row", "assistant={answer}!")

    tuneway("run", table, *columns, "--validation-data", "0.4", "--model", "base", "--no-register")
    tuneway("run", table.as_uri(), *columns, "--validation-data", "0.4", "--model", "base", "--no-register")

    assert len(service.jobs) == 1
    sent = [line for file in service.files for line in service.contents.get(file["id"], b"").splitlines()]
    row = {
        "messages": [
            {"role": "system", "content": "Answer yes or no."},
            {"role": "user", "content": "Is 7 even?"},
            {"role": "assistant", "content": "no!"},
        ]
    }
    assert row in [json.loads(line) for line in sent if line.startswith(b"{")]
    names = {file["filename"].partition(".")[0] for file in service.files if file["purpose"] == "fine-tune"}
    assert names == {"questions", "questions-validation"}


def test_the_same_set_of_rows_in_another_order_is_the_same_job(tuneway, service, train):
    tuneway("run", train, *RUN, "--order", "content")
    train.write_text("".join(reversed(train.read_text().splitlines(keepends=True))))
    tuneway("run", train, *RUN, "--order", "content")

    assert len(service.jobs) == 1


@pytest.mark.parametrize("row", ["user", "=question", "user="])
def test_a_row_that_names_no_column_is_refused(tuneway, train, row):
    result = tuneway("validate", train, "--row", row, code=ExitCode.USAGE)
    assert "--row user=question --row assistant=answer" in result.stderr
