"""Graders that clients send hold nobody up: their templates, texts and formulas cost what their length is worth."""

from __future__ import annotations

import itertools
import threading
import time
import tracemalloc
from functools import partial
from types import SimpleNamespace

import anyio
import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneway.models import MultiGrader, PythonGrader, Reinforcement, StringCheckGrader, TextSimilarityGrader
from tuneway_service.app import build_app
from tuneway_service.catalogue import Catalogue
from tuneway_service.graders import Limits, ModelSample, grade, python_code, templates, texts
from tuneway_service.routes import graders as routes
from tuneway_service.settings import Settings

BLANKS = "{{" + " " * 100_000
SAME = {"type": "string_check", "name": "same", "operation": "eq", "input": "{{sample.output_text}}", "reference": "x"}
NEAR = {"type": "text_similarity", "name": "near", "input": "{{sample.output_text}}", "reference": "{{item.answer}}"}


# templates


class Counted(str):
    """A template that counts how many characters are searched."""

    __slots__ = ()
    searched = 0

    def find(self, wanted: str, start: int = 0) -> int:
        found = super().find(wanted, start)
        Counted.searched += (found if found >= 0 else len(self)) - start + len(wanted)
        return found


TROUBLE = ["{{", "}}", "{{ ", "{{}}", "{", " }", "{{ item", "{{}", "\t", "{{item.a}} "]


@given(st.lists(st.tuples(st.sampled_from(TROUBLE), st.integers(1, 300)), max_size=6))
def test_each_character_of_a_template_is_read_a_constant_number_of_times(parts):
    template = Counted("".join(part * count for part, count in parts))
    Counted.searched = 0
    list(templates.places(template))
    assert Counted.searched <= 3 * len(template) + 8


def test_a_template_of_blanks_is_text(client):
    grader = SAME | {"input": BLANKS, "reference": BLANKS}
    assert client.fine_tuning.alpha.graders.validate(grader=grader).grader.name == "same"
    assert client.fine_tuning.alpha.graders.run(grader=grader, model_sample="x").reward == 1


def test_a_template_of_blanks_does_not_stop_a_job_from_being_made(tmp_path):
    blanks = BLANKS + "}}"
    grader = {"type": "multi", "name": "m", "graders": {"a": SAME | {"input": BLANKS}}, "calculate_output": "a"}
    Catalogue(Settings(data_dir=tmp_path)).vet_reinforcement(Reinforcement(grader=grader))
    with pytest.raises(templates.UnknownPlace):
        templates.Filler(ModelSample("x"), {}).fill(blanks)


def test_the_texts_of_a_grader_have_a_longest_length():
    grader = StringCheckGrader(**SAME | {"input": "{{item.a}}" * 1000})
    grading = grade(grader, ModelSample("x"), {"a": "b" * 100_000}, Limits())
    assert "other_error" in grading.errors
    assert f"more than {templates.LONGEST_TEXT}" in str(grading.failure)


