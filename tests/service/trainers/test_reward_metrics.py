"""The nested metrics of a reinforcement step, as the hosted service publishes them."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from tuneway.flows.results import decode
from tuneway_service.graders import Grading, Part, Tokens
from tuneway_service.journal import Journal
from tuneway_service.result_table import result_table
from tuneway_service.trainers.reward_metrics import StepTrials, Tried

# the metrics event of the guide to reinforcement fine-tuning, by its names
PUBLISHED: dict[str, dict[str, Any]] = {
    "usage": {
        "graders": [
            {
                *("name", "type", "model", "train_prompt_tokens_mean", "valid_prompt_tokens_mean"),
                *("train_prompt_tokens_count", "valid_prompt_tokens_count", "train_completion_tokens_mean"),
                *("valid_completion_tokens_mean", "train_completion_tokens_count", "valid_completion_tokens_count"),
            }
        ],
        "samples": {
            *("train_reasoning_tokens_mean", "valid_reasoning_tokens_mean"),
            *("train_reasoning_tokens_count", "valid_reasoning_tokens_count"),
        },
    },
    "errors": {
        "graders": [
            {"name", "type"}
            | {
                f"{side}_{flag}_{kind}"
                for side in ("train", "valid")
                for flag in ("other_error", "sample_parse_error", "invalid_variable_error")
                for kind in ("mean", "count")
            }
        ]
    },
    "scores": {"graders": [{"name", "type", "train_reward_mean", "valid_reward_mean"}]},
    "timing": {
        "step": {"eval", "sampling", "training", "full_iteration"},
        "graders": [{"name", "type", "train_execution_latency_mean", "valid_execution_latency_mean"}],
    },
}
TOP = {
    *("usage", "errors", "scores", "timing", "reasoning_tokens_mean", "completion_tokens_mean"),
    *("mean_unresponsive_rewards", "model_graders_token_usage", "full_valid_mean_parse_error"),
    "valid_reasoning_tokens_mean",
}


def judged(reward, *, seconds=1.0, prompt=10, completion=2, errors=None):
    errors = errors or {}
    judge = Part(name="judge", type="score_model", model="wise", reward=reward, errors=errors, seconds=seconds,
                 tokens=Tokens(prompt, completion))  # fmt: skip
    exact = Part(name="exact", type="string_check", reward=1.0, seconds=0.5)
    return Grading(reward=reward, scores={"judge": reward, "exact": 1.0}, errors=errors, parts=[judge, exact])


def trials(valid=True):
    train = Tried(
        [judged(0.5), judged(0.25, seconds=3.0, prompt=30, completion=4),
         judged(0.0, errors={"sample_parse_error": "no JSON"}), judged(9.0, errors={"other_error": "odd"})],
        tokens=[5, 6, 7, 8], seconds=1.5,
    )  # fmt: skip
    checked = Tried([judged(0.75), judged(0.0, errors={"sample_parse_error": "no JSON"})], tokens=[3, 4], seconds=0.5)
    return StepTrials(train, checked if valid else None, training=2.0, eval=0.75 if valid else 0.0)


def test_the_groups_have_the_names_that_the_hosted_service_publishes():
    found = trials().groups(5.0)
    assert found.keys() >= TOP
    for group, parts in PUBLISHED.items():
        for part, wanted in parts.items():
            got = found[group][part]
            # a list has one entry for each grader
            assert set(got[0] if isinstance(wanted, list) else got) >= (
                wanted[0] if isinstance(wanted, list) else wanted
            )
    assert {"train_reward_mean", "valid_reward_mean"} < found["scores"].keys()


def test_scores_are_means_over_the_answers_that_have_one():
    found = trials().groups(5.0)
    assert found["scores"]["train_reward_mean"] == pytest.approx(0.25)  # the fourth answer has no reward
    assert found["scores"]["valid_reward_mean"] == 0.375
    judge, exact = found["scores"]["graders"]
    assert (judge["name"], judge["train_reward_mean"]) == ("judge", 0.25)
    assert (exact["name"], exact["train_reward_mean"], exact["valid_reward_mean"]) == ("exact", 1.0, 1.0)
    assert found["mean_unresponsive_rewards"] == 0.25


def test_errors_are_counted_for_each_grader():
    judge, exact = trials().groups(5.0)["errors"]["graders"]
    assert (judge["train_sample_parse_error_count"], judge["train_sample_parse_error_mean"]) == (1, 0.25)
    assert (judge["train_other_error_count"], judge["valid_other_error_count"]) == (1, 0)
    assert (judge["valid_sample_parse_error_mean"], judge["train_model_grader_server_error_count"]) == (0.5, 0)
    assert all(value == 0 for name, value in exact.items() if name not in ("name", "type"))
    assert "train_model_grader_server_error_count" not in exact
    found = trials().groups(5.0)
    assert found["full_valid_mean_parse_error"] == 0.5
    assert (found["errors"]["train_sample_parse_error_mean"], found["errors"]["train_other_error_count"]) == (0.25, 1)


def test_usage_has_the_tokens_of_answers_and_of_models_that_grade():
    found = trials().groups(5.0)
    (judge,) = found["usage"]["graders"]
    assert (judge["train_prompt_tokens_count"], judge["train_prompt_tokens_mean"]) == (60, 15.0)
    assert (judge["train_completion_tokens_count"], judge["valid_completion_tokens_mean"]) == (10, 2.0)
    assert found["model_graders_token_usage"]["wise"] == {
        "train_prompt_tokens": 60, "train_completion_tokens": 10, "train_cached_tokens": 0,
        "eval_prompt_tokens": 20, "eval_completion_tokens": 4, "eval_cached_tokens": 0,
    }  # fmt: skip
    samples = found["usage"]["samples"]
    assert (samples["train_completion_tokens_mean"], samples["valid_completion_tokens_count"]) == (6.5, 7)
    assert found["completion_tokens_mean"] == 6.5


def test_timing_has_the_parts_of_the_step_and_the_mean_of_each_grader():
    found = trials().groups(5.0)["timing"]
    assert found["step"] == {"sampling": 1.5, "training": 2.0, "eval": 0.75, "full_iteration": 5.0}
    judge, exact = found["graders"]
    assert (judge["train_execution_latency_mean"], exact["valid_execution_latency_mean"]) == (1.5, 0.5)


def test_an_answer_that_no_grader_has_seen_counts_for_all_of_them_but_not_for_their_times():
    unseen = Grading(errors={"sample_parse_error": "no JSON"})
    found = StepTrials(Tried([judged(0.5), unseen], tokens=[5, 6], seconds=1.0)).groups(5.0)
    for grader in found["errors"]["graders"]:
        assert (grader["train_sample_parse_error_count"], grader["train_sample_parse_error_mean"]) == (1, 0.5)
    judge, exact = found["scores"]["graders"]
    assert (judge["train_reward_mean"], exact["train_reward_mean"], found["scores"]["train_reward_mean"]) == (
        0.25, 0.5, 0.25,
    )  # fmt: skip
    assert found["timing"]["graders"][0]["train_execution_latency_mean"] == 1.0
    alone = StepTrials(Tried([unseen], tokens=[6], seconds=1.0)).groups(5.0)["errors"]
    assert (alone["graders"], alone["train_sample_parse_error_count"]) == ([], 1)


def test_a_step_without_validation_has_no_numbers_of_it():
    found = trials(valid=False).groups(5.0)
    assert "'valid_" not in str(found)
    assert "full_valid_" not in str(found)


def test_the_result_file_has_the_groups_as_columns_and_is_empty_where_nothing_was_measured(tmp_path):
    pen = Journal(tmp_path / "journal.jsonl")
    pen.metrics(1, 2, {"train_mean_reward": 0.25, "train_score.judge": 0.25}, trials(valid=False).groups(5.0))
    pen.metrics(2, 2, {"train_mean_reward": 0.5, "full_valid_mean_reward": 0.375}, trials().groups(6.0))
    pen.close()
    first, second = csv.DictReader(io.StringIO(result_table(tmp_path / "journal.jsonl")))
    assert (first["step"], first["train_mean_reward"], first["full_valid_mean_reward"]) == ("1", "0.25", "")
    assert (second["full_valid_mean_reward"], second["total_duration"]) == ("0.375", "6.0")
    assert second["scores/graders/score_model/judge/valid_reward_mean"] == "0.375"
    assert first["scores/graders/score_model/judge/valid_reward_mean"] == ""
    assert second["errors/graders/score_model/judge/errors/train_sample_parse_error_count"] == "1"
    assert second["usage/graders/score_model/judge/train_prompt_tokens_count"] == "60"
    assert second["timing/graders/string_check/exact/train_execution_latency_mean"] == "0.5"
    assert second["completion_tokens_mean"] == "6.5"


@pytest.mark.parametrize("name", ["a\rb", "a\nb", 'a",b', "=1+1", "x" * 200_000], ids=lambda name: repr(name[:5]))
def test_the_result_file_can_be_read_whatever_a_grader_is_called(tmp_path, name):
    part = Part(name=name, type="string_check", reward=0.5)
    tried = Tried([Grading(reward=0.5, parts=[part])], tokens=[1], seconds=1.0)
    pen = Journal(tmp_path / "journal.jsonl")
    pen.metrics(1, 1, {"train_mean_reward": 0.5}, StepTrials(tried).groups(1.0))
    pen.close()
    (row,) = decode(result_table(tmp_path / "journal.jsonl").encode())
    known = row.model_dump()
    assert known["train_mean_reward"] == 0.5
    (column,) = (column for column in known if column.startswith("scores/graders/"))
    assert known[column] == 0.5
