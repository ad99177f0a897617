"""Graders that fail: asked again, left out, and too many of them end the training."""

from __future__ import annotations

import pytest

from tuneway.errors import InvalidSpec
from tuneway_service.graders import Grading, Part, Tokens
from tuneway_service.trainers.grades import ATTEMPTS, Grades, remark

AWAY = {"model_grader_server_error": "connection refused"}


def grading(reward=1.0, errors=None, name="judge"):
    errors = errors or {}
    part = Part(name=name, type="score_model", model="m", reward=reward, errors=errors)
    return Grading(reward=reward, errors=errors, parts=[part])


def grades(answers, most=0.5, naps=None):
    """Grades of answers, each of which has a list of gradings: one for each time that the grader is asked."""
    left = {answer: list(gradings) for answer, gradings in answers.items()}
    graded = Grades(lambda _, answer: left[answer].pop(0), most, sleep=(naps if naps is not None else []).append)
    return graded.of([{}] * len(answers), list(answers))


def test_a_grader_that_is_away_for_a_moment_is_asked_again():
    naps: list[float] = []
    found = grades({"a": [grading(errors=AWAY), grading(0.25)], "b": [grading(0.5)]}, naps=naps)
    assert [one.reward for one in found] == [0.25, 0.5]
    assert [one.failure for one in found] == [None, None]
    assert len(naps) == 1


def test_a_grader_that_stays_away_is_asked_a_few_times_and_its_answer_has_no_reward():
    naps: list[float] = []
    found = grades({"a": [grading(errors=AWAY)] * ATTEMPTS, "b": [grading(0.5)]}, naps=naps)
    assert found[0].failure
    assert len(naps) == ATTEMPTS - 1
    told = remark(found, "the answers of step 7")
    assert told is not None
    assert (told.level, told.mark) == ("warn", "graders:the answers of step 7")
    assert told.text == (
        "Of the answers of step 7, 1 answer is left out of 2, because the grader 'judge' failed once:"
        " model_grader_server_error: connection refused"
    )


def test_the_tokens_of_all_attempts_are_counted():
    def attempt(errors, tokens):
        fine = Part(name="fine", type="score_model", model="m", tokens=tokens)
        away = Part(name="away", type="score_model", model="n", errors=errors, tokens=Tokens(1, 1))
        return Grading(reward=0.5, errors=errors, parts=[fine, away])

    (found,) = grades({"a": [attempt(AWAY, Tokens(10, 2, 5)), attempt(AWAY, Tokens(20, 3)), attempt({}, Tokens(30))]})
    fine, away = found.parts
    assert (fine.tokens.prompt, fine.tokens.completion, fine.tokens.cached, fine.tokens) == (60, 5, 5, 65)
    assert (away.tokens, away.errors) == (6, {})


def test_a_failure_that_no_retry_cures_is_not_asked_again():
    assert grades({"a": [grading(errors={"python_grader_runtime_error": "KeyError"})], "b": [grading()]})[0].failure


def test_an_answer_that_fails_itself_has_the_reward_0():
    found = grades({"a": [grading(0.0, {"sample_parse_error": "no JSON"})], "b": [grading(0.5)]}, most=0.0)
    assert [(one.reward, one.failure) for one in found] == [(0.0, None), (0.5, None)]
    assert remark(found, "step 1") is None


@pytest.mark.parametrize(("failing", "most", "ends"), [(2, 0.5, False), (3, 0.5, True), (1, 0.0, True), (4, 1.0, True)])
def test_too_many_failures_end_the_training_with_the_graders_and_their_number(failing, most, ends):
    broken = grading(errors={"other_error": "odd"}, name="odd one")
    answers = {str(number): [broken if number < failing else grading()] for number in range(4)}
    if not ends:
        assert sum(bool(one.failure) for one in grades(answers, most)) == failing
        return
    times = "once" if failing == 1 else f"{failing} times"
    words = (
        rf"grader 'odd one' failed {times} for {failing} of the 4 answers of a step \(max_grader_failures is {most:g}\)"
    )
    with pytest.raises(InvalidSpec, match=words) as caught:
        grades(answers, most)
    assert caught.value.field == "grader"


def test_of_a_multi_grader_the_one_that_failed_is_named():
    parts = [Part(name="fine", type="string_check"), Part(name="bad", type="python", errors={"other_error": "x"})]
    found = [Grading(errors={"other_error": "x"}, parts=parts), grading(0.5)]
    told = remark(found, "step 1")
    assert told is not None
    assert "'bad' failed once" in told.text
    assert "fine" not in told.text


def test_without_parts_the_grader_has_no_name():
    told = remark([Grading(errors={"formula_parse_error": "1/0"}), grading()], "step 1")
    assert told is not None
    assert "because the grader failed once: formula_parse_error" in told.text
