"""Asking two models the same questions."""

from __future__ import annotations

import json
import threading

import pytest

from tuneway.errors import InvalidInput, InvalidSpec, RateLimited
from tuneway.registry import evaluate


def row(question, answer):
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


ROWS = [row("2+2", "four"), row("3+3", "six"), row("4+4", "eight")]
KNOWN = {
    ("base", "2+2"): "It is FOUR.",
    ("base", "3+3"): "six",
    ("base", "4+4"): "nine",
    ("tuned", "2+2"): " four\n",
    ("tuned", "3+3"): "seven",
    ("tuned", "4+4"): "eight",
}


def ask(model, messages):
    assert messages[-1]["role"] == "user"  # never the answer
    return KNOWN[model, messages[-1]["content"]]


def run(examples=ROWS, *, ask=ask, **options):
    return evaluate(examples, ask=ask, base="base", tuned="tuned", **options)


def test_exact_answers_are_counted():
    result = run()
    assert (result.base.score, result.tuned.score) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert (result.questions, result.better, result.worse) == (3, 2, 1)
    assert result.scored_by == "exact"


def test_contained_answers_count_in_any_case():
    assert run(score="contains").base.score == pytest.approx(2 / 3)


def test_a_function_can_score():
    def half(answer, expected):
        return 0.5 if answer != expected else True

    result = run(score=half)
    assert result.base.score == pytest.approx((0.5 + 1 + 0.5) / 3)
    assert result.scored_by == "half"


def test_samples_show_what_got_worse_first_and_stay_few():
    samples = run().samples
    assert [sample.question for sample in samples] == ["3+3", "2+2", "4+4"]
    assert (samples[0].expected, samples[0].base, samples[0].tuned) == ("six", "six", "seven")
    assert len(run(samples=1).samples) == 1
    long = run([row("x" * 10_000, "y" * 10_000)], ask=lambda model, messages: "z" * 10_000)
    assert len(long.model_dump_json()) < 10_000


def test_a_file_of_rows_gives_the_same_evaluation(tmp_path):
    path = tmp_path / "held-out.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in ROWS) + "\n\n")
    assert run(path) == run(str(path)) == run()


def test_the_same_questions_have_the_same_hash_and_others_another():
    assert run().sha256 == run(score="contains").sha256
    assert run().sha256 != run(ROWS[:2]).sha256


def test_prompts_with_completions_are_asked_as_well():
    result = run([{"prompt": "2+2", "completion": "four"}])
    assert result.tuned.score == 1


def test_questions_can_be_asked_at_once():
    gate = threading.Barrier(4, timeout=10)

    def patient(model, messages):
        gate.wait()
        return ask(model, messages)

    rows = [*ROWS, row("2+2", "four")]
    assert run(rows, ask=patient, concurrency=4).tuned.score == 0.75


def test_what_asking_raises_comes_out_and_ends_it():
    asked = []

    def refused(model, messages):
        asked.append(model)
        raise RateLimited("too fast", status=429)

    with pytest.raises(RateLimited):
        run(ROWS * 100, ask=refused, concurrency=2)
    assert len(asked) <= 2


@pytest.mark.parametrize("concurrency", [1, 8])
def test_an_error_names_the_question_and_the_model(concurrency, tmp_path):
    path = tmp_path / "held-out.jsonl"
    path.write_text("\n\n".join(json.dumps(line) for line in ROWS))

    def refuses_one(kind):
        def refusing(model, messages):
            if (model, messages[-1]["content"]) == ("tuned", "3+3"):
                raise kind("no")
            return "six"

        return refusing

    with pytest.raises(RateLimited, match=r"held-out\.jsonl, line 3, asked of tuned: no$"):
        run(path, ask=refuses_one(RateLimited), concurrency=concurrency)
    with pytest.raises(LookupError) as caught:
        run(ask=refuses_one(LookupError), concurrency=concurrency)
    assert caught.value.__notes__ == ["example 2, asked of tuned"]


def test_a_question_on_which_the_grader_fails_is_named():
    def grader(answer, expected):
        return {"four": 1, "six": 7}[expected]

    with pytest.raises(InvalidSpec, match="example 2: the grader grader returned 7"):
        run(score=grader)
    with pytest.raises(KeyError) as caught:
        run(ROWS[2:], score=grader)
    assert caught.value.__notes__ == ["example 1"]


@pytest.mark.parametrize("concurrency", [1, 3, 100])
def test_no_more_are_asked_at_once_than_allowed_and_results_are_in_order(concurrency):
    now, most, lock = [0], [0], threading.Lock()

    def counted(model, messages):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        reply = "tuned" if model == "tuned" else messages[-1]["content"]
        with lock:
            now[0] -= 1
        return reply

    rows = [row(str(number), str(number)) for number in range(40)]
    result = run(rows, ask=counted, concurrency=concurrency, samples=40)
    assert [(sample.question, sample.base, sample.tuned) for sample in result.samples] == [
        (str(number), str(number), "tuned") for number in range(40)
    ]
    assert most[0] <= concurrency


def test_the_number_of_answers_is_told_and_never_falls():
    told = []
    run(ROWS * 20, on_event=told.append)
    counts = [news.done for news in told]
    assert counts == sorted(set(counts))
    assert str(told[-1]) == "120 of 120 answers"
    run(ROWS, on_event=told.append, concurrency=1)
    assert [str(news) for news in told[-6:]] == [f"{number} of 6 answers" for number in range(1, 7)]


def test_an_error_of_a_listener_ends_it():
    def broken(_news):
        raise ValueError("full")

    with pytest.raises(ValueError, match="full"):
        run(ROWS * 20, on_event=broken)


def test_less_than_one_at_once_is_refused():
    with pytest.raises(InvalidSpec, match="concurrency"):
        run(concurrency=0)


@pytest.mark.parametrize(
    "bad",
    [
        {"messages": [{"role": "user", "content": "2+2"}]},
        {"messages": []},
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None}]},
        {"prompt": "x"},
        {"messages": ["x", "y"]},
        7,
    ],
)
def test_a_row_without_an_expected_answer_is_named(bad):
    with pytest.raises(InvalidSpec, match="example 2: no question"):
        run([ROWS[0], bad])


def test_nothing_to_ask_is_refused():
    with pytest.raises(InvalidSpec, match="there are no examples"):
        run([])


def test_a_file_that_is_not_rows_is_named_with_its_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n{oops\n")
    with pytest.raises(InvalidInput, match=r"rows\.jsonl, line 2: not JSON"):
        run(path)
    with pytest.raises(InvalidInput, match="No such file"):
        run(tmp_path / "none.jsonl")


@pytest.mark.parametrize("score", ["fuzzy", lambda answer, expected: 7, lambda answer, expected: float("nan")])
def test_a_score_that_is_none_is_refused(score):
    with pytest.raises(InvalidSpec):
        run(score=score)


def test_a_question_has_no_fields_that_only_training_knows():
    heard = []

    def asked(model, messages):
        heard.extend(messages)
        return "yes"

    before = [{"role": "user", "content": "hm?"}, {"role": "assistant", "content": "no", "weight": 0}]
    last = [{"role": "user", "content": "really?"}, {"role": "assistant", "content": "yes", "weight": 1}]
    run([{"messages": [*before, *last]}], ask=asked)
    assert heard == [before[0], {"role": "assistant", "content": "no"}, last[0]] * 2
