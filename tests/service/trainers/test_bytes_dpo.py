"""Preference training: a real DPO loss, with the start model as the reference."""

from __future__ import annotations

import math

import pytest
from support.support_chats import chats, preferences, right_answers

PAIRS = preferences(200, seed=11)
FEWER = PAIRS[:100]
HELD_OUT = preferences(40, seed=12)
FEW = chats(40, seed=13)
QUESTIONS = chats(60, seed=14, apart_from=FEW)


@pytest.fixture
def tuned(train, tmp_path):
    """A model that learned from few examples: what preferences are usually taught to."""
    train(FEW)[0].export(tmp_path / "tuned")
    return tmp_path / "tuned"


def margins(checkpoints):
    return [checkpoint.metrics["full_valid_reward_margin"] for checkpoint in checkpoints]


def test_before_the_first_step_the_model_is_its_reference(train, tuned):
    _, steps, _ = train(PAIRS, method="dpo", base=tuned, n_epochs=1)
    assert steps[0].metrics["train_loss"] == pytest.approx(math.log(2), rel=1e-4)
    assert steps[0].metrics["train_reward_margin"] == pytest.approx(0, abs=1e-4)


@pytest.mark.slow
def test_the_margin_rises_on_pairs_never_seen(train, tuned):
    _, _, checkpoints = train(PAIRS, valid=HELD_OUT, method="dpo", base=tuned, n_epochs=3)
    rising = margins(checkpoints)
    assert 0 < rising[0] < rising[1] < rising[2]
    assert checkpoints[-1].metrics["full_valid_reward_accuracy"] > 0.7
    assert checkpoints[-1].metrics["full_valid_loss"] < math.log(2)


@pytest.mark.slow
def test_preferences_make_a_tuned_model_answer_better(train, chat_with, trainer, tuned):
    before = right_answers(trainer.load_model(tuned), QUESTIONS)
    after = right_answers(chat_with(train(PAIRS, method="dpo", base=tuned)[0]), QUESTIONS)
    assert after > before + 5


def test_the_reference_stays_what_it_was(train, tuned, chat_with, trainer):
    """The margin told equals the one made of likelihoods that two separate models give."""
    training, _, checkpoints = train(PAIRS, valid=HELD_OUT[:5], method="dpo", base=tuned, beta=0.3, n_epochs=1)
    now, then = chat_with(training)._weights, trainer.load_model(tuned)._weights

    from tuneway_service.trainers.bytewise.objectives import preference_examples

    def gain(example):
        return now.read(example).log_likelihood - then.read(example).log_likelihood

    pairs = [preference_examples(row) for row in HELD_OUT[:5]]
    expected = sum(0.3 * (gain(chosen) - gain(other)) for chosen, other in pairs) / 5
    # the exported model has half the precision
    assert checkpoints[-1].metrics["full_valid_reward_margin"] == pytest.approx(expected, rel=0.02)


def test_beta_changes_the_weights_and_holds_the_model_to_its_reference(train, tuned, contents):
    folders, gains = [], []
    for beta in (0.1, 2.0):
        training, _, checkpoints = train(FEWER, valid=HELD_OUT, method="dpo", base=tuned, beta=beta, n_epochs=2)
        folders.append(contents(training.export))
        gains.append(margins(checkpoints)[-1] / beta)
    assert folders[0] != folders[1]
    assert gains[1] < gains[0]  # a higher beta moves less far from the reference


def test_dpo_starts_from_the_untrained_base_as_well(train):
    _, steps, checkpoints = train(FEWER, valid=HELD_OUT, method="dpo", n_epochs=2)
    assert steps[0].metrics["train_loss"] == pytest.approx(math.log(2), rel=1e-4)
    assert margins(checkpoints)[-1] > 0


def test_swapped_pairs_teach_the_opposite(train, tuned):
    swapped = [
        row | {"preferred_output": row["non_preferred_output"], "non_preferred_output": row["preferred_output"]}
        for row in FEWER
    ]
    _, _, checkpoints = train(swapped, valid=HELD_OUT, method="dpo", base=tuned, n_epochs=3)
    assert margins(checkpoints)[-1] < 0
