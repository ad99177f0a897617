"""What grades a reinforcement job: vetted when the job is made, run by the worker, its models asked over HTTP."""

from __future__ import annotations

import json

import pytest
from support.receiver import receiver

from tuneway.drivers import Driver
from tuneway.errors import InvalidSpec, MissingExtra
from tuneway.models import Reinforcement
from tuneway_service.catalogue import Catalogue
from tuneway_service.folder import kept_checkpoints
from tuneway_service.refusals import Refusal
from tuneway_service.response_format import AnswerForm
from tuneway_service.rewards import grader_of
from tuneway_service.routes.models import cards_of
from tuneway_service.settings import GRADER_KEY, Settings
from tuneway_service.store.records import JobBody
from tuneway_service.trainers import found_here, make_trainer
from tuneway_service.trainers.hf import smol

CHECK = {"type": "string_check", "name": "exact", "input": "{{sample.output_text}}",
         "reference": "{{item.answer}}", "operation": "eq"}  # fmt: skip
JUDGE = {"type": "score_model", "name": "judge", "model": "wise",
         "input": [{"role": "user", "content": "Rate {{sample.output_text}} for {{item.answer}}"}]}  # fmt: skip
CODE = {"type": "python", "name": "code", "source": "def grade(sample, item): return len(sample['output_text'])"}


def job(grader, *, python=False, url=None):
    return {"grader": grader, "python_graders": python, "grader_url": url}


@pytest.fixture
def wise():
    """A model behind an address: gives 0.25, and notes what it was sent."""
    with receiver(reply=b'{"choices": [{"message": {"content": "I say 0.25"}}]}') as there:
        yield there


def test_an_answer_is_graded_against_its_row():
    grade = grader_of(job(CHECK))
    assert grade({"answer": "yes"}, "yes").reward == 1.0
    assert grade({"answer": "yes"}, "no").reward == 0.0


def test_a_model_that_grades_is_asked_where_it_is_with_the_key_of_the_environment(wise, monkeypatch):
    monkeypatch.setenv(GRADER_KEY, "sk-grader")
    grade = grader_of(job(JUDGE, url=f"{wise.url}/v1"))
    assert grade({"answer": "yes"}, "maybe").reward == 0.25
    (heard,) = wise.deliveries
    assert heard.path.endswith("/v1/chat/completions")
    assert heard.headers["authorization"] == "Bearer sk-grader"
    body = json.loads(heard.body)
    assert (body["model"], body["messages"][0]["content"]) == ("wise", "Rate maybe for yes")


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (b'{"prompt_tokens": 30, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 20}}', (30, 4, 20)),
        (b'{"prompt_tokens": 30}', (30, 0, 0)),
        (b'"odd"', (0, 0, 0)),
        (b"null", (0, 0, 0)),
    ],
)
def test_the_tokens_of_a_model_that_grades_are_counted_as_its_service_says(usage, counts):
    reply = b'{"choices": [{"message": {"content": "I say 0.25"}}], "usage": ' + usage + b"}"
    with receiver(reply=reply) as there:
        (part,) = grader_of(job(JUDGE, url=f"{there.url}/v1"))({"answer": "yes"}, "maybe").parts
    assert (part.tokens.prompt, part.tokens.completion, part.tokens.cached) == counts
    assert part.tokens == counts[0] + counts[1]
    assert (part.name, part.type, part.model, part.reward) == ("judge", "score_model", "wise", 0.25)


def test_a_model_that_cannot_be_asked_is_an_error_of_the_grading_and_not_of_the_worker(monkeypatch):
    monkeypatch.setitem(Driver.__init__.__kwdefaults__, "sleep", lambda _seconds: None)
    grading = grader_of(job(JUDGE, url="http://127.0.0.1:9/v1"))({"answer": "yes"}, "maybe")
    assert grading.reward == 0.0
    assert "model_grader_server_error" in grading.errors


def test_code_grades_where_it_is_allowed():
    assert grader_of(job(CODE, python=True))({}, "four").reward == 4.0


# when the job is made


def catalogue(tmp_path, **options):
    return Catalogue(Settings(data_dir=tmp_path, **options))


