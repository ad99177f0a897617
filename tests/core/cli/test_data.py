"""`validate`, `estimate`, `upload`."""

from __future__ import annotations

import json

import pytest
from support.console import error_of, lines_of, write
from support.fake_service import reply
from support.fault_server import answer

from tuneway.cli._exits import ExitCode
from tuneway.dataset import PRICES_AS_OF, RULES, USD_PER_MILLION_TRAINED_TOKENS, fingerprint, validate
from tuneway.errors import InvalidInput
from tuneway.steps import data_summary


@pytest.fixture
def bad(here):
    path = write(here / "bad.jsonl", 12)
    lines = path.read_text().splitlines()
    lines[2] = '{"messages": [{"role": "assistent", "content": "hm"}]}'
    lines[7] = "not json"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_good_data_is_described(tuneway, train):
    result = tuneway("validate", train)
    assert "20 examples" in result.stdout
    assert "chat" in result.stdout
    assert "No problems." in result.stdout


def test_problems_are_told_as_compilers_do_where_no_terminal_is(tuneway, bad):
    result = tuneway("validate", bad, code=ExitCode.INVALID_DATA)
    assert f"{bad}:3: error: chat.role: messages[0].role: found 'assistent', expected one of " in result.stdout
    assert f"{bad}:8: error: jsonl.syntax: " in result.stdout
    assert result.stdout.splitlines()[-1] == "3 errors, 0 warnings."


def test_problems_are_a_table_with_lines_and_hints_on_a_terminal(tuneway, bad, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    text = tuneway("validate", bad, code=ExitCode.INVALID_DATA).stdout
    rows = [line for line in text.splitlines() if "chat.role" in line]
    assert "3" in rows[0]
    assert "\x1b[31merror" in rows[0]
    assert RULES["chat.no_assistant"].hint[:30] in text


def test_machines_get_the_whole_report(tuneway, bad):
    (report,) = lines_of(tuneway("validate", bad, "--report", code=ExitCode.INVALID_DATA))
    assert report["ok"] is False
    assert [problem["line"] for problem in report["errors"]] == [3, 3, 8]


def test_machines_get_the_summary_that_the_same_step_of_an_engine_gives(tuneway, train, here):
    valid = write(here / "valid.jsonl", 12, start=40)
    result = tuneway("validate", train, "--validation-data", valid, "--json")
    assert lines_of(result) == [data_summary(validate(train, validation_data=valid))]
    assert not result.stderr


def test_machines_get_the_summary_of_bad_data_and_its_errors_with_their_lines(tuneway, bad):
    result = tuneway("validate", bad, "--json", code=ExitCode.INVALID_DATA)
    assert lines_of(result)[0]["rows"] == 11
    assert [problem["line"] for problem in error_of(result)["problems"]] == [3, 3, 8]


def test_all_problems_are_counted_and_the_first_few_shown(tuneway, here):
    (here / "bad.jsonl").write_text("no\n" * 40)
    result = tuneway("validate", "bad.jsonl", "--show", 5, code=ExitCode.INVALID_DATA)
    assert result.stdout.count("error: ") == 5
    assert "41 errors, 0 warnings; 36 of them not shown." in result.stdout


def test_a_validation_file_is_checked_for_overlap(tuneway, train, here):
    write(here / "valid.jsonl", 12, start=15)
    result = tuneway("validate", train, "--validation-data", "valid.jsonl", code=ExitCode.INVALID_DATA)
    assert result.stdout.count("row.overlap") == 5


def test_validation_data_alone_may_have_few_rows(tuneway, here):
    few = write(here / "valid.jsonl", 5)
    told = tuneway("validate", "--validation-data", few).stdout
    assert "0 errors, 1 warning." in told
    assert "0 errors" not in tuneway("validate", few, code=ExitCode.INVALID_DATA).stdout


@pytest.mark.parametrize("share", ["1.5", "0", "1", "-0.1", "nan"])
def test_a_number_that_is_no_share_is_named(tuneway, train, server, share):
    told = tuneway("upload", train, f"--validation-data={share}", code=ExitCode.USAGE)
    assert "is not a share between 0 and 1" in told.stderr
    assert server.arrived == []


def test_a_file_whose_name_is_a_number_is_a_file(tuneway, train, here):
    write(here / "0.5", 20, start=100)
    assert "0.5: 20 examples" in tuneway("validate", train, "--validation-data", "0.5").stdout


def test_rules_are_listed(tuneway):
    assert [rule["id"] for rule in lines_of(tuneway("validate", "--rules", "--json"))] == list(RULES)
    text = tuneway("validate", "--rules").stdout
    assert all(rule in text for rule in RULES)


def test_validate_and_upload_need_a_file_and_say_which_they_can_not_read(tuneway, server):
    assert "tuneway validate train.jsonl" in tuneway("validate", code=ExitCode.USAGE).stderr
    assert "tuneway upload train.jsonl" in tuneway("upload", code=ExitCode.USAGE).stderr
    assert "nowhere.jsonl" in tuneway("upload", "nowhere.jsonl", code=ExitCode.USAGE).stderr
    assert server.arrived == []
    assert "nowhere.jsonl" in tuneway("validate", "nowhere.jsonl", code=ExitCode.USAGE).stderr


def test_an_estimate_names_the_price_and_its_day(tuneway, train):
    result = tuneway("estimate", train, "--model", "gpt-4o-mini", "--epochs", 2)
    assert "2 epochs" in result.stdout
    assert "$3.00" in result.stdout
    assert PRICES_AS_OF in result.stderr


def test_without_a_model_every_known_price_is_applied(tuneway, train):
    (estimate,) = lines_of(tuneway("estimate", train, "--json"))
    by_model = {cost["model"]: cost for cost in estimate["costs"]}
    assert by_model.keys() == USD_PER_MILLION_TRAINED_TOKENS.keys()
    expected = estimate["trained_tokens"] * 3 / 1e6
    assert by_model["gpt-4o-mini"]["usd"] == pytest.approx(expected, abs=1e-4)


def test_own_prices_come_first_and_unknown_models_have_none(tuneway, train, here):
    assert "No price is known for llama" in tuneway("estimate", train, "--model", "llama").stderr
    (here / "prices.json").write_text(json.dumps({"llama": 1000}))
    (estimate,) = lines_of(tuneway("estimate", train, "--model", "llama", "--prices", "prices.json", "--json"))
    assert estimate["cost"]["usd"] == pytest.approx(estimate["trained_tokens"] / 1000)


MEMORY = {"object": "memory_estimate", "bytes": 7, "fits": True, "free_bytes": 9, "message": "Needs about 7 bytes"}


@pytest.fixture
def estimating(service, monkeypatch):
    """The service estimates memory; gives what it is asked."""
    asked, handle = [], service.handle

    def with_memory(request):
        if request.path != "/fine_tuning/memory":
            return handle(request)
        asked.append(request.json)
        return reply(MEMORY)

    monkeypatch.setattr(service, "handle", with_memory)
    return asked


def test_a_local_service_says_how_much_memory_the_training_needs_there(tuneway, server, train, here, estimating):
    dpo = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2}}}
    (here / "job.json").write_text(json.dumps({"method": dpo}))
    words = ["estimate", train, "--model", "qwen", "--service", server.base_url]
    told = tuneway(*words)
    assert told.stdout.endswith("Needs about 7 bytes.\n")
    assert "No price" not in told.stderr  # there is none to pay
    (line,) = lines_of(tuneway(*words, "--spec", "job.json", "--json"))
    assert line["memory"]["free_bytes"] == 9
    method = {"type": "supervised", "supervised": {"hyperparameters": {}}}
    longest = line["tokens"]["max"]
    assert estimating == [
        {"model": "qwen", "rows": 20, "longest_row": longest, "method": method},
        {"model": "qwen", "rows": 20, "longest_row": longest, "method": dpo},
    ]


