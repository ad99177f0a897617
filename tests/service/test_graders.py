"""Graders: by the `openai` package, and their arithmetic by hand."""

from __future__ import annotations

import math
from functools import partial
from unittest.mock import patch

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.openai_jobs import openai_for, submit, wait_for
from support.service import running_service

from tuneway.models import MultiGrader, ScoreModelGrader, StringCheckGrader
from tuneway_service.graders import Limits, ModelSample, Tokens, grade, problems, templates, texts
from tuneway_service.graders.formula import BadFormula, names, work_out

SAME = {
    "type": "string_check",
    "name": "same",
    "operation": "eq",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
}
NEAR = SAME | {"type": "text_similarity", "name": "near", "evaluation_metric": "fuzzy_match"}
del NEAR["operation"]
CODE = {
    "type": "python",
    "name": "code",
    "source": "def grade(sample, item):\n    return len(sample['output_text']) / item['n']",
}
BOTH = {
    "type": "multi",
    "name": "both",
    "graders": {"same": SAME, "near": NEAR},
    "calculate_output": "0.5 * same + min(near, 0.5) ^ 2",
}


def run(client, grader, sample: str, item=None):
    return client.fine_tuning.alpha.graders.run(grader=grader, model_sample=sample, item=item or {})


@pytest.mark.parametrize(
    ("operation", "sample", "reward"),
    [
        ("eq", "Paris", 1),
        ("eq", "paris", 0),
        ("ne", "paris", 1),
        ("like", "It is Paris.", 1),
        ("like", "paris", 0),
        ("ilike", "It is PARIS.", 1),
    ],
)
def test_strings_are_compared(client, operation, sample, reward):
    graded = run(client, SAME | {"operation": operation}, sample, {"answer": "Paris"})
    assert graded.reward == reward
    assert (graded.metadata.name, graded.metadata.type) == ("same", "string_check")
    assert not any(graded.metadata.errors.model_dump().values())


def test_graders_are_put_together_by_a_formula(client):
    graded = run(client, BOTH, "Paris", {"answer": "Paris"})
    assert graded.reward == pytest.approx(0.75)
    assert graded.sub_rewards == graded.metadata.scores == {"same": 1.0, "near": 1.0}


def test_templates_reach_into_data_and_into_json_answers(client):
    grader = SAME | {"input": "{{ sample.output_json.team }}/{{item.tags[1]}}", "reference": "net/b"}
    assert run(client, grader, '{"team": "net"}', {"tags": ["a", "b"]}).reward == 1


def test_a_place_that_the_data_lacks_is_an_error_in_the_result(client):
    graded = run(client, SAME, "Paris", {"question": "?"})
    assert graded.reward == 0
    assert graded.metadata.errors.invalid_variable_error


def test_an_answer_without_the_form_that_the_grader_reads_scores_nothing():
    grader = StringCheckGrader(**SAME | {"input": "{{sample.output_json.team}}", "reference": "net"})
    for answer in ("no JSON", "{}", '{"team": "mobile"}'):
        grading = grade(grader, ModelSample(answer), {}, Limits())
        assert (grading.reward, grading.failure, grading.may_pass) == (0, None, False)


@pytest.mark.parametrize(
    ("trouble", "may_pass"), [(ConnectionError("away"), True), ("no number", False)], ids=["model away", "no number"]
)
def test_a_grader_that_fails_is_told_from_a_score_of_zero(trouble, may_pass):
    def ask(_model, _messages, _sampling):
        if isinstance(trouble, Exception):
            raise trouble
        return trouble, 1

    grader = ScoreModelGrader(name="judge", model="m", input=[{"role": "user", "content": "rate"}])
    failed = grade(grader, ModelSample("x"), {}, Limits(ask=ask))
    assert failed.failure
    assert failed.may_pass == may_pass
    low = grade(grader, ModelSample("x"), {}, Limits(ask=lambda *_: ("0", 1)))
    assert (low.reward, low.failure) == (0, None)


