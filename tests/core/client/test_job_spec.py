"""A job specification: every limit of the contract, every field of the `openai` package, mistakes that are named."""

from __future__ import annotations

import json
import pickle
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from openai.types import graders as their_graders
from openai.types.fine_tuning import (
    dpo_hyperparameters_param,
    dpo_method_param,
    job_create_params,
    reinforcement_hyperparameters_param,
    reinforcement_method_param,
    supervised_hyperparameters_param,
    supervised_method_param,
)
from pydantic import BaseModel, ValidationError

from tuneway import DPO, File, InvalidSpec, JobSpec, Reinforcement, Supervised, models
from tuneway.models import (
    DPOHyperparameters,
    Hyperparameters,
    ReinforcementHyperparameters,
    StringCheckGrader,
)

BASE = {"model": "gpt-4o-mini", "training_file": "file-1"}
CHECK = {"type": "string_check", "name": "same", "input": "{{item.a}}", "reference": "b", "operation": "eq"}
NAMELESS = {"type": "python", "name": "", "source": "x"}
MANY = 1_000_000


def spec(**fields: Any) -> JobSpec:
    return JobSpec(**(BASE | fields))


def reinforcement(**fields: Any) -> dict[str, Any]:
    return {"method": Reinforcement(grader=CHECK, **fields), "validation_file": "file-2"}


# --- The limits. ---

WANDB = {"type": "wandb", "wandb": {"project": "p"}}

KNOBS: list[tuple[str, list[Any], list[Any]]] = [
    ("batch_size", ["auto", None, 1, 256], [0, -1, 257, 1.5, "large", float("nan")]),
    ("n_epochs", ["auto", None, 1, 50], [0, -1, 51, 2.5, "many"]),
    ("learning_rate_multiplier", ["auto", None, 1e-9, 2, MANY], [0, -1, float("inf"), float("nan"), "fast"]),
]
REINFORCEMENT_KNOBS: list[tuple[str, list[Any], list[Any]]] = [
    *KNOBS,
    ("reasoning_effort", ["default", "low", "medium", "high", None], ["huge", "", 5]),
    ("compute_multiplier", ["auto", None, 0.00002, 10], [0.00001, 0, 10.01, "x", float("nan")]),
    ("eval_interval", ["auto", None, 1, MANY], [0, -1, 1.5, "x"]),
    ("eval_samples", ["auto", None, 1, MANY], [0, -1, 1.5, "x"]),
    ("response_format", [None, {"type": "json_schema"}], ["x", 5]),
]

