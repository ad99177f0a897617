"""The fields of a job, as requests carry them: those of a job specification, with the same limits."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from pydantic import BaseModel, ValidationError

from tuneway.errors import InvalidSpec
from tuneway.models import JobSpec
from tuneway_service.bodies import CreateJob, ValidateGrader, check
from tuneway_service.refusals import Refusal

NEEDED: dict[str, Any] = {"model": "m", "training_file": "file-1", "validation_file": "file-2"}
WANDB = {"type": "wandb", "wandb": {"project": "p"}}


def accepts(kind: type[BaseModel], **fields: Any) -> bool:
    try:
        kind.model_validate(NEEDED | fields)
    except (ValidationError, InvalidSpec):
        return False
    return True


def test_a_request_may_have_the_fields_of_a_job_specification_and_the_number_of_gpus():
    assert CreateJob.model_fields.keys() == JobSpec.model_fields.keys() - {"extra_body"} | {"gpus"}


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("model", "m", ""),
        ("seed", 2**31 - 1, 2**31),
        ("suffix", "x" * 64, "x" * 65),
        ("metadata", {str(n): "v" for n in range(16)}, {str(n): "v" for n in range(17)}),
        ("metadata", {"k" * 64: "v" * 512}, {"k" * 65: "v"}),
        ("integrations", [WANDB] * 5, [WANDB] * 6),
        ("hyperparameters", {"batch_size": 256}, {"batch_size": 257}),
        ("hyperparameters", {"n_epochs": 50}, {"n_epochs": 51}),
        ("method", {"type": "dpo", "dpo": {"hyperparameters": {"beta": 2}}}, {"type": "dpo", "dpo": {"beta": 2.1}}),
        ("method", {"type": "supervised"}, {"type": "reinforcement"}),
    ],
)
def test_a_field_has_the_same_limits_in_both(field, good, bad):
    assert accepts(JobSpec, **{field: good})
    assert accepts(CreateJob, **{field: good})
    assert not accepts(JobSpec, **{field: bad})
    assert not accepts(CreateJob, **{field: bad})


def test_only_a_request_may_have_metadata_under_any_name():
    """The marks by which a job is found again travel as metadata."""
    assert accepts(CreateJob, metadata={"tuneway_key": "v"})
    assert not accepts(JobSpec, metadata={"tuneway_key": "v"})


SAME = {"type": "string_check", "name": "same", "input": "a", "reference": "b", "operation": "eq"}
SAID = {"role": "user", "content": [{"type": "input_text", "text": "Rate it."}]}
JUDGE = {"type": "score_model", "name": "judge", "model": "m", "input": [SAID]}
THRESHOLD = {"pass_threshold": 0.5, "range": [0, 1.5]}
SAMPLING = {"temperature": 1, "top_p": 0.5, "seed": 42, "max_completions_tokens": 9, "reasoning_effort": "low"}


def multi(**graders: Any) -> dict[str, Any]:
    return {"type": "multi", "name": "both", "graders": graders, "calculate_output": "a"}


@pytest.mark.parametrize(
    "grader", [SAME, JUDGE, JUDGE | THRESHOLD | {"sampling_params": SAMPLING}, multi(a=SAME, b=JUDGE)]
)
def test_a_grader_of_the_guide_is_taken(grader):
    assert check({"grader": grader}, ValidateGrader).grader.name == grader["name"]


@pytest.mark.parametrize(
    ("grader", "param"),
    [
        (SAME | {"colour": "red"}, "grader.colour"),
        (JUDGE | {"pass_threshold": "1"}, "grader.pass_threshold"),
        (JUDGE | {"range": [0, True]}, "grader.range.1"),
        (JUDGE | {"range": ["0", 1]}, "grader.range.0"),
        (JUDGE | {"sampling_params": {"colour": "red"}}, "grader.sampling_params.colour"),
        (JUDGE | {"sampling_params": {"temperature": "1"}}, "grader.sampling_params.temperature"),
        (JUDGE | {"input": [SAID | {"colour": "red"}]}, "grader.input.0.colour"),
        (JUDGE | {"input": [SAID | {"type": "text"}]}, "grader.input.0.type"),
        (
            JUDGE | {"input": [SAID | {"content": {"type": "input_text", "text": "a", "colour": "red"}}]},
            "grader.input.0.content.colour",
        ),
        (multi(a=SAME | {"colour": "red"}), "grader.graders.a.colour"),
    ],
)
def test_what_a_grader_does_not_have_is_refused_by_name(grader, param):
    method = {"type": "reinforcement", "reinforcement": {"grader": grader}}
    for body, kind, before in (
        ({"grader": grader}, ValidateGrader, ""),
        (NEEDED | {"method": method}, CreateJob, "method.reinforcement."),
    ):
        with pytest.raises(Refusal) as caught:
            check(body, kind)
        assert caught.value.param == before + param


@pytest.mark.parametrize("other", [{}, "AAA", {"hyperparameters": {"beta": 0.1}}])
def test_the_settings_of_another_method_are_refused_where_they_stand(other):
    with pytest.raises(Refusal) as caught:
        check(NEEDED | {"method": {"type": "supervised", "supervised": {}, "dpo": other}}, CreateJob)
    assert caught.value.param == "method.dpo"


@pytest.fixture
def raw(service):
    with httpx.Client(base_url=service.base_url) as http:
        yield http


@pytest.mark.parametrize("levels", [101, 5000, 100_000])
@pytest.mark.parametrize(
    ("start", "param"),
    [
        ('{"model": "m", "method": {"[{": "]}", "a": ', "method"),
        ('{"model": "hyper\\"[", "hyperparameters": ', "hyperparameters"),
        ("", None),
    ],
)
def test_a_body_that_is_nested_too_deeply_is_refused_by_its_field(raw, start, param, levels):
    closing = "}" * start.replace('"[{"', "").replace('"]}"', "").count("{")
    reply = raw.post("/fine_tuning/jobs", content=start + "[" * levels + "]" * levels + closing)
    error = reply.json()["error"]
    assert (reply.status_code, (error["param"] or "").split(".")[0]) == (400, param or "")
    assert error["code"] == "invalid_value" if param else error["param"] is None
    assert "valid JSON" not in error["message"]