@pytest.mark.parametrize("formula", ["1 / judge", "log(judge)", "judge + 1"])
def test_a_formula_is_not_worked_out_without_the_score_of_a_grader(formula):
    def ask(_model, _messages, _sampling):
        raise ConnectionError("away")

    judge = {"type": "score_model", "name": "judge", "model": "m", "input": [{"role": "user", "content": "rate"}]}
    grader = MultiGrader(name="all", graders={"judge": judge}, calculate_output=formula)
    failed = grade(grader, ModelSample("x"), {}, Limits(ask=ask))
    assert failed.errors == {"model_grader_server_error": "away"}
    assert (failed.reward, failed.may_pass) == (0, True)


@pytest.mark.parametrize(
    ("grader", "param"),
    [
        (SAME | {"operation": "sounds_like"}, "grader.operation"),
        (SAME | {"input": "{{user.name}}"}, "grader.input"),
        (NEAR | {"evaluation_metric": "cosine"}, "grader.evaluation_metric"),
        (CODE, "grader.type"),
        (BOTH | {"calculate_output": "same + far"}, "grader.calculate_output"),
        (BOTH | {"calculate_output": "__import__('os').getcwd()"}, "grader.calculate_output"),
        (BOTH | {"graders": {"code": CODE}}, "grader.graders.code.type"),
        (
            {"type": "label_model", "name": "l", "model": "m", "input": [{}], "labels": ["a"], "passing_labels": ["a"]},
            "grader",
        ),
    ],
)
def test_a_grader_that_cannot_grade_is_refused_by_name(client, grader, param):
    for act in (client.fine_tuning.alpha.graders.validate, lambda grader: run(client, grader, "x", {"answer": "x"})):
        with pytest.raises(openai.BadRequestError) as caught:
            act(grader=grader)
        assert caught.value.param == param


def test_a_good_grader_is_valid(client):
    assert client.fine_tuning.alpha.graders.validate(grader=BOTH).grader.name == "both"


@pytest.mark.slow
def test_a_served_model_can_give_the_score(client, training_file):
    job = wait_for(client, submit(client, training_file).id)
    model = job.fine_tuned_model
    grader = {
        "type": "score_model",
        "name": "judge",
        "model": model,
        "input": [{"role": "user", "content": "{{sample.output_text}}"}],
    }
    graded = run(client, grader, "Ticket 1: there is trouble with my phone.")
    assert graded.metadata.errors.api_model_grader_parse_error  # "mobile" is no number
    assert graded.metadata.sampled_model_name == model
    assert graded.metadata.token_usage > 0
    multi = {
        "type": "multi",
        "name": "m",
        "graders": {
            "right": {
                "type": "label_model",
                "name": "l",
                "model": model,
                "labels": ["mobile", "network"],
                "passing_labels": ["mobile"],
                "input": [{"role": "user", "content": "{{sample.output_text}}"}],
            }
        },
        "calculate_output": "right",
    }
    assert run(client, multi, "Ticket 1: there is trouble with my phone.").reward == 1
    assert run(client, multi, "Ticket 1: there is trouble with my router.").reward == 0
    unknown = run(client, grader | {"model": "nobody"}, "x")
    assert unknown.metadata.errors.api_model_grader_server_error


TEXT = {"type": "input_text", "text": "2 + 2 = {{item.n}}"}


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        ("rate {{item.n}}", "rate 4"),
        (["rate {{item.n}}"], [{"type": "text", "text": "rate 4"}]),
        (TEXT, [{"type": "text", "text": "2 + 2 = 4"}]),
        ([TEXT, "so?"], [{"type": "text", "text": "2 + 2 = 4"}, {"type": "text", "text": "so?"}]),
    ],
    ids=["text", "list of texts", "part", "list"],
)
def test_a_model_is_asked_with_content_in_each_form_that_the_api_has(content, sent):
    asked = []

    def ask(_model, messages, _sampling):
        asked.extend(messages)
        return "1", 1

    grader = ScoreModelGrader(name="j", model="m", input=[{"role": "user", "content": content, "type": "message"}])
    assert not list(problems(grader, Limits(ask=ask)))
    assert grade(grader, ModelSample("x"), {"n": 4}, Limits(ask=ask)).reward == 1
    assert asked == [{"role": "user", "content": sent}]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "user"}, "0.content"),
        ({"role": "user", "content": None}, "0.content"),
        ({"role": "user", "content": []}, "0.content"),
        ({"role": "user", "content": [7]}, "0.content.0"),
        ({"role": "user", "content": ["a", {"type": "input_text"}]}, "0.content.1"),
        ({"role": "user", "content": {"type": "input_image", "image_url": "https://x/y.png"}}, "0.content"),
        ({"role": "user", "content": ["{{user.name}}"]}, "0.content"),
        ({"role": "judge", "content": "a"}, "0.role"),
        ({"content": "a"}, "0.role"),
    ],
)
def test_a_message_that_no_model_can_be_asked_with_is_refused_by_its_place(client, message, param):
    grader = {"type": "score_model", "name": "j", "model": "m", "input": [message], "range": [1, 5]}
    with pytest.raises(openai.BadRequestError) as caught:
        run(client, grader, "x")
    assert caught.value.param == f"grader.input.{param}"


