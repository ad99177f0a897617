"""What rows have come to, for whichever trainer."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tuneway_service.trainers.metric_sums import MetricSums


def test_what_was_not_measured_has_no_metric():
    assert MetricSums().metrics("train") == {}


def test_losses_and_guesses_are_means_over_what_each_of_them_counts():
    sums = MetricSums()
    sums.add_loss(3.0, 4)
    sums.add_loss(1.0, 4)
    sums.add_hits(1, 3)
    sums.add_hits(0, 1)
    assert sums.metrics("train") == {"train_loss": 0.5, "train_mean_token_accuracy": 0.25}


def test_of_pairs_the_margin_is_a_mean_and_a_tie_is_no_win():
    sums = MetricSums()
    for margin in (3.0, -1.0, 0.0, 2.0):
        sums.add_pair(margin)
    assert sums.metrics("valid") == {"valid_reward_margin": 1.0, "valid_reward_accuracy": 0.5}


def test_a_mean_of_ones_own_name_stands_beside_the_others():
    sums = MetricSums()
    sums.add_loss(1.0, 1)
    for reward in (0.25, 0.75):
        sums.add("mean_reward", reward)
    assert sums.metrics("full_valid") == {"full_valid_loss": 1.0, "full_valid_mean_reward": 0.5}


@pytest.mark.parametrize("heavy", ["torch", "transformers", "numpy"])
def test_it_is_there_without_what_trains(heavy):
    code = f"import sys, tuneway_service.trainers.metric_sums; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
