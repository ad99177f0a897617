"""The mathematics, checked against what it claims to be."""

from __future__ import annotations

import numpy as np
import pytest
from support.support_chats import chats

from tuneway_service.trainers.bytewise.features import END, Past, blocks, read_cues
from tuneway_service.trainers.bytewise.objectives import BytesPreference, supervised, supervised_examples
from tuneway_service.trainers.bytewise.weights import AdaGrad, BytesExample, Weights
from tuneway_service.trainers.conversation import prompt_context
from tuneway_service.trainers.metric_sums import MetricSums

EXAMPLES = [example for row in chats(12, seed=31) for example in supervised_examples(row)]
SEEN = {symbol for example in EXAMPLES for symbol in example.symbols.tolist()}


def example_of(prompt: str, text: bytes) -> BytesExample:
    return BytesExample(read_cues(prompt_context(prompt)), np.array([*text, END]))


def some_steps(weights: Weights) -> Weights:
    optimiser = AdaGrad(weights.table.shape[1])
    for _ in range(3):
        for example in EXAMPLES:
            optimiser.add(weights.read(example))
            optimiser.step(weights, 0.3)
    return weights


def test_probabilities_of_all_symbols_add_up_to_one():
    weights = some_steps(Weights(SEEN))
    for _, block in blocks(EXAMPLES[0].cues, EXAMPLES[0].symbols):
        each = np.exp(weights.log_probabilities(block))[:, weights.columns]
        assert each.shape[1] == 257
        assert each.sum(axis=1) == pytest.approx(1, abs=1e-4)


def test_one_column_for_all_unseen_symbols_loses_nothing():
    narrow, full = some_steps(Weights(SEEN)), some_steps(Weights(range(257)))
    assert narrow.table.shape[1] < 40 < full.table.shape[1]
    foreign = example_of("Where is my parcel", "Übergröße".encode())
    for example in (*EXAMPLES, foreign):
        assert narrow.read(example).log_likelihood == pytest.approx(full.read(example).log_likelihood, rel=1e-3)


def test_widening_the_alphabet_changes_no_probability():
    weights = some_steps(Weights(SEEN))
    wider = weights.widened("Größe".encode())
    example = example_of("Where is my parcel", "Größe, billing".encode())
    assert wider.read(example).log_likelihood == pytest.approx(weights.read(example).log_likelihood, rel=1e-5)
    assert wider.table is not weights.table


def supervised_loss(weights, optimiser=None):
    sums = MetricSums()
    supervised(weights, EXAMPLES[:2], sums, optimiser)
    return sums.loss


def preference_loss(weights, optimiser=None):
    sums = MetricSums()
    BytesPreference(REFERENCE, beta=0.3)(weights, EXAMPLES[:2], sums, optimiser)
    return sums.loss


REFERENCE = Weights(SEEN)


@pytest.mark.parametrize("loss", [supervised_loss, preference_loss])
def test_the_gradient_is_that_of_the_loss(loss):
    weights = some_steps(Weights(SEEN))
    weights.table = weights.table.astype(np.float64)  # differences need the digits
    optimiser = AdaGrad(weights.table.shape[1])
    loss(weights, optimiser)
    gradient = optimiser._gradient
    rows = np.flatnonzero(np.abs(gradient).max(axis=1) > 1e-3)
    assert len(rows) > 20
    for row in np.random.default_rng(0).choice(rows, 20):
        for column in (int(np.abs(gradient[row]).argmax()), gradient.shape[1] - 1):
            before = weights.table[row, column]
            weights.table[row, column] = before + 1e-4
            up = loss(weights)
            weights.table[row, column] = before - 1e-4
            down = loss(weights)
            weights.table[row, column] = before
            # the last column's gradient is that of each of its symbols
            expected = gradient[row, column] * weights.symbols_of_column[column]
            assert (up - down) / 2e-4 == pytest.approx(expected, rel=0.02, abs=1e-5)


def test_answering_sees_the_same_features_as_learning():
    text = b"a rather long answer, longer than the longest n-gram and than a block of positions. " * 8
    example = example_of("Anything", text)
    past = Past()
    for part, block in blocks(example.cues, example.symbols):
        for offset, position in enumerate(range(part.start, part.stop)):
            now = past.block(example.cues)
            assert np.array_equal(now.rows[0], block.rows[offset])
            assert np.array_equal(now.scales, block.scales)
            past.append(int(example.symbols[position]))


def test_a_message_speaks_no_louder_for_being_long():
    short, long = (read_cues(prompt_context(" ".join(f"word{n}" for n in range(size)))) for size in (3, 100))
    assert len(long.hashes) > 10 * len(short.hashes)
    assert np.square(long.scales).sum() == pytest.approx(np.square(short.scales).sum(), rel=1e-5)


def test_features_are_pinned_since_saved_models_depend_on_them():
    """When this fails on purpose, raise `features.VERSION`: old models mean nothing to the new features."""
    (_, block), *_ = blocks(read_cues(prompt_context("Où est mon colis?")), np.array([*b"ab", END]))
    assert block.rows[1].tolist()[:8] == PINNED_N_GRAMS
    assert int(block.rows.astype(np.int64).sum()) == PINNED_SUM


PINNED_N_GRAMS = [0, 7795, 6500, 15428, 4305, 15745, 3065, 10468]
PINNED_SUM = 1405590