@pytest.mark.parametrize("bounds", [[1, 0], [1, 1]])
def test_a_range_of_scores_has_its_lower_end_first(client, bounds):
    message = {"role": "user", "content": "rate"}
    grader = {"type": "score_model", "name": "j", "model": "m", "input": [message], "range": bounds}
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.alpha.graders.validate(grader=grader)
    assert caught.value.param == "grader.range"
    assert client.fine_tuning.alpha.graders.validate(grader=grader | {"range": [1, 5]}).grader.range == [1, 5]


@pytest.mark.parametrize("item", ["AAA", ["a"], 7, True])
def test_an_item_is_an_object(client, item):
    with pytest.raises(openai.BadRequestError) as caught:
        run(client, SAME, "x", item)
    assert caught.value.param == "item"


@pytest.mark.slow
def test_python_graders_run_when_they_are_allowed():
    with running_service(allow_python_graders=True) as service, openai_for(service) as client:
        assert run(client, CODE, "abcd", {"n": 8}).reward == 0.5
        broken = run(client, CODE, "abcd", {})
        assert broken.reward == 0
        assert "KeyError" in broken.metadata.errors.python_grader_runtime_error_details
        for source in ("def grade(sample, item):\n    return 'x'", "raise SystemExit(0)\ndef grade(s, i): return 1"):
            assert run(client, CODE | {"source": source}, "x").metadata.errors.python_grader_runtime_error
        secrets = "import os\ndef grade(sample, item):\n    return len(os.environ.get('HOME', ''))"
        assert run(client, CODE | {"source": secrets}, "x").reward == 0
        with pytest.raises(openai.BadRequestError, match="line 1"):
            run(client, CODE | {"source": "def grade(:"}, "x")


# the arithmetic


@pytest.mark.parametrize("metric", sorted(texts.SIMILARITIES))
@given(text=st.text(max_size=40), other=st.text(max_size=40))
def test_likeness_is_between_none_and_one_and_one_for_the_same(metric, text, other):
    alike = partial(texts.similarity, metric)
    assert 0 <= alike(text, other) <= 1
    if metric not in ("bleu", "gleu", "meteor") or texts.words(text):
        assert alike(text, text) == pytest.approx(1)


@pytest.mark.parametrize(
    ("metric", "text", "reference", "expected"),
    [
        ("fuzzy_match", "kitten", "sitting", 8 / 13),  # longest common subsequence: ittn
        ("rouge_1", "the cat sat", "the cat ran away", 4 / 7),
        ("rouge_2", "the cat sat", "the cat ran away", 2 / 5),
        ("rouge_l", "police killed the gunman", "police kill the gunman", 6 / 8),
        ("gleu", "the cat", "the cat sat", 3 / 6),
        ("bleu", "a b c d", "a b c d e f g h", math.exp(-1)),
        ("bleu", "x y z", "a b c", 0),
        ("meteor", "on the mat sat the cat", "the cat sat on the mat", 0.5 * (3 / 6) ** 3),
        ("meteor", "no match", "at all here", 0),
    ],
)
def test_likeness_is_what_the_books_say(metric, text, reference, expected):
    value = texts.similarity(metric, text, reference)
    if metric == "meteor" and expected:
        value = 1 - value
    assert value == pytest.approx(expected)


