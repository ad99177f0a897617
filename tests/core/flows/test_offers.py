"""What a service doesn't offer is refused before any request, by the field's name and the service's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tuneway import InvalidSpec, JobSpec, Recipe
from tuneway.flows import Account, Offers

LITTLE = Offers(
    methods=frozenset({"supervised"}), pause=False, resume=False, metadata=False, seed=False,
    integrations=frozenset(), suffix=8, rate="absolute",
)  # fmt: skip
WANDB = {"type": "wandb", "wandb": {"project": "p"}}
GRADER = {
    "type": "string_check", "name": "same", "operation": "eq", "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
}  # fmt: skip


def supervised(**hyperparameters: Any) -> dict[str, Any]:
    return {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("method", {"method": {"type": "dpo"}}),
    ("method", {"method": {"type": "reinforcement", "grader": GRADER}, "validation_file": "file-2"}),
    ("method", {"extra_body": {"method": {"type": "dpo"}}}),
    ("seed", {"seed": 0}),
    ("seed", {"extra_body": {"seed": 7}}),
    ("metadata", {"metadata": {"team": "support"}}),
    ("integrations", {"integrations": [WANDB]}),
    ("suffix", {"suffix": "nine-long"}),
    ("learning_rate_multiplier", {"method": supervised(learning_rate_multiplier=2.0)}),
    ("learning_rate_multiplier", {"hyperparameters": {"learning_rate_multiplier": 2.0}}),
    ("learning_rate_multiplier", {"extra_body": {"method": supervised(learning_rate_multiplier=2.0)}}),
]
NAMES = [f"{field}-{number}" for number, (field, _) in enumerate(REFUSED)]
each_refused = pytest.mark.parametrize(("field", "fields"), REFUSED, ids=NAMES)


@each_refused
def test_a_submission_of_what_the_service_does_not_offer_sends_nothing(stage, field, fields):
    stage.account = Account(offers=LITTLE, service="little")
    with pytest.raises(InvalidSpec, match=f"^{field}: little ") as caught:
        stage.submit(spec=JobSpec(**{"model": "m", "training_file": "file-1"} | fields))
    assert caught.value.field == field
    assert stage.service.log == []


@each_refused
def test_a_service_that_offers_what_openai_offers_takes_it(field, fields):
    assert field
    Offers().check(JobSpec(**{"model": "m", "training_file": "file-1"} | fields), service="openai")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"suffix": "eight-la"},
        {"metadata": {}},
        {"integrations": []},
        {"method": supervised(n_epochs=2, learning_rate=1e-5)},
        {"method": supervised(learning_rate_multiplier="auto")},
        {"extra_body": {"seed": None, "theirs": 1}},
    ],
)
def test_what_the_service_offers_passes(fields):
    LITTLE.check(JobSpec(**{"model": "m", "training_file": "file-1"} | fields), service="little")


@pytest.mark.parametrize(
    "fields",
    [
        {"method": supervised(learning_rate=1e-5)},
        {"hyperparameters": {"learning_rate": 1e-5}},
        {"extra_body": {"method": supervised(learning_rate=1e-5)}},
    ],
)
def test_a_learning_rate_is_refused_where_the_service_takes_a_multiplier(fields):
    spec = JobSpec(**{"model": "m", "training_file": "file-1"} | fields)
    with pytest.raises(InvalidSpec, match=r"^learning_rate: openai takes a multiplier") as caught:
        Offers().check(spec, service="openai")
    assert caught.value.field == "learning_rate"
    Offers(rate="absolute").check(spec, service="little")


def test_a_service_without_suffixes_says_so():
    spec = JobSpec(model="m", training_file="file-1", suffix="x")
    with pytest.raises(InvalidSpec, match="little takes no suffix"):
        Offers(suffix=0).check(spec, service="little")


def test_a_recipe_is_checked_as_a_specification_is(tmp_path):
    recipe = Recipe(model="m", training_data=tmp_path / "absent.jsonl", seed=1)
    with pytest.raises(InvalidSpec, match="seed: little takes no seed"):
        LITTLE.check(recipe, service="little")


@pytest.mark.parametrize("action", ["pause", "resume"])
def test_an_action_that_is_not_offered_is_refused(action):
    with pytest.raises(InvalidSpec, match=f"little can't {action} a job"):
        LITTLE.check_action(action, service="little")
    Offers().check_action(action, service="openai")


def test_what_is_offered_is_plain_json():
    offers = Offers(row_keys={"chat": frozenset({"tools", "messages"})})
    assert json.loads(json.dumps(offers.as_json()))["row_keys"] == {"chat": ["messages", "tools"]}
