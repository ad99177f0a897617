"""What gates say, and what they are said on."""

from __future__ import annotations

import pytest
from support.registries import make_record

from tuneway.errors import InvalidSpec
from tuneway.registry import Gate, NoWorseThanChampion, Verdict
from tuneway.registry.evaluate import Evaluation, Score
from tuneway.registry.gates import judge

LOSS = "full_valid_loss"


def loss(value, **changes):
    return make_record("router", metrics={LOSS: value}, **changes)


@pytest.mark.parametrize(
    ("gate", "passed"),
    [
        (Gate(LOSS, max=0.5), True),
        (Gate(LOSS, max=0.49), False),
        (Gate(LOSS, min=0.5), True),
        (Gate(LOSS, min=0.51), False),
        (Gate(LOSS, min=0.1, max=0.9), True),
        (Gate("accuracy", min=0.1), False),
    ],
)
def test_a_bound_holds_where_it_says(gate, passed):
    verdict = gate(loss(0.5), None)
    assert verdict.passed is passed
    if gate.metric == LOSS:
        assert verdict.numbers[LOSS] == 0.5


def test_a_missing_metric_is_refused_and_named():
    verdict = Gate("accuracy", min=0.1)(loss(0.5), None)
    assert "no metric accuracy; it has: full_valid_loss" in verdict.why


@pytest.mark.parametrize("bounds", [{}, {"max": float("nan")}])
def test_a_gate_that_bounds_nothing_is_refused(bounds):
    with pytest.raises(InvalidSpec, match="has no bound"):
        Gate(LOSS, **bounds)


@pytest.mark.parametrize(
    ("ours", "theirs", "tolerance", "passed"),
    [(0.5, 0.5, 0, True), (0.51, 0.5, 0, False), (0.51, 0.5, 0.02, True), (0.4, 0.5, 0, True)],
)
def test_a_candidate_must_be_no_worse_than_the_champion(ours, theirs, tolerance, passed):
    verdict = NoWorseThanChampion(LOSS, tolerance=tolerance)(loss(ours), loss(theirs, version=4))
    assert verdict.passed is passed
    assert verdict.compared_with == 4
    assert verdict.numbers == {"candidate": ours, "champion": theirs, "tolerance": tolerance}


def test_a_higher_accuracy_is_better():
    better, worse = (make_record("router", metrics={"valid_mean_token_accuracy": value}) for value in (0.9, 0.8))
    gate = NoWorseThanChampion("valid_mean_token_accuracy")
    assert gate(better, worse).passed
    assert not gate(worse, better).passed


def test_which_way_is_better_must_be_known():
    with pytest.raises(InvalidSpec, match="whether a lower or a higher 'bleu' is better"):
        NoWorseThanChampion("bleu")
    bleu = [make_record("router", metrics={"bleu": value}) for value in (30.0, 20.0)]
    assert NoWorseThanChampion("bleu", lower_is_better=False)(*bleu).passed


def test_a_negative_tolerance_is_refused():
    with pytest.raises(InvalidSpec, match="negative"):
        NoWorseThanChampion(LOSS, tolerance=-0.1)


def test_the_first_candidate_has_no_champion_to_be_compared_with():
    assert NoWorseThanChampion(LOSS)(loss(9.0), None).passed


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"trainer": "smol"}, "trainer differs: smol here, bytes for the champion"),
        ({"method": "dpo"}, "method differs: dpo here"),
        ({"grader_sha256": "a" * 64}, "grader differs"),
        ({"validation": {"id": "file-2", "sha256": "b" * 64}}, "validation data differs"),
        ({"validation": {"id": "file-2"}}, "validation data differs: unknown here"),
        ({"validation": None}, "validation data differs"),
        ({"trainer": None, "base_model": "gpt-4.1"}, "trainer differs: gpt-4.1 here, bytes"),
        ({"metrics": {}}, "has no metric full_valid_loss"),
    ],
)
def test_what_can_not_be_compared_is_refused_and_says_why(changes, why):
    candidate = make_record("router", **({"metrics": {LOSS: 0.1}} | changes))
    verdict = NoWorseThanChampion(LOSS)(candidate, loss(0.5))
    assert not verdict.passed
    assert verdict.why.startswith("not compared: ")
    assert why in verdict.why
    waved = NoWorseThanChampion(LOSS, if_incomparable="pass")(candidate, loss(0.5))
    assert waved.passed
    assert why in waved.why


@pytest.mark.parametrize("validation", [None, {"id": "file-valid"}])
def test_two_unknowns_are_not_the_same(validation):
    pair = loss(0.1, validation=validation), loss(0.5, validation=validation)
    assert not NoWorseThanChampion(LOSS)(*pair).passed


def test_a_service_that_does_not_name_its_trainer_is_one_trainer_per_base_model():
    def from_service(value, base):
        return loss(value, trainer=None, base_model=base, service_url="https://api.example/v1")

    assert NoWorseThanChampion(LOSS)(from_service(0.4, "gpt-4.1"), from_service(0.5, "gpt-4.1")).passed
    assert not NoWorseThanChampion(LOSS)(from_service(0.4, "gpt-4.1"), from_service(0.5, "gpt-4o")).passed


def evaluation(base, tuned):
    return Evaluation(
        base=Score(model="base", score=base),
        tuned=Score(model="tuned", score=tuned),
        questions=10, better=1, worse=2, scored_by="exact", sha256="c" * 64,
    )  # fmt: skip


def test_a_function_can_be_a_gate_with_a_bool_a_verdict_or_an_evaluation():
    def polite(candidate, champion):
        return candidate.seed == champion.seed

    def evaluated(candidate, champion):
        return evaluation(0.5, 0.7)

    given = Verdict(gate="mine", passed=False, why="no")
    verdicts = judge([polite, evaluated, lambda candidate, champion: given], loss(1.0, seed=1), loss(1.0, seed=2))
    assert [(verdict.gate, verdict.passed) for verdict in verdicts] == [
        ("polite", False),
        ("evaluated", True),
        ("mine", False),
    ]
    assert verdicts[1].numbers["tuned"] == 0.7
    assert not evaluation(0.7, 0.5).verdict().passed


def test_a_gate_that_returns_another_type_is_refused():
    with pytest.raises(InvalidSpec, match="returned float"):
        judge([lambda candidate, champion: 0.7], loss(1.0), None)  # type: ignore[list-item, return-value]
