"""Rows of many dialects become the same few lines."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneway.models import Checkpoint, Event, Measure, MetricRow, Role
from tuneway.report._series import all_series, best_checkpoint, series_of, thin, trend


def points(rows, metric=Measure.LOSS, role=Role.TRAIN):
    return next((one.points for one in series_of(rows, metric) if one.role is role), None)


def event(step, **metrics):
    return Event(id=f"ftevent-{step}", type="metrics", data={"step": step, **metrics})


def test_result_rows_and_events_name_the_same_numbers_differently():
    from_file = [MetricRow(step=1, train_loss=2.0, train_accuracy=0.5, valid_mean_token_accuracy=0.4)]
    from_events = [event(1, train_loss=2.0, train_mean_token_accuracy=0.5, valid_mean_token_accuracy=0.4)]
    assert all_series(from_file) == all_series(from_events)
    assert points(from_file, Measure.ACCURACY, Role.VALID) == [(1.0, 0.4)]


def test_columns_that_few_services_have_are_read_from_their_text():
    row = MetricRow.model_validate({"step": "7", "full_valid_loss": "0.25", "train_mean_reward": "nan"})
    assert points([row], Measure.LOSS, Role.FULL_VALID) == [(7.0, 0.25)]
    assert series_of([row], Measure.REWARD) == []


def test_events_come_newest_first_and_are_drawn_oldest_first():
    rows = [event(step, train_loss=1 / step) for step in (3, 2, 1)]
    assert [step for step, _ in points(rows)] == [1, 2, 3]


def test_of_two_values_for_a_step_the_later_row_counts():
    assert points([{"step": 1, "train_loss": 9.0}, {"step": 1, "train_loss": 2.0}]) == [(1.0, 2.0)]


def test_an_event_that_is_no_metric_is_not_drawn():
    told = Event(id="ftevent-1", type="message", message="Step 1", data={"step": 1, "train_loss": 5.0})
    assert all_series([told]) == {}


def test_an_absent_cell_is_no_gap_but_a_value_that_is_no_number_is():
    rows = [{"step": 1, "train_loss": 1.0}, {"step": 2, "train_loss": None}, {"step": 3, "train_loss": math.inf}]
    (first, second) = points(rows)
    assert first == (1.0, 1.0)
    assert second[0] == 3
    assert math.isnan(second[1])


@pytest.mark.parametrize("cell", [True, "soon", [1], {"a": 1}, None])
def test_what_is_no_number_at_all_is_left_out(cell):
    assert all_series([{"step": 1, "train_loss": cell}, {"step": cell, "train_loss": 1.0}]).keys() <= {Measure.LOSS}
    assert points([{"step": 1, "train_loss": cell}]) is None


def test_an_integer_too_long_for_a_float_counts_as_blown_up():
    assert math.isnan(points([{"step": 1, "train_loss": 1.0}, {"step": 2, "train_loss": 10**400}])[1][1])


def checkpoint(step, **metrics):
    return Checkpoint(id=f"ftckpt-{step}", step_number=step, metrics=metrics)


def test_the_best_checkpoint_has_the_lowest_loss_on_the_whole_validation_set():
    many = [checkpoint(1, valid_loss=0.1, full_valid_loss=0.9), checkpoint(2, valid_loss=0.8, full_valid_loss=0.3)]
    assert best_checkpoint(many) is many[1]


def test_without_losses_the_best_checkpoint_has_the_highest_reward():
    many = [checkpoint(1, full_valid_mean_reward=0.2), checkpoint(2, full_valid_mean_reward=0.7), checkpoint(3)]
    assert best_checkpoint(many) is many[1]


def test_without_metrics_there_is_no_best_checkpoint():
    assert best_checkpoint([checkpoint(1), checkpoint(2, valid_loss=math.nan)]) is None


@given(
    st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=30, max_size=200),
    st.integers(1, 20),
)
def test_thinning_keeps_both_ends_of_the_values_in_few_points(values, buckets):
    line = list(enumerate(values))
    kept = thin(line, buckets)
    assert set(map(str, kept)) <= set(map(str, line))
    assert [step for step, _ in kept] == sorted(step for step, _ in kept)
    assert len(kept) <= 2 * buckets + 2
    numbers = [value for value in values if not math.isnan(value)]
    shown = [value for _, value in kept if not math.isnan(value)]
    assert (min(shown), max(shown)) == (min(numbers), max(numbers)) if numbers else not shown


def test_a_spike_at_the_start_does_not_hide_what_follows():
    line = [(0.0, 1e90), *((float(step), 0.5) for step in range(1, 1000))]
    assert trend(line, 100)[-1][1] == 0.5


@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=300))
def test_a_trend_stays_between_the_values_it_smooths(values):
    course = [value for _, value in trend(list(enumerate(values)), 50)]
    assert min(values) * (1 - 1e-12) <= min(course) <= max(course) <= max(values) * (1 + 1e-12)


def test_a_trend_runs_through_the_middle_of_the_noise():
    course = trend([(float(step), 1.0 + 0.5 * (-1) ** step) for step in range(200)], 200)
    assert all(abs(value - 1.0) < 0.1 for _, value in course[20:-20])
    assert [step for step, _ in course] == list(range(200))