# field as it is named in the error, how it is given, what is within the limits, what isn't
LIMITS: list[tuple[str, Any, list[Any], list[Any]]] = [
    ("model", lambda v: {"model": v}, ["m", "ft:a:b", "m" * 500], ["", None, 5]),
    ("training_file", lambda v: {"training_file": v}, ["f"], ["", None, 5]),
    ("validation_file", lambda v: {"validation_file": v}, ["f", None], ["", 5]),
    ("suffix", lambda v: {"suffix": v}, ["s", "s" * 64, "ü" * 64, None], ["", "s" * 65, 5]),
    ("seed", lambda v: {"seed": v}, [0, 1, 2_147_483_647, None], [-1, 2_147_483_648, 0.5, "x", 10**400]),
    (
        "metadata",
        lambda v: {"metadata": v},
        [None, {}, {f"k{n}": "v" for n in range(16)}],
        [{f"k{n}": "v" for n in range(17)}, "x", ["a"], {"tuneway_key": "x"}],
    ),
    ("metadata.long", lambda v: {"metadata": {"long": v}}, ["", "v" * 512], ["v" * 513, None, 5, ["x"]]),
    (f"metadata.{'k' * 65}", lambda v: {"metadata": {v: "x"}}, ["k" * 64], ["k" * 65]),
    ("integrations", lambda v: {"integrations": v}, [None, [], [WANDB] * 5], [[WANDB] * 6, "x"]),
    ("integrations.0.wandb.project", lambda v: {"integrations": [{"wandb": {"project": v}}]}, ["p"], ["", None, 5]),
    (
        "integrations.0.wandb.tags",
        lambda v: {"integrations": [{"wandb": {"project": "p", "tags": v}}]},
        [None, [], ["t"] * 50, ["t" * 64]],
        [["t"] * 51, "t"],
    ),
    ("integrations.0.wandb.tags.1", lambda v: {"integrations": [{"wandb": {"project": "p", "tags": ["a", v]}}]},
     ["t" * 64], ["t" * 65, 5]),
    ("method.type", lambda v: {"method": {"type": v}}, ["supervised", "dpo"], []),
    ("method.supervised", lambda v: {"method": {"type": "supervised", "supervised": v}},
     [None, {}], ["AAA", "", 0, False, []]),
    ("method.dpo", lambda v: {"method": {"type": "dpo", "dpo": v}}, [None, {}], ["AAA", "", 0, False, []]),
    ("method.reinforcement", lambda v: {"method": {"type": "supervised", "reinforcement": v}}, [None], [{}, 0, "AAA"]),
    *[
        (f"method.{name}", lambda v, name=name, method=method: {"method": {"type": method, name: v}}, good, bad)
        for method in ("supervised", "dpo")
        for name, good, bad in KNOBS
    ],
    ("method.beta", lambda v: {"method": {"type": "dpo", "beta": v}},
     ["auto", None, 1e-9, 2, 2.0], [0, -0.1, 2.0001, float("nan"), "x"]),
    *[
        (f"method.{name}", lambda v, name=name: {
            "method": {"type": "reinforcement", "grader": CHECK, name: v}, "validation_file": "file-2",
         }, good, bad)
        for name, good, bad in REINFORCEMENT_KNOBS
    ],
    ("hyperparameters.n_epochs", lambda v: {"hyperparameters": {"n_epochs": v}}, ["auto", 1, 50], [0, 51]),
    ("hyperparameters.batch_size", lambda v: {"hyperparameters": {"batch_size": v}}, ["auto", 1, 256], [0, 257]),
    ("hyperparameters", lambda v: {"hyperparameters": v}, [None, {}], ["x", 5, ["n_epochs"]]),
]  # fmt: skip

WITHIN = [(field, give, value) for field, give, good, _ in LIMITS for value in good]
BEYOND = [(field, give, value) for field, give, _, bad in LIMITS for value in bad]


def names(row: Any) -> str:
    return str(row)[:40] if not callable(row) else ""


@pytest.mark.parametrize(("field", "give", "value"), WITHIN, ids=names)
def test_what_is_within_the_limits_is_taken_and_sent(field, give, value):
    made = spec(**give(value))
    json.dumps(made.to_wire(), allow_nan=False)
    assert JobSpec(**made.to_wire()) == made


@pytest.mark.parametrize(("field", "give", "value"), BEYOND, ids=names)
def test_what_is_beyond_the_limits_is_refused_and_named_as_it_was_written(field, give, value):
    with pytest.raises(InvalidSpec) as caught:
        spec(**give(value))
    assert caught.value.field == field
    assert f"{field}: " in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).field == field


# --- Mistakes, named where they were made. ---

loose: Any = models  # for those without a type checker


