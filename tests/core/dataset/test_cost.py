"""Epochs, trained tokens and what they cost."""

from __future__ import annotations

import json
from functools import partial

import pytest
from support.datasets import chat, good_rows, say, write

from tuneway.dataset import PRICES_AS_OF, USD_PER_MILLION_TRAINED_TOKENS, base_model, price_of
from tuneway.dataset import validate as validate_for_real

# a token a character makes every figure easy to see
validate = partial(validate_for_real, tokenizer=len)


@pytest.fixture
def train(tmp_path):
    rows = [chat(say("user", f"{n:03}"), say("assistant", "y" * 7)) for n in range(100)]
    return write(tmp_path / "train.jsonl", rows)


TOKENS_OF_A_ROW = 3 + (4 + 3) + (4 + 7)


def test_cost_is_price_times_tokens_times_epochs(train):
    report = validate(train, model="gpt-4o-mini-2024-07-18", n_epochs=2)
    assert report.tokens.total == 100 * TOKENS_OF_A_ROW
    assert report.trained_tokens == 2 * report.tokens.total
    assert report.cost.usd == pytest.approx(report.trained_tokens * 3 / 1e6, abs=1e-4)
    assert (report.cost.model, report.cost.prices_as_of) == ("gpt-4o-mini", PRICES_AS_OF)


@pytest.mark.parametrize(
    ("rows", "epochs"),
    [(1, 25), (4, 25), (5, 20), (10, 10), (33, 3), (34, 3), (8_333, 3), (8_334, 2), (12_501, 1), (30_000, 1)],
)
def test_epochs_are_chosen_as_services_choose_them(tmp_path, rows, epochs):
    path = write(tmp_path / "train.jsonl", good_rows("completions", count=rows))
    assert validate(path).n_epochs == validate(path, n_epochs="auto").n_epochs == epochs


def test_a_model_without_a_price_has_tokens_and_no_cost(train):
    report = validate(train, model="llama-9")
    assert report.cost is None
    assert report.trained_tokens == 300 * TOKENS_OF_A_ROW


def test_your_own_prices_come_first(train, tmp_path):
    report = validate(train, model="gpt-4o", prices={"gpt-4o": 1_000_000}, n_epochs=1)
    assert (report.cost.usd, report.cost.prices_as_of) == (report.trained_tokens, None)
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({"llama-9": 0.5}), encoding="utf-8")
    assert validate(train, model="llama-9", prices=file).cost.usd_per_million == 0.5
    assert validate(train, model="gpt-4.1", prices=str(file)).cost.usd_per_million == 25


def test_validation_tokens_and_graded_rows_are_not_billed_by_the_token(train, tmp_path):
    valid = write(tmp_path / "valid.jsonl", good_rows("chat", count=10))
    report = validate(train, validation_data=valid, model="gpt-4o")
    assert report.cost.usd > 0
    assert report.validation.cost is report.validation.trained_tokens is None
    graded = validate(write(tmp_path / "rft.jsonl", good_rows("reinforcement")), model="gpt-4o")
    assert graded.cost is graded.trained_tokens is None


def test_what_is_cut_off_is_not_paid_for(tmp_path):
    rows = [*good_rows(), chat(say("user", "q"), say("assistant", "x" * 100_000))]
    report = validate(write(tmp_path / "train.jsonl", rows), model="gpt-4o", n_epochs=1)
    assert report.counts == {"row.too_long": 1}
    assert report.warnings[0].found == f"{3 + 5 + 4 + 100_000:,} tokens"
    assert report.trained_tokens == report.tokens.total - (3 + 5 + 4 + 100_000 - 65_536)


@pytest.mark.parametrize(
    ("model", "warned"),
    [
        (None, True),
        ("gpt-4o-mini", True),
        ("ft:gpt-4.1-2025-04-14:me::x", True),
        ("gpt-3.5-turbo", True),
        ("llama", False),
    ],
)
def test_the_longest_example_depends_on_the_model(tmp_path, model, warned):
    rows = [*good_rows(), chat(say("user", "q", name="n"), say("assistant", "x" * 70_000))]
    report = validate(write(tmp_path / "train.jsonl", rows), model=model)
    assert ("row.too_long" in report.counts) == warned


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("gpt-4o-mini", "gpt-4o-mini"),
        ("ft:gpt-4o-mini-2024-07-18:acme::Ab1", "gpt-4o-mini-2024-07-18"),
        ("ft:gpt-4.1-2025-04-14:acme:bot:Ab1:ckpt-step-80", "gpt-4.1-2025-04-14"),
        ("ft:broken", "ft:broken"),
        ("", ""),
    ],
)
def test_the_base_of_a_tuned_model_is_in_its_name(name, base):
    assert base_model(name) == base


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("ft:gpt-4.1-mini-2025-04-14:acme::1", "gpt-4.1-mini"),
        ("gpt-4", None),
        ("gpt-4o-audio-preview", None),
        (None, None),
    ],
)
def test_prices_are_of_a_family_and_of_no_other(model, family):
    price = price_of(model, {})
    assert (price and price.model) == family
    if family:
        assert price.usd_per_million == USD_PER_MILLION_TRAINED_TOKENS[family]


def test_the_price_of_a_dated_name_beats_its_familys():
    assert price_of("ft:m-2025-01-01:a::b", {"m": 1, "m-2025-01-01": 2}).usd_per_million == 2