def test_what_has_no_memory_to_tell_is_refused_in_a_sentence(tuneway, server, train):
    words = ["estimate", train, "--service", server.base_url]
    assert "--service needs --model" in tuneway(*words, code=ExitCode.USAGE).stderr
    other = tuneway(*words, "--model", "qwen", code=ExitCode.USAGE)
    assert "doesn't estimate the memory" in other.stderr
    alone = tuneway("estimate", train, "--spec", "job.json", code=ExitCode.USAGE)
    assert "--spec needs --service" in alone.stderr


def test_upload_prints_the_id_alone_and_sends_nothing_twice(tuneway, train, service):
    first = tuneway("upload", train)
    assert first.stdout == "file-1\n"
    assert "uploaded   file-1" in first.stderr
    second = tuneway("upload", train)
    assert second.stdout == "file-1\n"
    assert "nothing was sent" in second.stderr
    assert len(service.files) == 1
    assert fingerprint(train).sha256 in service.files[0]["filename"]


def test_bad_data_is_not_uploaded_unless_asked(tuneway, bad, service):
    failed = tuneway("upload", bad, code=ExitCode.INVALID_DATA)
    assert f"{bad}:3: chat.role" in failed.stderr
    assert service.files == []
    assert tuneway("upload", bad, "--no-check").stdout == "file-1\n"


@pytest.fixture
def valid(here):
    return write(here / "valid.jsonl", 12, start=100)


def test_a_pair_is_uploaded_together_and_its_ids_are_printed_training_first(tuneway, train, valid, service):
    result = tuneway("upload", train, "--validation-data", valid)
    assert result.stdout == "file-1\nfile-2\n"
    assert [line.split()[0] for line in result.stderr.splitlines()] == ["checked", "checked", "uploaded", "uploaded"]
    for path, file in zip((train, valid), service.files, strict=True):
        assert fingerprint(path).sha256 in file["filename"]


def test_rows_in_both_files_of_a_pair_end_an_upload_before_anything_is_sent(tuneway, train, here, server):
    overlap = write(here / "valid.jsonl", 12, start=15)
    failed = tuneway("upload", train, "--validation-data", overlap, code=ExitCode.INVALID_DATA)
    assert "row.overlap" in failed.stderr
    assert server.arrived == []