@pytest.mark.parametrize(
    ("make", "field", "words"),
    [
        (loose.JobSpec, "model", "training_file: Field required"),
        (lambda: spec(trainig_file="x"), "trainig_file", "did you mean 'training_file'?"),
        (lambda: spec(nonsense=1), "nonsense", "no such field"),
        (lambda: spec(method="supervised"), "method", "dictionary"),
        (lambda: spec(method={"type": "magic"}), "method", "'supervised', 'dpo', 'reinforcement'"),
        (lambda: spec(method={"type": []}), "method", "'supervised'"),
        (lambda: spec(method={}), "method", "'type'"),
        (lambda: spec(method={"type": "supervised", "dpo": {}}), "method.dpo", "no such field"),
        (lambda: spec(**(reinforcement() | {"validation_file": None})), "validation_file", "reinforcement needs"),
        (lambda: loose.Supervised(n_epochs=0), "n_epochs", "greater than"),
        (lambda: loose.Supervised(n_epoch=3), "n_epoch", "did you mean 'n_epochs'?"),
        (lambda: loose.Supervised(hyperparameters={"n_epoch": 3}), "hyperparameters.n_epoch", "did you mean"),
        (lambda: loose.Supervised(hyperparameters=5), "hyperparameters", "dictionary"),
        (lambda: loose.Supervised(n_epochs=1, hyperparameters=5), "hyperparameters", "not a mapping"),
        (lambda: loose.Supervised(beta=0.1), "beta", "no such field"),
        (lambda: loose.Hyperparameters(batchsize=3), "batchsize", "did you mean 'batch_size'?"),
        (lambda: loose.DPO(beta=3), "beta", "less than"),
        (lambda: loose.DPOHyperparameters(learning_rate_multiplyer=1), "learning_rate_multiplyer", "did you mean"),
        (loose.Reinforcement, "grader", "Field required"),
        (lambda: loose.Reinforcement(grader={"type": "label_model"}), "grader", "'string_check'"),
        (lambda: loose.Reinforcement(grader=CHECK | {"operation": "is"}), "grader.operation", "'eq', 'ne'"),
        (lambda: loose.Reinforcement(grader=CHECK | {"name": ""}), "grader.name", "at least 1"),
        (lambda: loose.ReinforcementHyperparameters(reasoning_efort="low"), "reasoning_efort", "did you mean"),
        (lambda: loose.PythonGrader(name="p"), "source", "Field required"),
        (lambda: loose.MultiGrader(name="m", calculate_output="a", graders={}), "graders", "at least 1"),
        (
            lambda: loose.MultiGrader(name="m", calculate_output="a", graders={"python": NAMELESS}),
            "graders.python.name", "at least 1",
        ),
        (
            lambda: spec(method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 0}}}),
            "method.supervised.hyperparameters.n_epochs", "greater than",
        ),
        (
            lambda: spec(
                validation_file="v",
                method={"type": "reinforcement", "reinforcement": {"grader": CHECK | {"operation": "is"}}},
            ),
            "method.reinforcement.grader.operation", "'eq', 'ne'",
        ),
        (lambda: loose.WandbIntegration(wandb={}), "wandb.project", "Field required"),
        (lambda: JobSpec.model_validate({}), "model", "Field required"),
        (lambda: JobSpec.model_validate([]), "specification", "dictionary"),
        (lambda: JobSpec.model_validate_json("{"), "specification", "Invalid JSON"),
        (lambda: JobSpec.model_validate_json('{"model": ""}'), "model", "at least 1"),
        (lambda: setattr(spec(), "seed", -1), "seed", "greater than"),
        (lambda: setattr(spec(), "sede", 1), "sede", "no attribute 'sede'"),
        (lambda: spec(metadata={"half": "\ud800" * 600}), "metadata.half", ""),
        (lambda: spec(hyperparameters={"own": object()}).to_wire(), "method", "serialize"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_where_it_was_made(make, field, words):
    with pytest.raises(InvalidSpec) as caught:
        make()
    assert caught.value.field == field
    assert words in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(InvalidSpec) as caught:
        spec(seed=-1, suffix="", method=None, metadata={"a": "x" * 513})
    assert all(f"{field}: " in str(caught.value) for field in ("seed", "suffix", "metadata.a"))


def test_a_specification_inside_another_model_still_works():
    class Pipeline(BaseModel):
        name: str
        job: JobSpec

    made = Pipeline(name="nightly", job={**BASE, "method": {"type": "dpo", "beta": 0.1}})
    assert made.job.method == DPO(beta=0.1)
    assert Pipeline.model_validate_json(made.model_dump_json()) == made
    with pytest.raises(ValidationError, match="seed: Input should be greater than or equal to 0"):
        Pipeline(name="nightly", job={**BASE, "seed": -1})


def test_what_cannot_be_written_as_json_is_refused_before_it_is_sent(connect, server):
    from tuneway.errors import InvalidInput

    for odd in (float("nan"), object(), {1, 2}, "\ud800"):
        with connect(base_url=server.base_url) as client, pytest.raises(InvalidInput, match="JSON"):
            client.jobs.create(spec(extra_body={"own": odd}))
    assert server.arrived == []


# --- What is sent. ---


def test_nothing_is_sent_that_was_left_out_or_null():
    assert spec().to_wire() == BASE
    nulls = dict.fromkeys(JobSpec.model_fields.keys() - BASE.keys())
    assert spec(**nulls).to_wire() == BASE


def test_a_file_may_be_given_for_its_id():
    file = File(id="file-9", filename="train.jsonl")
    assert spec(training_file=file, validation_file=file).to_wire() == {
        "model": "gpt-4o-mini", "training_file": "file-9", "validation_file": "file-9",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("method", "wire"),
    [
        (Supervised(), {"type": "supervised", "supervised": {}}),
        (Supervised(n_epochs=3), {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}}),
        (
            Supervised(n_epochs="auto", hyperparameters=Hyperparameters(batch_size=2, lora_r=8)),
            {
                "type": "supervised",
                "supervised": {"hyperparameters": {"n_epochs": "auto", "batch_size": 2, "lora_r": 8}},
            },
        ),
        (DPO(beta=0.1, batch_size=4), {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1, "batch_size": 4}}}),
        (
            Reinforcement(grader=CHECK, reasoning_effort="low", response_format={"schema": {"default": None}}),
            {
                "type": "reinforcement",
                "reinforcement": {
                    "grader": CHECK,
                    "hyperparameters": {"reasoning_effort": "low"},
                    "response_format": {"schema": {"default": None}},
                },
            },
        ),
        (
            Reinforcement(grader=StringCheckGrader(name="s", input="a", reference="b", operation="like", own=1)),
            {
                "type": "reinforcement",
                "reinforcement": {
                    "grader": {"name": "s", "type": "string_check", "input": "a", "reference": "b",
                               "operation": "like", "own": 1},
                },
            },
        ),
    ],
)  # fmt: skip
def test_a_method_is_nested_as_the_wire_wants_it_however_it_was_written(method, wire):
    made = spec(method=method, validation_file="file-2")
    assert made.to_wire()["method"] == wire
    for again in (spec(method=wire, validation_file="file-2"), JobSpec(**made.to_wire())):
        assert again == made
        assert again.to_wire() == made.to_wire()
    assert pickle.loads(pickle.dumps(made)) == made


