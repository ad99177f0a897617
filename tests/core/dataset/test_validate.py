"""What `validate` promises around the rules: the report, its limits, its errors, two files, progress."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from functools import partial

import pytest
from support.datasets import chat, good_rows, say, to_bytes, write

from tuneway.dataset import DatasetReport, Fingerprint, _scan, fingerprint
from tuneway.dataset import validate as validate_for_real
from tuneway.errors import InvalidDataset, InvalidSpec, TunewayError
from tuneway.models import MultiGrader, StringCheckGrader

validate = partial(validate_for_real, tokenizer="estimate")


@pytest.fixture
def train(tmp_path):
    return write(tmp_path / "train.jsonl", good_rows())


def test_a_report_knows_the_file_and_survives_json(train):
    report = validate(train)
    content = train.read_bytes()
    assert (report.path, report.rows, report.format, report.ok) == (str(train), 10, "chat", True)
    assert (report.sha256, report.size_bytes) == (hashlib.sha256(content).hexdigest(), len(content))
    assert DatasetReport.model_validate_json(report.model_dump_json()) == report
    assert json.loads(report.model_dump_json())["ok"] is True


@pytest.mark.parametrize("size", [0, 1, 2**20 - 1, 2**20, 2**20 + 1, 5 * 2**20 + 7])
def test_the_hash_is_right_at_every_size(tmp_path, size):
    path = tmp_path / "train.jsonl"
    content = b"".join(b'{"n": "%01000d"}\n' % n for n in range(size // 1000 + 1))[:size]
    path.write_bytes(content)
    report = validate(path, max_shown=0)
    assert (report.sha256, report.size_bytes) == (hashlib.sha256(content).hexdigest(), size)
    assert fingerprint(path) == Fingerprint(report.sha256, size, path.stat().st_mtime_ns)


def test_a_fingerprint_is_of_a_file(tmp_path):
    with pytest.raises(InvalidSpec, match="there is no file"):
        fingerprint(tmp_path / "missing.jsonl")


# --- what can't be read is our error, and says which setting ---


def unreadable(tmp_path, kind):
    path = tmp_path / kind
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "device":
            return "/dev/null"
        case "null":
            return "a\0b"
        case "number":
            return 7.5
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", "no file"),
        ("folder", "a folder"),
        ("pipe", "not a regular file"),
        ("device", "not a regular file"),
        ("null", "not a path"),
        ("number", "is not data|not a share between 0 and 1"),
    ],
)
@pytest.mark.parametrize("field", ["training_data", "validation_data"])
def test_what_is_not_a_file_is_named(tmp_path, train, kind, says, field):
    files = {"training_data": train} | {field: unreadable(tmp_path, kind)}
    with pytest.raises(InvalidSpec, match=says) as caught:
        validate(**files)
    assert caught.value.field == field


def test_a_file_without_read_permission_is_named(train, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tuneway.dataset._reading.io.FileIO", refuse)
    with pytest.raises(InvalidSpec, match="Permission denied"):
        validate(train)


def test_a_disk_that_fails_while_it_is_read_is_our_error(train, monkeypatch):
    class Broken(_io_file()):
        def read(self, size=-1):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr("tuneway.dataset._reading.io.FileIO", Broken)
    with pytest.raises(InvalidSpec, match="Input/output error"):
        validate(train)


def _io_file():
    import io

    return io.FileIO


def test_no_data_at_all_is_named():
    with pytest.raises(InvalidSpec, match="there is no data to check") as caught:
        validate()
    assert caught.value.field == "training_data"


def test_data_that_is_no_path_is_never_quoted():
    with pytest.raises(InvalidSpec) as caught:
        validate({"messages": [{"role": "user", "content": "a secret"}]})
    assert "secret" not in str(caught.value)
    assert "a dict is not data" in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", "csv"),
        ("n_epochs", 0),
        ("n_epochs", 51),
        ("n_epochs", True),
        ("n_epochs", "three"),
        ("grader", 7),
        ("prices", {"m": -1}),
        ("prices", {"m": "3"}),
        ("prices", "/nowhere/prices.json"),
        ("prices", []),
        ("tokenizer", "p99k_base"),
    ],
)
def test_a_wrong_setting_is_named(train, field, value):
    if field == "tokenizer":
        pytest.importorskip("splintr")
    with pytest.raises(InvalidSpec) as caught:
        validate(train, **{field: value})
    assert caught.value.field == field


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    path = write(tmp_path / "train.jsonl", good_rows(count=30_000))

    def change(_):
        with path.open("ab") as file:
            file.write(b"\n")

    with pytest.raises(InvalidSpec, match="changed while it was being read"):
        validate(path, on_progress=change)


# --- counting and showing ---


def test_all_problems_are_counted_and_the_first_are_kept(tmp_path):
    rows = [chat(say("bot", f"text {n}"), say("assistant"), odd=n) for n in range(1000)]
    report = validate(write(tmp_path / "train.jsonl", rows), max_shown=7)
    assert report.counts == {"chat.role": 1000, "row.extra_key": 1000}
    assert (report.error_count, report.warning_count) == (1000, 1000)
    assert [problem.line for problem in report.errors] == [1, 2, 3, 4, 5, 6, 7]
    assert [problem.line for problem in report.warnings] == [1, 2, 3, 4, 5, 6, 7]


def test_problems_are_kept_in_the_order_of_lines_whenever_they_were_found(tmp_path):
    # duplicates are found at the end of the file, blank lines at once
    rows = [chat(), chat(), *good_rows(), *[""] * 60]
    report = validate(write(tmp_path / "train.jsonl", rows), max_shown=3)
    assert [(problem.line, problem.rule) for problem in report.warnings] == [
        (2, "row.duplicate"),
        (13, "jsonl.blank_line"),
        (14, "jsonl.blank_line"),
    ]


def test_a_report_of_a_bad_file_stays_small(tmp_path):
    rows = [chat(say("bot" * 1000, "secret" * 10_000), {"x" * 9000: "y" * 9000}) for n in range(200)]
    dumped = validate(write(tmp_path / "train.jsonl", rows)).model_dump_json()
    assert len(dumped) < 60_000
    assert "secretsecret" not in dumped


def test_problems_that_are_not_shown_are_counted(tmp_path):
    report = validate(write(tmp_path / "train.jsonl", [*good_rows(), "{}"]), max_shown=0)
    assert (report.errors, report.counts, report.ok) == ([], {"row.format": 1}, False)


def test_what_utf8_cannot_hold_is_written_out(tmp_path):
    row = r'{"messages": [{"role": "\ud800", "content": 1}], "\udfff": 1}'
    report = validate(write(tmp_path / "train.jsonl", [row, *good_rows()]))
    assert DatasetReport.model_validate_json(report.model_dump_json()) == report


def test_errors_are_raised_with_the_first_places(tmp_path):
    rows = [*good_rows(), *[chat(say("foo"), say("assistant", str(n))) for n in range(5)]]
    path = write(tmp_path / "train.jsonl", rows)
    report = validate(path)
    with pytest.raises(InvalidDataset) as caught:
        report.raise_for_errors()
    text = str(caught.value)
    assert f"{path}:11: chat.role messages[0].role: found 'foo', expected one of system, user" in text
    assert "the data has 5 errors" in text
    assert "and 2 more" in text
    assert caught.value.report is report
    assert pickle.loads(pickle.dumps(caught.value)).report == report


def test_warnings_are_not_raised(tmp_path):
    report = validate(write(tmp_path / "train.jsonl", [chat(), chat(), *good_rows()]))
    assert report.warning_count == 1
    report.raise_for_errors()


def test_a_file_of_another_name_is_a_warning(tmp_path):
    assert validate(write(tmp_path / "train.json", good_rows())).counts == {"file.extension": 1}


def test_a_file_that_no_service_takes_is_an_error(train, monkeypatch):
    monkeypatch.setattr(_scan, "MAX_FILE_BYTES", 100)
    (problem,) = validate(train).errors
    assert (problem.rule, problem.line, problem.found) == ("file.too_large", None, f"{train.stat().st_size:,} bytes")


# --- formats ---


def test_the_format_is_what_most_rows_look_like(tmp_path):
    rows = [{"prompt": "a", "completion": "b"}, *good_rows()]
    report = validate(write(tmp_path / "train.jsonl", rows))
    assert (report.format, report.counts) == ("chat", {"row.format": 1})


def test_a_given_format_is_kept_to(tmp_path):
    report = validate(write(tmp_path / "train.jsonl", good_rows()), format="completions")
    assert (report.format, report.counts) == ("completions", {"row.format": 10})
    assert report.errors[0].expected == "a completions example, like the others"


def test_prompts_without_answers_are_chat_unless_they_have_something_to_grade(tmp_path):
    rows = [chat(say("user", str(n))) for n in range(10)]
    assert validate(write(tmp_path / "a.jsonl", rows)).counts == {"chat.no_assistant": 10}
    rows = [row | {"answer": "x"} for row in rows]
    assert validate(write(tmp_path / "b.jsonl", rows)).format == "reinforcement"


def test_a_grader_makes_it_reinforcement(tmp_path):
    rows = [chat(say("user", str(n))) for n in range(10)]
    report = validate(write(tmp_path / "train.jsonl", rows), grader={"reference": "{{ item.answer }}"})
    assert (report.format, report.counts) == ("reinforcement", {"reinforcement.item": 10})
    assert report.errors[0].expected == "{{item.answer}}, which the grader reads"


def test_a_grader_may_be_one_of_our_models(tmp_path):
    grader = StringCheckGrader(name="g", input="{{sample.output_text}}", reference="{{item.answer}}", operation="eq")
    path = write(tmp_path / "train.jsonl", good_rows("reinforcement"))
    assert validate(path, grader=grader).ok
    other = grader.model_copy(update={"reference": "{{item.x}}"})
    multi = MultiGrader(name="m", graders={"g": other}, calculate_output="g")
    assert validate(path, grader=multi).counts == {"reinforcement.item": 10}


# --- validation files ---


def test_rows_of_both_files_are_errors_of_the_validation_file(tmp_path, train):
    shared, twice = good_rows()[4], good_rows()[7]
    fresh = [chat(say("user", f"fresh {n}"), say("assistant")) for n in range(10)]
    valid = write(tmp_path / "valid.jsonl", [shared, *fresh, twice, twice])
    report = validate(train, validation_data=valid)
    assert report.counts == {}
    assert not report.ok
    assert report.validation.counts == {"row.overlap": 3, "row.duplicate": 1}
    assert [(p.line, p.found) for p in report.validation.errors] == [
        (1, f"the same as line 5 of {train}"),
        (12, f"the same as line 8 of {train}"),
        (13, f"the same as line 8 of {train}"),
    ]
    with pytest.raises(InvalidDataset, match=r"valid.jsonl:1: row.overlap"):
        report.raise_for_errors()


def test_rows_that_differ_only_in_how_their_lines_end_are_the_same(tmp_path, train):
    valid = tmp_path / "valid.jsonl"
    valid.write_bytes(b"\xef\xbb\xbf" + to_bytes(good_rows()[:9], end=b"\r\n") + to_bytes(good_rows()[9:], end=b""))
    report = validate(train, validation_data=valid)
    assert report.validation.counts == {"row.overlap": 10, "file.crlf": 1, "file.bom": 1}


def test_a_small_validation_file_is_a_warning_and_an_empty_one_an_error(tmp_path, train):
    small = write(tmp_path / "small.jsonl", [chat(say("user", "other"), say("assistant"))])
    assert validate(train, validation_data=small).validation.counts == {"file.few_validation_rows": 1}
    alone = validate(validation_data=small)
    assert (alone.counts, alone.ok, alone.trained_tokens) == ({"file.few_validation_rows": 1}, True, None)
    assert validate(small).counts == {"file.too_few_rows": 1}
    empty = write(tmp_path / "empty.jsonl", [])
    assert validate(train, validation_data=empty).validation.counts == {"file.empty": 1}


def test_a_validation_file_has_the_format_of_the_training_file(tmp_path, train):
    valid = write(tmp_path / "valid.jsonl", good_rows("completions"))
    assert validate(train, validation_data=valid).validation.counts == {"row.format": 10}


def test_duplicates_are_found_however_far_apart(tmp_path):
    # more rows than are kept in memory, so that they go by way of the disk
    rows = [{"prompt": str(n), "completion": "x"} for n in range(140_000)]
    train = write(tmp_path / "train.jsonl", [*rows, rows[3], rows[3]])
    valid = write(tmp_path / "valid.jsonl", [rows[135_000], {"prompt": "new", "completion": "x"}])
    report = validate(train, validation_data=valid)
    assert [(p.line, p.found) for p in report.warnings] == [
        (140_001, "the same as line 4"),
        (140_002, "the same as line 4"),
    ]
    assert [p.found for p in report.validation.errors] == [f"the same as line 135001 of {train}"]


# --- progress ---


def test_progress_goes_up_to_the_end_of_both_files(tmp_path):
    train = write(tmp_path / "train.jsonl", good_rows(count=40_000))
    valid = write(tmp_path / "valid.jsonl", good_rows("completions", count=10))
    told = []
    validate(train, validation_data=valid, on_progress=told.append)
    total = train.stat().st_size + valid.stat().st_size
    done = [step.done_bytes for step in told]
    assert done == sorted(done)
    assert done[-1] == total
    assert {step.total_bytes for step in told} == {total}
    assert len(told) > 3
    assert told[-2].rows == 40_000


def test_what_a_listener_raises_comes_through(train):
    def stop(_):
        raise KeyError("stop")

    with pytest.raises(KeyError):
        validate(train, on_progress=stop)


def test_no_room_for_the_temporary_file_is_our_error(tmp_path, monkeypatch):
    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tuneway.data._temporary.tempfile.TemporaryFile", full)
    path = write(tmp_path / "train.jsonl", [{"prompt": str(n), "completion": "x"} for n in range(140_000)])
    with pytest.raises(TunewayError, match="No space left"):
        validate(path)
