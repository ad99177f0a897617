"""Axes that a reader can trust: everything is on them, and no two ticks read the same."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneway.report._scale import brief, figure, step_scale, value_scale


def without_dust(value):
    """What series do to their values: beyond 100 decades, nothing is small any more."""
    return value if abs(value) > 1e-100 else 0.0


numbers = st.floats(-1e100, 1e100).map(without_dust)


@given(st.lists(numbers, min_size=1, max_size=20))
def test_every_value_lies_on_its_axis(values):
    scale = value_scale(values, start=300, end=20)
    assert all(20 - 0.01 <= scale(value) <= 300 + 0.01 for value in values)


@given(st.lists(numbers, min_size=1, max_size=20))
def test_ticks_rise_and_lie_on_the_axis(values):
    scale = value_scale(values, start=300, end=20)
    places = [place for place, _ in scale.labels()]
    assert 2 <= len(places) <= 12
    assert all(later < earlier for earlier, later in pairwise(places))
    assert all(20 - 0.01 <= place <= 300 + 0.01 for place in places)


@given(st.floats(-1e6, 1e6).map(without_dust), st.floats(1e-3, 1e6), st.booleans())
def test_no_two_ticks_read_the_same(low, span, steps):
    make = step_scale if steps else lambda a, b, **place: value_scale([a, b], **place)
    texts = [text for _, text in make(low, low + span, start=0, end=600).labels()]
    assert len(texts) == len(set(texts))


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_steps_are_counted_in_whole_numbers(one, other):
    scale = step_scale(min(one, other), max(one, other), start=40, end=700)
    assert all(tick == int(tick) for tick in scale.ticks)
    assert 40 <= scale(one) <= 700
    assert 1 <= len(scale.ticks) <= 12


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.31, 1.9], ["0.0", "0.5", "1.0", "1.5", "2.0"]),
        ([1.31, 1.38], ["1.30", "1.32", "1.34", "1.36", "1.38"]),
        ([0.004, 2.7], ["0.01", "0.03", "0.1", "0.3", "1"]),
        ([1e-6, 10], ["1e-6", "1e-4", "0.01", "1"]),
        ([7.0], ["2", "4", "6", "8", "10", "12"]),
        ([0.0, 0.0], ["-1.0", "-0.5", "0.0", "0.5", "1.0"]),
    ],
)
def test_ticks_are_the_ones_a_person_would_choose(values, texts):
    assert [text for _, text in value_scale(values, start=100, end=0).labels()] == texts


def test_losses_that_fall_by_orders_of_magnitude_are_drawn_logarithmically():
    assert value_scale([0.01, 3.0], start=100, end=0).log
    assert not value_scale([0.5, 3.0], start=100, end=0).log
    assert not value_scale([0.0, 3.0], start=100, end=0).log


def test_an_axis_of_shares_ends_at_one():
    ticks = value_scale([0.42, 0.97], start=100, end=0, share=True).ticks
    assert ticks[-1] == 1.0
    assert value_scale([0.9, 0.9], start=100, end=0, share=True).ticks[-1] == 1.0


def test_an_accuracy_that_a_service_counts_in_percent_is_still_on_the_axis():
    scale = value_scale([42.0, 97.0], start=100, end=0, share=True)
    assert scale.low <= 42 <= 97 <= scale.high


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (0.5, "0.5"), (1234, "1234"), (9999.4, "9999"), (9999.6, "10k"), (12345, "12.35k"),
        (1_500_000, "1.5M"), (2e9, "2G"), (0.00025, "2.5e-4"), (-3.14159, "-3.142"), (1e50, "1e50"),
    ],
)  # fmt: skip
def test_numbers_are_brief(value, text):
    assert brief(value) == text


def test_figures_under_one_another_have_the_same_precision():
    assert [figure(value) for value in (2.32, 0.396, 12.0)] == ["2.320", "0.3960", "12.00"]
