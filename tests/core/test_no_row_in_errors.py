"""No training row reaches an error: neither where rows stand in place of a path, nor where a row is wrong."""

from __future__ import annotations

import copy
import json
import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from tuneway import Client, JobSpec, Recipe
from tuneway._escape import FEW
from tuneway.dataset import fingerprint, validate
from tuneway.errors import InvalidDataset, InvalidSpec, TunewayError
from tuneway.flows import Retry
from tuneway.registry import evaluate

SECRET = "My card 4111 1111 1111 1111 was charged twice, and nobody answers me"
ROW = {"messages": [{"role": "user", "content": SECRET}, {"role": "assistant", "content": SECRET}]}
ROWS = [ROW] * 120
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)

IN_PLACE_OF_A_PATH = {
    "rows": ROWS,
    "a row": ROW,
    "a generator": (row for row in ROWS),
    "lines": LINES,
    "one line": json.dumps(ROW),
    "words": SECRET,
    "words with a dot": f"{SECRET}.jsonl",
    "bytes": LINES.encode(),
    "a null": f"{SECRET}\0",
}
ANYTHING = {
    "validate": validate,
    "validate, beside good data": lambda data: validate(validation_data=data),
    "fingerprint": fingerprint,
    "evaluate": lambda data: evaluate(data, ask=lambda *_: "", base="a", tuned="b"),
    "Recipe": lambda data: Recipe(model="base", training_data=data).spec("file-1"),
    "Recipe.model_validate": Recipe.model_validate,
    "JobSpec": lambda data: JobSpec(model="base", training_file=data),
    "a field": lambda data: JobSpec(model="base", training_file="file-1", seed=data),
    "another field": lambda data: JobSpec(model="base", training_file="file-1", method={"type": data}),
    "metadata": lambda data: JobSpec(model="base", training_file="file-1", metadata={"a": data, "b": 1}),  # type: ignore[dict-item]
    "upload": lambda data: client().upload(data),
    "upload, unchecked": lambda data: client().upload(data, validate=False),
    "check": lambda data: client().check(Recipe(model="base", training_data=data)),
    "reuse": lambda data: client().submit(JobSpec(model="base", training_file="f"), reuse=data),
    "format": lambda data: validate("x", format=data),
    "n_epochs": lambda data: validate("x", n_epochs=data),
}


def client():
    return Client(base_url="http://127.0.0.1:1/v1", timeout=0.1, retry=Retry(attempts=1))


def texts(error: BaseException) -> list[str]:
    """All representations of an error as text."""
    return [
        str(error), repr(error), repr(vars(error)), repr(error.args), pickle.dumps(error, 0).decode("latin-1"),
        repr(copy.copy(error)), "".join(traceback.format_exception(error)),
    ]  # fmt: skip


@pytest.mark.parametrize("what", ["rows", "a row", "lines", "one line", "bytes"])
def test_rows_in_place_of_an_id_are_not_sent_and_in_no_error(what):
    data = IN_PLACE_OF_A_PATH[what]
    for call in (client().jobs.retrieve, client().wait, client().files.content, client().pause):
        with pytest.raises(InvalidSpec, match=r"is not an id|is neither a job") as caught:
            call(data)
        for text in texts(caught.value):
            assert SECRET[: FEW + 1] not in text


@pytest.mark.parametrize("what", IN_PLACE_OF_A_PATH)
@pytest.mark.parametrize("call", ANYTHING)
def test_rows_in_place_of_something_else_are_in_no_error(call, what):
    data = IN_PLACE_OF_A_PATH[what]
    try:
        ANYTHING[call](data)
    except TunewayError as error:
        for text in texts(error):
            assert SECRET[: FEW + 1] not in text
            assert len(text) < len(LINES) / 2


words = st.sampled_from([SECRET, [SECRET], {SECRET: SECRET}, {"content": SECRET}, 5, None, f"{SECRET}\ud800"])
keys = st.sampled_from(["role", "content", "name", "weight", "tool_calls", "function_call", "tool_call_id", SECRET])
tops = st.sampled_from(
    [
        "messages",
        "tools",
        "functions",
        "parallel_tool_calls",
        "prompt",
        "completion",
        "input",
        "preferred_output",
        SECRET,
    ]
)
messages = st.lists(st.dictionaries(keys, st.one_of(words, st.sampled_from(["user", "assistant", "tool"]))), max_size=3)
odd_rows = st.dictionaries(tops, st.one_of(words, messages), max_size=4)
odd_lines = st.one_of(
    odd_rows.map(json.dumps), words.map(json.dumps), odd_rows.map(lambda row: json.dumps(row)[:-3]), st.just(SECRET)
)


@given(st.lists(odd_lines, min_size=1, max_size=12))
def test_a_report_of_wrong_rows_shows_few_characters_of_them(tmp_path_factory, lines):
    data = tmp_path_factory.getbasetemp() / "wrong.jsonl"
    data.write_text("\n".join(lines), encoding="utf-8")
    report = validate(data)
    assert SECRET[: FEW + 1] not in report.model_dump_json()
    if not report.ok:
        with pytest.raises(InvalidDataset) as caught:
            report.raise_for_errors()
        for text in texts(caught.value):
            assert SECRET[: FEW + 1] not in text


def test_a_repr_shows_what_is_trained_and_not_with_which_words():
    grader = {"type": "string_check", "name": "g", "input": SECRET, "reference": SECRET, "operation": "eq"}
    recipe = Recipe(
        model="gpt-4o-mini", training_data="train.jsonl", validation_data="valid.jsonl", seed=7,
        method={"type": "reinforcement", "grader": grader, "n_epochs": 3}, extra_body={"key": SECRET},
        metadata={"a": SECRET},
    )  # fmt: skip
    for shown in (repr(recipe), str(recipe), repr(recipe.spec("file-1", "file-2"))):
        assert SECRET[: FEW + 1] not in shown
        assert "gpt-4o-mini" in shown
        assert "seed=7" in shown
    assert "train.jsonl" in repr(recipe)


def test_a_model_of_the_user_that_has_one_of_ours_shows_no_row_either():
    class Settings(BaseModel):
        recipe: Recipe

    with pytest.raises(ValidationError) as caught:
        Settings(recipe={"model": "base", "training_data": ROW})
    problem = caught.value.errors(include_input=False)[0]["msg"]
    assert "training_data" in problem
    assert SECRET[: FEW + 1] not in problem
