"""What "auto" becomes, by the published rules, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneway.errors import InvalidSpec
from tuneway_service.trainers import TRAINERS, make_trainer
from tuneway_service.trainers.hyperparameters import auto_epochs

TRAINER = make_trainer("bytes")
SIZES = st.integers(1, 10_000_000)
LIMITS = {"n_epochs": st.integers(1, 50), "batch_size": st.integers(1, 256)} | {
    "learning_rate_multiplier": st.floats(min_value=1e-6, max_value=100),
    "beta": st.floats(min_value=0, max_value=2, exclude_min=True),
}
KNOBS = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(["auto", None]) | values for name, values in LIMITS.items()}
)


@given(n_examples=SIZES, requested=KNOBS)
def test_what_is_asked_for_is_kept_and_the_rest_is_settled(n_examples, requested):
    settled = TRAINER.resolve("dpo", requested, n_examples)
    assert settled.keys() == LIMITS.keys()
    assert "auto" not in settled.values()
    for name, value in requested.items():
        if value not in ("auto", None):
            assert settled[name] == value
    # settling twice changes nothing
    assert TRAINER.resolve("dpo", settled, n_examples) == settled


@given(n_examples=SIZES)
def test_auto_epochs_pass_over_100_examples_if_25_epochs_can_and_25000_at_most_if_one_does(n_examples):
    epochs = auto_epochs(n_examples)
    assert 1 <= epochs <= 25
    assert epochs == 25 or epochs * n_examples >= 100
    assert epochs == 1 or epochs * n_examples <= 25_000
    if epochs > 3:
        assert (epochs - 1) * n_examples < 100  # not raised further than needed
    if epochs < 3:
        assert (epochs + 1) * n_examples > 25_000  # nor lowered


@pytest.mark.parametrize(
    ("n_examples", "epochs"),
    [(1, 25), (4, 25), (10, 10), (33, 4), (34, 3), (200, 3), (8_333, 3), (8_334, 2), (20_000, 1), (10**6, 1)],
)
def test_auto_epochs_at_the_edges(n_examples, epochs):
    assert auto_epochs(n_examples) == epochs


@pytest.mark.parametrize(("n_examples", "size"), [(1, 1), (99, 1), (100, 2), (200, 4), (1_000, 20), (10**6, 32)])
def test_auto_batches_are_a_fiftieth_of_the_examples(n_examples, size):
    assert TRAINER.resolve("supervised", {}, n_examples)["batch_size"] == size


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_epochs", 0),
        ("n_epochs", 51),
        ("n_epochs", 2.5),
        ("n_epochs", "many"),
        ("batch_size", 257),
        ("batch_size", 0),
        ("learning_rate_multiplier", 0),
        ("learning_rate_multiplier", -1),
        ("learning_rate_multiplier", float("inf")),
        ("learning_rate_multiplier", float("nan")),
        ("beta", 0),
        ("beta", 2.1),
        ("lora_rank", 8),
        ("n_epoch", 3),
    ],
)
def test_what_is_out_of_its_limits_is_refused_by_name(field, value):
    with pytest.raises(InvalidSpec, match=field) as caught:
        TRAINER.resolve("dpo", {field: value}, 100)
    assert caught.value.field == field


def test_beta_belongs_to_dpo_alone():
    assert "beta" not in TRAINER.resolve("supervised", {}, 100)
    with pytest.raises(InvalidSpec, match="beta"):
        TRAINER.resolve("supervised", {"beta": 0.1}, 100)


def test_reinforcement_names_the_trainer_that_does_it():
    with pytest.raises(InvalidSpec, match="hf") as caught:
        TRAINER.resolve("reinforcement", {}, 100)
    assert caught.value.field == "method"


def test_an_unknown_trainer_is_refused_and_the_known_ones_are_named():
    with pytest.raises(InvalidSpec, match="bytes"):
        make_trainer("gpt-4o")


@pytest.mark.parametrize("name", TRAINERS)
def test_every_model_card_names_its_trainer_and_says_that_it_is_no_hosted_model(name):
    card = make_trainer(name).describe()
    assert card["trainer"] == name
    assert "not a hosted model" in card["summary"]


def test_settling_and_describing_need_no_numpy():
    """The service's own process does both, and stays small."""
    program = (
        "import sys; from tuneway_service.trainers import make_trainer as make; t = make('bytes');"
        "t.resolve('dpo', {}, 9); t.describe(); sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