def test_a_services_own_fields_pass():
    made = spec(
        method=Supervised(hyperparameters={"lora_alpha": 16, "packing": True, "warmup_ratio": 0.1}),
        extra_body={"n_gpus": 8, "seed": 5},
        seed=3,
    )
    assert made.to_wire() == BASE | {
        "method": {
            "type": "supervised",
            "supervised": {"hyperparameters": {"lora_alpha": 16, "packing": True, "warmup_ratio": 0.1}},
        },
        "n_gpus": 8,
        "seed": 5,
    }


# --- Beside the `openai` package. ---

TEXT = {"role": "user", "content": "{{item.a}}"}
THEIR_GRADERS: dict[str, dict[str, Any]] = {
    "StringCheckGraderParam": CHECK,
    "TextSimilarityGraderParam": {
        "type": "text_similarity", "name": "t", "input": "a", "reference": "b", "evaluation_metric": "bleu",
    },
    "PythonGraderParam": {"type": "python", "name": "p", "source": "def grade(s, i): return 1", "image_tag": "x"},
    "ScoreModelGraderParam": {
        "type": "score_model", "name": "s", "model": "gpt-4o", "input": [TEXT], "range": [0.0, 1.0],
        "sampling_params": {"temperature": 0.0},
    },
    "LabelModelGraderParam": {
        "type": "label_model", "name": "l", "model": "gpt-4o", "input": [TEXT], "labels": ["good", "bad"],
        "passing_labels": ["good"],
    },
}  # fmt: skip
MULTI: dict[str, Any] = {
    "type": "multi", "name": "m", "calculate_output": "a + b",
    "graders": dict(THEIR_GRADERS),
}  # fmt: skip
THEIR_GRADERS["MultiGraderParam"] = MULTI

COMMON = {"batch_size": 8, "learning_rate_multiplier": 0.5, "n_epochs": 3}
SUPERVISED = {"hyperparameters": COMMON}
PREFERENCE = {"hyperparameters": COMMON | {"beta": 0.1}}
REINFORCED = {
    "grader": CHECK,
    "hyperparameters": COMMON
    | {"reasoning_effort": "high", "compute_multiplier": 2.0, "eval_interval": 5, "eval_samples": 6},
}
METHODS: dict[str, dict[str, Any]] = {"supervised": SUPERVISED, "dpo": PREFERENCE, "reinforcement": REINFORCED}
FULL: dict[str, Any] = {
    "model": "gpt-4o-mini", "training_file": "file-1", "validation_file": "file-2", "suffix": "s", "seed": 1,
    "metadata": {"team": "a"}, "hyperparameters": COMMON,
    "integrations": [{"type": "wandb", "wandb": {"project": "p", "name": "n", "entity": "e", "tags": ["t"]}}],
    "method": {"type": "supervised", "supervised": SUPERVISED},
}  # fmt: skip