@pytest.mark.parametrize(
    ("grader", "options", "more", "words"),
    [
        (CODE, {}, {}, "--allow-python-graders"),
        (JUDGE, {"token": "secret"}, {}, GRADER_KEY),
        (
            {"type": "multi", "name": "m", "graders": {"a": JUDGE}, "calculate_output": "a"},
            {"token": "t"},
            {},
            GRADER_KEY,
        ),
        ({"type": "multi", "name": "m", "graders": {"a": CHECK}, "calculate_output": "b"}, {}, {}, "not among the"),
    ],
)
def test_what_cannot_grade_here_is_refused(tmp_path, grader, options, more, words):
    with pytest.raises(Refusal, match=words):
        catalogue(tmp_path, **options).vet_reinforcement(Reinforcement(grader=grader, **more))


def test_what_can_grade_here_is_not(tmp_path, monkeypatch):
    catalogue(tmp_path, allow_python_graders=True).vet_reinforcement(Reinforcement(grader=CODE))
    catalogue(tmp_path).vet_reinforcement(Reinforcement(grader=JUDGE, response_format={"type": "text"}))
    elsewhere = catalogue(tmp_path, token="t", grader_url="https://example.com/v1")
    elsewhere.vet_reinforcement(Reinforcement(grader=JUDGE))
    monkeypatch.setenv(GRADER_KEY, "sk")
    catalogue(tmp_path, token="t").vet_reinforcement(Reinforcement(grader=JUDGE))


def test_the_address_of_graders_must_be_one(tmp_path):
    with pytest.raises(InvalidSpec, match="is not an address"):
        Settings(data_dir=tmp_path, grader_url="example.com")


# the form of answers

SCHEMA = {"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"],
          "additionalProperties": False}  # fmt: skip
OWN_JSON = CHECK | {"input": "{{sample.output_json.label}}"}


def form(schema=SCHEMA, **more):
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema} | more}


def test_an_answer_in_the_form_is_graded_by_its_json():
    grade = grader_of(job(OWN_JSON) | {"response_format": form(strict=True)})
    assert grade({"answer": "yes"}, ' {"label": "yes"}').reward == 1.0
    assert grade({"answer": "yes"}, '{"label": "no"}').reward == 0.0


@pytest.mark.parametrize(
    "answer", ["yes", "", '{"label": 1}', '{"label": "yes", "more": 1}', "[" * 2000, '["label"]', '{"label": "yes"'],
    ids=lambda answer: answer[:20],
)  # fmt: skip
def test_an_answer_without_the_form_has_no_reward_and_the_grader_is_not_at_fault(answer):
    grading = grader_of(job(CHECK | {"operation": "ne"}) | {"response_format": form()})({"answer": "yes"}, answer)
    assert (grading.reward, grading.errors.keys()) == (0.0, {"sample_parse_error"})
    assert "yes" not in grading.errors["sample_parse_error"]


def test_a_pattern_is_matched_in_linear_time():
    schema = {"type": "object", "properties": {"label": {"type": "string", "pattern": "^(a+)+$"}}}
    form_ = AnswerForm.of(form(schema))

    assert form_.wrong(json.dumps({"label": "a" * 100_000})) is None
    assert form_.wrong(json.dumps({"label": "a" * 100_000 + "!"})) == (
        "the answer doesn't fit the schema at properties/label/pattern"
    )


def test_any_object_will_do_where_the_form_is_a_json_object():
    grade = grader_of(job(OWN_JSON) | {"response_format": {"type": "json_object"}})
    assert grade({"answer": "yes"}, '{"label": "yes", "more": 1}').reward == 1.0
    assert grade({"answer": "yes"}, "[1]").errors.keys() == {"sample_parse_error"}


