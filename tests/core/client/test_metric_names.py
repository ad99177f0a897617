"""One table of metric names, from which everything takes them."""

from __future__ import annotations

import pytest

from tuneway.models import METRICS, MetricRow, Role, metric_name, possible_metrics
from tuneway.models._curve import numbers, points
from tuneway.registry import ModelRecord


def test_every_metric_has_one_name_and_no_other_metric_has_it():
    others = [other for metric in METRICS.values() for other in metric.also]
    assert len(set(others)) == len(others)
    assert METRICS.keys().isdisjoint(others)
    assert all(metric_name(name) == name for name in METRICS)


def test_the_two_names_of_a_number_are_one_metric():
    rows = [MetricRow(step=1, train_loss=2.0, train_accuracy=0.5), {"step": 1, "train_mean_token_accuracy": 0.5}]
    assert points(rows) == {("train_loss", 1): 2.0, ("train_mean_token_accuracy", 1): 0.5}
    assert numbers({"valid_accuracy": 0.25, "own_metric": 1}) == {"valid_mean_token_accuracy": 0.25, "own_metric": 1.0}


def test_a_record_of_before_reads_with_one_name():
    stored = {"name": "m", "model_id": "ft:m", "job_id": "ftjob-1"}
    both = ModelRecord(**stored, metrics={"train_accuracy": 0.5, "train_mean_token_accuracy": 0.75})
    one = ModelRecord(**stored, metrics={"train_accuracy": 0.5, "train_loss": 1.0})
    assert both.metrics == {"train_mean_token_accuracy": 0.75}
    assert one.metrics == {"train_mean_token_accuracy": 0.5, "train_loss": 1.0}


@pytest.mark.parametrize(
    ("method", "measures", "tokens", "of_validation"),
    [
        ("supervised", {"loss", "mean_token_accuracy"}, set(), set()),
        ("dpo", {"loss", "mean_token_accuracy", "reward_margin", "reward_accuracy"}, set(), set()),
        (
            "reinforcement",
            {"mean_reward"},
            {"completion_tokens_mean", "reasoning_tokens_mean"},
            {"valid_reasoning_tokens_mean", "full_valid_mean_parse_error"},
        ),
    ],
)
def test_a_training_has_the_metrics_of_its_method_and_of_the_data_that_it_has(method, measures, tokens, of_validation):
    alone, both = (possible_metrics(method, validated=validated) for validated in (False, True))
    assert {name.removeprefix("train_") for name in set(alone) - tokens} == measures
    assert tokens <= set(alone)
    assert all(METRICS[name].role is Role.TRAIN for name in alone)
    everywhere = {f"{prefix}_{measure}" for prefix in ("train", "valid", "full_valid") for measure in measures}
    assert sorted(both) == sorted(everywhere | tokens | of_validation)


def test_the_names_of_rewards_in_the_group_of_scores_are_other_names_of_them():
    assert metric_name("train_reward_mean") == "train_mean_reward"
    assert metric_name("valid_reward_mean") == "full_valid_mean_reward"