@pytest.mark.parametrize(
    ("theirs", "sample"),
    [
        (job_create_params.JobCreateParams, FULL),
        (job_create_params.Hyperparameters, FULL["hyperparameters"]),
        (job_create_params.Integration, FULL["integrations"][0]),
        (job_create_params.IntegrationWandb, FULL["integrations"][0]["wandb"]),
        (job_create_params.Method, {"type": "supervised"} | METHODS),
        (supervised_method_param.SupervisedMethodParam, SUPERVISED),
        (supervised_hyperparameters_param.SupervisedHyperparametersParam, SUPERVISED["hyperparameters"]),
        (dpo_method_param.DpoMethodParam, PREFERENCE),
        (dpo_hyperparameters_param.DpoHyperparametersParam, PREFERENCE["hyperparameters"]),
        (reinforcement_method_param.ReinforcementMethodParam, REINFORCED),
        (reinforcement_hyperparameters_param.ReinforcementHyperparametersParam, REINFORCED["hyperparameters"]),
        *[(getattr(their_graders, kind), sample) for kind, sample in THEIR_GRADERS.items()],
    ],
    ids=lambda row: getattr(row, "__name__", ""),
)
def test_the_samples_know_every_field_of_the_package(theirs, sample):
    """When this fails, the package has learned a field: add it to the sample, and the next test says what we lack."""
    assert set(sample) == set(get_type_hints(theirs))


@pytest.mark.parametrize("grader", THEIR_GRADERS.values(), ids=lambda sample: sample["type"])
def test_every_field_of_the_package_is_sent_as_it_is(grader):
    for kind, method in METHODS.items():
        own = {"grader": grader} if kind == "reinforcement" and grader["type"] != "label_model" else {}
        body = FULL | {"method": {"type": kind, kind: method | own}}  # a label_model is only inside a multi grader
        assert JobSpec(**body).to_wire() == body


def literals(hint: Any) -> set[Any]:
    """All words that a type allows."""
    if get_origin(hint) is Literal:
        return set(get_args(hint))
    return set().union(*(literals(part) for part in get_args(hint)))


@pytest.mark.parametrize(
    ("ours", "field", "theirs"),
    [
        (
            ReinforcementHyperparameters, "reasoning_effort",
            reinforcement_hyperparameters_param.ReinforcementHyperparametersParam,
        ),
        (StringCheckGrader, "operation", their_graders.StringCheckGraderParam),
        (Hyperparameters, "n_epochs", supervised_hyperparameters_param.SupervisedHyperparametersParam),
        (DPOHyperparameters, "beta", dpo_hyperparameters_param.DpoHyperparametersParam),
    ],
)  # fmt: skip
def test_our_words_are_theirs(ours, field, theirs):
    assert literals(get_type_hints(ours)[field]) >= literals(get_type_hints(theirs)[field]) != set()


def test_our_similarity_metrics_are_theirs():
    from tuneway.models import TextSimilarityGrader

    hint = get_type_hints(their_graders.TextSimilarityGraderParam)["evaluation_metric"]
    assert literals(get_type_hints(TextSimilarityGrader)["evaluation_metric"]) == literals(hint)


@pytest.mark.parametrize(
    ("own", "kind"),
    [({"type": "reinforcement"}, "reinforcement"), (None, "supervised"), ({"type": 7}, "supervised")],
)
def test_the_kind_is_that_of_the_method_that_is_sent(own, kind):
    assert spec(method=DPO(), extra_body={"method": own}).kind == kind
    assert spec(method=DPO(), extra_body={"other": 1}).kind == "dpo"


def test_a_learning_rate_itself_is_taken_by_name_beside_the_multiplier():
    spec = JobSpec(model="m", training_file="file-1", method=Supervised(learning_rate=2e-5))

    assert spec.to_wire()["method"] == {
        "type": "supervised",
        "supervised": {"hyperparameters": {"learning_rate": 2e-5}},
    }
    with pytest.raises(InvalidSpec, match="learning_rate"):
        JobSpec(model="m", training_file="file-1", method=Supervised(learning_rate=0.0))
