"""Rows made of columns, sorted by their content, and split into training and validation data."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuneway.data import HeldOut, stream_of
from tuneway.dataset import validate
from tuneway.errors import InvalidSpec

QUESTIONS = [{"question": f"What is {number}?", "answer": f"{number}.", "topic": "numbers"} for number in range(30)]
CHAT = {"system": "Be short.", "user": "{question}", "assistant": "{answer}"}


def lines(data, **options) -> list[dict[str, Any]]:
    with stream_of(data, field="training_data", **options) as stream:
        return [json.loads(line) for line in stream.raw.read(2**30).splitlines()]


@pytest.mark.parametrize(
    ("row", "made"),
    [
        (
            CHAT,
            {
                "messages": [
                    {"role": "system", "content": "Be short."},
                    {"role": "user", "content": "What is 0?"},
                    {"role": "assistant", "content": "0."},
                ]
            },
        ),
        ({"prompt": "{question} {{", "completion": " {answer}"}, {"prompt": "What is 0? {", "completion": " 0."}),
        (
            {"user": "{question}", "preferred_output": "{answer}", "non_preferred_output": "No."},
            {
                "input": {"messages": [{"role": "user", "content": "What is 0?"}]},
                "preferred_output": [{"role": "assistant", "content": "0."}],
                "non_preferred_output": [{"role": "assistant", "content": "No."}],
            },
        ),
        (
            {"user": "{question}", "reference": "{answer}"},
            {"messages": [{"role": "user", "content": "What is 0?"}], "reference": "0."},
        ),
    ],
)
def test_a_template_makes_rows_of_columns(row, made):
    assert lines(QUESTIONS, row=row)[0] == made


def test_a_template_makes_the_same_rows_of_a_file(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in QUESTIONS))
    table = tmp_path / "questions.csv"
    table.write_text("question,answer\n" + "".join(f"{row['question']},{row['answer']}\n" for row in QUESTIONS))

    assert validate(path, row=CHAT).sha256 == validate(QUESTIONS, row=CHAT).sha256 == validate(table, row=CHAT).sha256


def test_a_field_that_is_one_column_keeps_its_kind():
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]

    assert lines([{"talk": turns}], row={"messages": "{talk}"}) == [{"messages": turns}]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"user": "{question}", "assistant": "{reply}"}, "no column 'reply'"),
        ({"user": "question", "assistant": "{answer}"}, "'question' is a column, and would be written"),
        ({"user": "{question", "assistant": "{answer}"}, "a brace without a column"),
        ({"user": 7, "assistant": "{answer}"}, "a int, not a text"),
        ({"user": "Hi"}, "names no column"),
        ({}, "not a mapping"),
        ("user", "not a mapping"),
    ],
)
def test_a_template_that_cannot_be_is_refused(row, says):
    with pytest.raises(InvalidSpec, match=says) as caught:
        lines(QUESTIONS, row=row)
    assert caught.value.field == "row"


def test_a_column_that_is_null_is_an_error_of_its_row():
    report = validate([*QUESTIONS, {"question": None, "answer": "x"}], row=CHAT)

    assert [(problem.line, problem.rule) for problem in report.errors] == [(30, "chat.content")]


def test_the_same_set_in_any_order_is_the_same_file():
    shuffled = random.Random(7).sample(QUESTIONS, len(QUESTIONS))

    first, second = (validate(rows, row=CHAT, order="content") for rows in (QUESTIONS, shuffled))

    assert first.sha256 == second.sha256 != validate(QUESTIONS, row=CHAT).sha256
    assert first.rows == len(QUESTIONS)


def test_what_is_sorted_on_disk_is_what_is_sorted_in_memory():
    from tuneway.data._order import by_content

    rows = [(number, b"%d" % (number * 7919 % 4001) * (1 + number % 9) + b"\n") for number in range(4000)]

    assert list(by_content(iter(rows), run_bytes=2000)) == list(by_content(iter(rows)))


def test_a_problem_of_a_sorted_file_names_the_line_of_the_file(tmp_path):
    path = tmp_path / "train.jsonl"
    good = [json.dumps({"prompt": f"{number}", "completion": "x"}) for number in range(20)]
    path.write_text("\n".join([*good[:7], "", "{broken", *good[7:]]) + "\n")

    for options in ({"order": "content"}, {"validation_data": 0.5}):
        report = validate(path, **options)
        assert [(problem.line, problem.rule) for problem in report.errors if problem.line] == [(9, "jsonl.syntax")]


def test_an_unknown_order_is_refused():
    with pytest.raises(InvalidSpec, match="order can't be 'random'"):
        validate(QUESTIONS, row=CHAT, order="random")


def sides(rows, share) -> tuple[set[str], set[str]]:
    held = HeldOut(share=share)
    with stream_of(rows, field="training_data", held_out=held) as stream:
        kept = stream.raw.read(2**30).splitlines()
        out = held.stream().raw.read(2**30).splitlines()
        held.spool.close()
    return {line.decode() for line in kept}, {line.decode() for line in out}


def completions(numbers) -> list[dict[str, Any]]:
    return [{"prompt": f"p{number % 1000}", "completion": f"c{number}"} for number in numbers]


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(0, 5000), max_size=60), st.sets(st.integers(0, 5000), max_size=20))
def test_a_row_stays_on_its_side_when_others_come_and_go(numbers, others):
    kept, out = sides(completions(sorted(numbers)), 0.3)
    more_kept, more_out = sides(completions(sorted(numbers | others)), 0.3)

    assert kept <= more_kept
    assert out <= more_out


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5000), max_size=60))
def test_equal_inputs_are_on_one_side(numbers):
    kept, out = sides(completions(numbers), 0.5)

    prompts = [{json.loads(line)["prompt"] for line in side} for side in (kept, out)]
    assert not prompts[0] & prompts[1]


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_share_of_distinct_inputs_is_met(share):
    _, out = sides([{"prompt": f"{number}", "completion": "x"} for number in range(4000)], share)

    assert abs(len(out) / 4000 - share) < 4 * (share * (1 - share) / 4000) ** 0.5


def test_the_input_of_a_chat_is_what_comes_before_the_last_answer():
    turns = [{"role": "user", "content": "Hi"}]
    for format_rows in (
        [{"messages": [*turns, {"role": "assistant", "content": str(number)}]} for number in range(20)],
        [
            {"input": {"messages": turns}, "preferred_output": [str(number)], "non_preferred_output": []}
            for number in range(20)
        ],
        [{"messages": turns, "reference": number} for number in range(20)],
        [{"messages": turns, "input": number, "prompt": number} for number in range(20)],
    ):
        kept, out = sides(format_rows, 0.5)
        assert not kept or not out


@pytest.mark.parametrize(
    "ways", [({"name": None}, {}), ({"weight": 1}, {"weight": 1.0}), ({"a": 1, "b": 2}, {"b": 2, "a": 1})]
)
def test_inputs_that_are_written_in_two_ways_are_on_one_side(tmp_path, ways):
    def row(number, way):
        asked = {"role": "user", "content": f"{number}?"} | way
        return {"messages": [asked, {"role": "assistant", "content": "Yes."}]}

    rows = [row(number, way) for number in range(40) for way in ways]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")

    asked = [
        [{json.loads(line)["messages"][0]["content"] for line in side} for side in sides(given, 0.5)]
        for given in (path, rows)
    ]
    assert asked[0] == asked[1]
    assert not asked[0][0] & asked[0][1]


def test_the_input_of_preferences_is_their_input_whatever_stands_beside_it():
    rows = [
        {
            "input": {"messages": []},
            "prompt": f"{number}",
            "preferred_output": [],
            "non_preferred_output": [str(number)],
        }
        for number in range(40)
    ]
    kept, out = sides(rows, 0.5)
    assert not kept or not out


def test_a_prompt_that_is_null_is_no_input():
    kept, out = sides([{"prompt": None, "input": f"{number}", "completion": "x"} for number in range(40)], 0.5)
    assert kept
    assert out


def test_a_split_is_a_pair_that_is_checked():
    rows = completions(range(400))
    report = validate(rows, validation_data=0.1)

    assert report.ok
    assert report.validation is not None
    assert (report.rows + report.validation.rows, report.validation.rows) == (400, pytest.approx(40, abs=18))


def test_a_large_share_is_read_once():
    rows = [{"prompt": f"{number}{'x' * 4000}", "completion": "y"} for number in range(1000)]
    report = validate(rows, validation_data=0.5)

    assert report.validation is not None
    assert report.rows + report.validation.rows == 1000


@pytest.mark.parametrize(("rows", "share"), [(40, 0.05), (40, 0.95), (3, 0.5)])
def test_a_split_that_leaves_too_little_is_refused(rows, share):
    with pytest.raises(InvalidSpec, match=f"a share of {share:g} leaves .* rows for training and") as caught:
        validate(completions(range(rows)), validation_data=share)
    assert caught.value.field == "validation_data"


@pytest.mark.parametrize("share", [0, 1, -0.5, 1.5, 2, float("nan")])
def test_a_number_that_is_no_share_is_refused(share):
    with pytest.raises(InvalidSpec, match="not a share between 0 and 1"):
        validate(completions(range(40)), validation_data=share)


def test_a_share_of_nothing_is_refused():
    with pytest.raises(InvalidSpec, match="a share needs training data"):
        validate(validation_data=0.1)