@pytest.mark.parametrize("band", [1, 5, texts.BAND])
@given(one=st.text(alphabet="abc", max_size=12), other=st.text(alphabet="abc", max_size=12))
def test_the_common_subsequence_is_the_longest(band, one, other):
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    with patch.object(texts, "BAND", band):
        assert texts.common_length(one, other) == table[-1][-1]


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("a + b", 5),
        ("a - b * 2", -4),
        ("2 ^ b", 8),
        ("-a", -2),
        ("max(a, b, 1) / 2", 1.5),
        ("floor(b / a) + ceil(0.2)", 2),
        ("exp(0)", 1),
    ],
)
def test_formulas_are_arithmetic(formula, value):
    assert work_out(formula, {"a": 2.0, "b": 3.0}) == value
    assert names(formula) <= {"a", "b"}


@pytest.mark.parametrize(
    "formula",
    ["", "a b", "a.real", "a[0]", "(lambda: a)()", "'a'", "True", "a if a else b", "open('x')", "min(a, key=b)", "c",
     "1/0", "9 ^ 9 ^ 9 ^ 9", "log(0)", "sqrt(-1)", "min()", "(" * 5000, "+".join("a" * 2000)],
)  # fmt: skip
def test_anything_else_is_no_formula(formula):
    with pytest.raises(BadFormula):
        work_out(formula, {"a": 2.0, "b": 3.0})


@pytest.mark.parametrize("formula", ["a + 1 / 0", "a * log(0)", "max(a)", "abs(a, a)", "log(a, 2, 2)", "sqrt()"])
def test_a_formula_of_which_a_part_can_never_be_evaluated_is_refused_before_it_grades(formula):
    with pytest.raises(BadFormula):
        names(formula)


@given(st.text())
def test_any_text_can_be_a_template(text):
    try:
        filled = templates.Filler(ModelSample("x"), {}).fill(text)
    except templates.UnknownPlace:
        assert "{{" in text
    else:
        assert "{{" in text or filled == text


def test_a_grading_tells_what_each_grader_did():
    tokens = [Tokens(10, 1), Tokens(20, 2)]
    judge = {"type": "score_model", "model": "m", "input": [{"role": "user", "content": "rate"}]}
    grader = MultiGrader(
        name="all", calculate_output="first + second + same",
        graders={"first": judge | {"name": "x"}, "second": judge | {"name": "x"}, "same": SAME},
    )  # fmt: skip
    answers = iter(["0.5", "no number"])
    limits = Limits(ask=lambda *_: (next(answers), tokens.pop(0)))
    grading = grade(grader, ModelSample("net"), {"answer": "net"}, limits)
    first, second, same = grading.parts
    assert [(part.name, part.type, part.model) for part in grading.parts] == [
        ("first", "score_model", "m"), ("second", "score_model", "m"), ("same", "string_check", None),
    ]  # fmt: skip
    assert [part.failed for part in grading.parts] == [False, True, False]
    assert (first.reward, second.errors.keys()) == (0.5, {"model_grader_parse_error"})
    assert (first.tokens.prompt, second.tokens.completion, grading.tokens) == (10, 2, {"m": 33})
    assert all(part.seconds >= 0 for part in (first, second, same))
    assert grading.failure is not None
    assert "no number" in grading.failure


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        (None, {"temperature": 0.0, "max_tokens": 256}),
        (
            {"temperature": 0.5, "top_p": 0.9, "seed": 7, "max_completions_tokens": 12},
            {"temperature": 0.5, "top_p": 0.9, "seed": 7, "max_tokens": 12},
        ),
        ({"reasoning_effort": "high", "temperature": None}, {"temperature": 0.0, "max_tokens": 1024}),
    ],
)
def test_a_model_is_asked_with_the_sampling_that_its_grader_says(given, asked):
    seen = []

    def ask(_model, _messages, sampling):
        seen.append(sampling)
        return "1", 1

    grader = ScoreModelGrader(name="j", model="m", input=[{"role": "user", "content": "rate"}], sampling_params=given)
    assert grade(grader, ModelSample("x"), {}, Limits(ask=ask)).reward == 1
    assert seen == [asked]