@pytest.mark.parametrize(
    "asked",
    [
        {"type": "text"},
        {"type": "json_object"},
        form(),
        form(strict=True, description="What it is."),
        form({"type": "object", "$defs": {"a": {"type": "integer"}}, "properties": {"n": {"$ref": "#/$defs/a"}}}),
    ],
)
def test_a_form_is_taken_and_reaches_the_worker(tmp_path, asked):
    method = Reinforcement(grader=CHECK, response_format=asked)
    made = catalogue(tmp_path)
    made.vet_reinforcement(method)
    body = JobBody(model="m", training_file="f", method=method.model_dump(mode="json"), seed=1)
    assert made._grading(body)["response_format"] == asked


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, ""),
        ({"type": "json_schema"}, ".json_schema"),
        ({"type": "xml"}, ""),
        ({"type": "text", "more": 1}, ".more"),
        ({"type": "json_schema", "json_schema": {"schema": SCHEMA}}, ".json_schema.name"),
        ({"type": "json_schema", "json_schema": {"name": "answer"}}, ".json_schema.schema"),
        (form(name="no blanks"), ".json_schema.name"),
        (form(strict="yes"), ".json_schema.strict"),
        (form("AAA"), ".json_schema.schema"),
        (form({"type": "array"}), ".json_schema.schema"),
        (form({}), ".json_schema.schema"),
        (form({"type": "object", "properties": {"a": {"type": "text"}}}), ".json_schema.schema"),
        (form({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}), ".json_schema.schema"),
        (form({"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)x"}}}), ".json_schema.schema"),
        (form({"type": "object", "patternProperties": {"^a": {}}}), ".json_schema.schema"),
        (form({"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}}), ".json_schema.schema"),
        (form({"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/x"}}}), ".json_schema.schema"),
        (form({"type": "object", "properties": {"a": {"$dynamicRef": "#none"}}}), ".json_schema.schema"),
        (form({"type": "object", "properties": {"a": {"$ref": "#/type"}}}), ".json_schema.schema"),
        (form({"type": "object", "maxProperties": 5, "properties": {"a": {"$ref": "#/maxProperties"}}}),
         ".json_schema.schema"),
        (form({"type": "object", "const": {"type": "text"}, "properties": {"a": {"$ref": "#/const"}}}),
         ".json_schema.schema"),
        (form({"type": "object", "properties": {"a": {}}}, strict=True), ".json_schema.schema"),
        (form({"type": "object", "additionalProperties": False, "properties": {"a": {}}}, strict=True),
         ".json_schema.schema"),
        (form({"type": "object", "description": "x" * 200_000}), ".json_schema.schema"),
        (form(json.loads('{"type": "object", "not": ' * 60 + "{}" + "}" * 60)), ".json_schema.schema"),
    ],
)  # fmt: skip
def test_a_form_that_is_none_is_refused_by_name(tmp_path, asked, field):
    with pytest.raises(Refusal) as caught:
        catalogue(tmp_path).vet_reinforcement(Reinforcement(grader=CHECK, response_format=asked))
    assert caught.value.param == f"method.reinforcement.response_format{field}"


# which checkpoints stay


def test_the_newest_three_checkpoints_stay_or_the_best_three_by_reward():
    assert kept_checkpoints({step: {"full_valid_loss": 1.0} for step in (5, 10, 15, 20)}) == {10, 15, 20}
    rewards = {5: 0.9, 10: 0.1, 15: 0.5, 20: 0.5, 25: 0.2}
    assert kept_checkpoints({step: {"full_valid_mean_reward": reward} for step, reward in rewards.items()}) == {
        5, 15, 20,
    }  # fmt: skip


# names of models and trainers


def test_a_name_may_stand_for_another_name(tmp_path):
    assert catalogue(tmp_path, models={"small": "bytes", "gpt-4o-mini": "small"}).bases["gpt-4o-mini"] == "bytes"


def test_without_the_weights_the_model_is_not_offered_and_asking_for_it_says_how_to_have_it(monkeypatch):
    monkeypatch.setattr(smol, "PACKAGE", "no-such-package")
    assert found_here() == {"bytes": "bytes"}
    with pytest.raises(MissingExtra, match="pip install"):
        make_trainer("smol")


def test_a_folder_that_holds_no_model_is_refused(tmp_path):
    with pytest.raises((InvalidSpec, MissingExtra), match=r"not a model that can be trained|needs PyTorch"):
        make_trainer(str(tmp_path))


def test_models_whose_base_is_gone_are_still_listed(tmp_path):
    class Stage:
        catalogue = catalogue(tmp_path)

    card = cards_of(Stage, {"hf:/no/such/folder", "bytes"})["hf:/no/such/folder"]
    assert card["trainer"] == "hf:/no/such/folder"
    assert "can't be used here now" in card["summary"]