def test_a_long_name_is_not_repeated_in_messages(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.alpha.graders.validate(grader=SAME | {"input": "{{" + "y" * 50_000 + "}}"})
    assert len(caught.value.message) < 1000


# texts


def distinct_words(count: int) -> str:
    return " ".join(f"w{number}" for number in range(count))


def distinct_characters(count: int) -> str:
    return "".join(chr(0x4E00 + number) for number in range(count))


def peak(metric: str, text: str) -> int:
    tracemalloc.start()
    try:
        texts.similarity(metric, text, text[::-1])
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("metric", ["fuzzy_match", "bleu", "gleu", "meteor", "rouge_1", "rouge_5", "rouge_l"])
def test_memory_for_texts_does_not_grow_with_the_square_of_their_length(metric, monkeypatch):
    monkeypatch.setattr(texts, "BAND", 1000)
    make = distinct_characters if metric == "fuzzy_match" else distinct_words
    assert peak(metric, make(8000)) < 3 * peak(metric, make(4000))


class Word(str):
    """A word that counts how often words are compared."""

    __slots__ = ()
    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Word.compared += 1
        return super().__eq__(other)


def test_meteor_compares_each_word_a_constant_number_of_times(monkeypatch):
    def comparisons(count: int) -> int:
        Word.compared = 0
        monkeypatch.setattr(texts, "words", lambda text: [Word(text[number % 2]) for number in range(count)])
        texts.similarity("meteor", "ab", "ba")
        return Word.compared

    assert comparisons(800) < 2.5 * comparisons(400)


def test_texts_that_are_too_long_are_not_compared():
    grader = TextSimilarityGrader(**NEAR, evaluation_metric="fuzzy_match")
    grading = grade(grader, ModelSample("x"), {"answer": "y" * (texts.LONGEST + 1)}, Limits())
    assert f"more than {texts.LONGEST}" in str(grading.failure)


def test_a_comparison_ends_when_its_time_is_over(monkeypatch):
    clock = SimpleNamespace(monotonic=partial(next, itertools.count()), perf_counter=time.perf_counter)
    monkeypatch.setattr("tuneway_service.graders.grading.time", clock)
    inner = TextSimilarityGrader(**NEAR, evaluation_metric="fuzzy_match")
    long = "ab" * texts.ROWS_A_TICK
    grading = grade(inner, ModelSample(long), {"answer": long}, Limits(seconds=2))
    assert "longer than 2 s" in str(grading.failure)
    several = MultiGrader(name="m", graders={"a": inner, "b": inner, "c": inner}, calculate_output="a + b + c")
    assert grade(several, ModelSample("x"), {"answer": "x"}, Limits(seconds=1000)).reward == 3
    assert "longer than 5 s" in str(grade(several, ModelSample("x"), {"answer": "x"}, Limits(seconds=5)).failure)


# formulas


@pytest.mark.parametrize(
    "formula",
    ["1/0", "9 ^ 9 ^ 9 ^ 9", "-" * 900 + "a", "(" * 500 + "a" + ")" * 500, "floor(1e999)", "min()", "a" * 1001],
)
def test_a_formula_that_cannot_be_worked_out_is_refused_by_its_field(client, formula):
    grader = {"type": "multi", "name": "m", "graders": {"a": SAME}, "calculate_output": formula}
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.alpha.graders.run(grader=grader, model_sample="x")
    assert caught.value.param == "grader.calculate_output"


@pytest.mark.parametrize("formula", ["1/(a-1)", "a/0", "exp(a*9999)", "9 ^ (a*9999)", "sqrt(-a)", "log(a-1)"])
def test_a_formula_that_fails_for_an_answer_is_an_error_of_the_grading(client, formula):
    grader = {"type": "multi", "name": "m", "graders": {"a": SAME}, "calculate_output": formula}
    graded = client.fine_tuning.alpha.graders.run(grader=grader, model_sample="x")
    assert graded.reward == 0
    assert graded.metadata.errors.formula_parse_error


@given(st.text(alphabet="a1.+-*/^(), minexplog", max_size=60))
def test_any_text_can_be_a_formula(text):
    grader = MultiGrader(name="m", graders={"a": StringCheckGrader(**SAME)}, calculate_output=text or "a")
    for answer in ("x", "y"):
        grading = grade(grader, ModelSample(answer), {}, Limits())
        assert set(grading.errors) <= {"formula_parse_error", "other_error"}


# the event loop


async def test_others_are_served_while_an_answer_is_graded_and_a_cancelled_request_stops_it(tmp_path, monkeypatch):
    going, enough = threading.Event(), threading.Event()

    def check(*_):
        going.set()
        enough.wait(60)

    def grade_slowly(_grader, _sample, _item, limits):
        going.set()
        while not limits.stopped():
            enough.wait(0.01)
        enough.set()

    app = build_app(Settings(data_dir=tmp_path))
    body = {"grader": SAME, "model_sample": "x"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1/v1") as client,
    ):
        for name, slow in {"refuse_bad_grader": check, "grade": grade_slowly}.items():
            going.clear()
            with monkeypatch.context() as patched:
                patched.setattr(routes, name, slow)
                async with anyio.create_task_group() as group:
                    group.start_soon(lambda: client.post("/fine_tuning/alpha/graders/run", json=body))
                    await anyio.to_thread.run_sync(going.wait)
                    assert (await client.get("/models")).status_code == 200
                    assert not enough.is_set()
                    group.cancel_scope.cancel()
        assert await anyio.to_thread.run_sync(enough.wait, 60)


def test_a_grading_that_is_stopped_ends(monkeypatch):
    texts_grader = TextSimilarityGrader(**NEAR, evaluation_metric="fuzzy_match")
    answers = iter([False, False, False, True])
    long = "ab" * texts.ROWS_A_TICK
    grading = grade(texts_grader, ModelSample(long), {"answer": long}, Limits(stopped=lambda: next(answers)))
    assert "stopped" in str(grading.failure)
    monkeypatch.setattr(python_code, "TICK", 0.01)
    answers = iter([False, False, False, True])
    code = PythonGrader(name="code", source="import time\ndef grade(sample, item): time.sleep(600)")
    grading = grade(code, ModelSample(long), {}, Limits(python=True, stopped=lambda: next(answers)))
    assert "stopped" in str(grading.failure)