def test_five_rows_of_validation_data_are_a_warning_also_when_they_are_uploaded_alone(tuneway, here):
    few = write(here / "valid.jsonl", 5)
    result = tuneway("upload", "--validation-data", few)
    assert result.stdout == "file-1\n"
    assert "warning" in result.stderr
    assert "error" in tuneway("upload", few, code=ExitCode.INVALID_DATA).stderr


def test_for_programs_an_upload_says_what_is_in_the_files(tuneway, train, valid):
    (told,) = lines_of(tuneway("upload", train, "--validation-data", valid, "--json"))
    beside = told.pop("validation")
    for file, path, number, rows in [(told, train, "file-1", 20), (beside, valid, "file-2", 12)]:
        assert file.pop("tokens") > 0
        assert file.pop("filename").startswith(path.stem)
        assert file == {
            "file_id": number, "bytes": path.stat().st_size, "sha256": fingerprint(path).sha256, "rows": rows,
        } | ({"validation": None} if file is beside else {})  # fmt: skip
    (unchecked,) = lines_of(tuneway("upload", train, "--no-check", "--json"))
    assert (unchecked["file_id"], unchecked["rows"], unchecked["tokens"]) == ("file-1", None, None)


def test_what_a_service_refuses_of_an_upload_is_told(tuneway, train, server):
    server.fault(answer({"error": {"message": "no such purpose"}}, 400), "POST", "/files")
    error = error_of(tuneway("upload", write(train, 15), "--json", code=1))
    assert error["message"] == "no such purpose"


def test_a_quiet_upload_says_nothing_but_the_id(tuneway, train):
    result = tuneway("upload", train, "--quiet")
    assert (result.stdout, result.stderr) == ("file-1\n", "")


@pytest.mark.parametrize(("options", "expected"), [([], 2), (["--processes", 3], 3)])
@pytest.mark.parametrize("command", ["validate", "estimate", "upload", "run"])
def test_every_command_checks_data_with_two_processes_or_as_many_as_said(
    tuneway, train, monkeypatch, command, options, expected
):
    asked = []

    def plan(**settings):
        asked.append(settings["processes"])
        raise InvalidInput("enough")

    monkeypatch.setattr("tuneway.dataset._validate.plan_of", plan)
    monkeypatch.setattr("tuneway.dataset.ready.plan_of", plan)
    model = ["--model", "gpt-4o-mini"] if command == "run" else []
    tuneway(command, train, *model, *options, code=ExitCode.USAGE)
    assert asked == [expected]


@pytest.fixture
def table(here):
    path = here / "table.csv"
    path.write_text("q,a\n" + "".join(f"Question {number}?,Answer {number}.\n" for number in range(60)))
    return path


ROW = ("--row", "user=q", "--row", "assistant=a")


@pytest.mark.parametrize("command", ["validate", "estimate", "upload", "run", "report"])
def test_every_command_that_takes_data_takes_the_pair(tuneway, table, service, monkeypatch, command):
    given = []

    def read(what, *_):
        given.append(what)
        raise InvalidInput("enough")

    monkeypatch.setattr("tuneway.dataset.ready._readings", read)
    service.add_job()
    start = {"run": ["run", table, "-m", "base"], "report": ["report", "ftjob-1", "--training-data", table]}
    words = start.get(command, [command, table])

    tuneway(*words, "--validation-data", "0.3", *ROW, "--order", "content", code=ExitCode.USAGE)

    (one,) = given
    assert (str(one.training_data), one.validation_data, one.order) == (str(table), 0.3, "content")
    assert one.row == {"user": "{q}", "assistant": "{a}"}


def test_an_estimate_counts_what_is_split_off_and_does_not_pay_for_it(tuneway, table):
    (whole,) = lines_of(tuneway("estimate", table, *ROW, "--epochs", 1, "--json"))
    (split,) = lines_of(tuneway("estimate", table, *ROW, "--epochs", 1, "--validation-data", 0.4, "--json"))

    assert split["rows"] + split["validation"]["rows"] == whole["rows"] == 60
    assert split["trained_tokens"] == whole["trained_tokens"] - split["validation"]["tokens"]["total"]
    assert "validation" not in whole


def test_an_estimate_of_a_pair_with_errors_says_so(tuneway, train, valid):
    assert "has 20 errors" not in tuneway("estimate", train, "--validation-data", valid).stderr
    assert "The data has 20 errors" in tuneway("estimate", train, "--validation-data", train).stderr


def test_a_problem_of_a_table_names_its_row_counted_from_0(tuneway, table):
    text = table.read_text().replace("Question 0?", "").replace("Question 7?", "")
    table.write_text(text)
    result = tuneway("validate", table, "--row", "user=q", "--row", "assistant=a", "--row", "weight={q}")

    assert f"{table}, row 0: " in result.stdout
    assert f"{table}, row 7: " in result.stdout
