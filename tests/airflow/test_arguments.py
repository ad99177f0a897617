"""What operators take: the fields of the core, and what is refused when a DAG is parsed, or before anything is sent."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import get_args

import pytest
from airflow.sdk import DAG

from airflow_tuneway._compat import AirflowFailException
from airflow_tuneway.operators import (
    CreateFineTuningJobOperator,
    FineTuneOperator,
    RegisterModelOperator,
    UploadTrainingFileOperator,
    ValidateTrainingDataOperator,
    WaitForFineTuningJobOperator,
    _early,
    _training,
)
from tuneway import InvalidSpec, Supervised
from tuneway.choices import Choice, Reuse
from tuneway.models import JobSpecFields, TrainingFields
from tuneway.recipe import RecipeFields
from tuneway.registry import Gate
from tuneway.registry.registration import RegistrationFields, check_registration

START = datetime(2026, 1, 1)  # noqa: DTZ001 - Airflow takes it for UTC
TRAINING = {"model": "gpt-4o-mini", "training_data": "/data/train.jsonl"}


@pytest.fixture
def unreachable(monkeypatch):
    """A connection to a hosted service that a request would be an error at."""
    connection = {"conn_type": "tuneway", "host": "https://llm.example/v1", "password": "k"}
    monkeypatch.setenv("AIRFLOW_CONN_TUNEWAY_DEFAULT", json.dumps(connection))


def refused(operator):
    """What a task of this operator fails with, at once and for good."""
    told = {"xcom_push": lambda key, value: None}
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1, max_tries=0, **told)
    with pytest.raises(AirflowFailException) as failure:
        operator.execute({"ti": ti})
    return str(failure.value)


def rendered(operator, **values):
    """The operator with its templates rendered to these values."""
    for name, value in values.items():
        assert name in (*operator.template_fields, "gates")
        setattr(operator, name, value)
    return operator


# --- The fields are those of the core. ---


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (_training.TRAINING_FIELDS, TrainingFields),
        (_training.SPEC_FIELDS, JobSpecFields),
        (_training.RECIPE_FIELDS, RecipeFields),
        (_training.REGISTRATION_FIELDS, RegistrationFields),
    ],
)
def test_the_fields_are_those_of_the_core(ours, theirs):
    assert set(ours) == theirs.__annotations__.keys()


@pytest.mark.parametrize(
    ("operator", "fields"),
    [
        (CreateFineTuningJobOperator, {*_training.SPEC_FIELDS}),
        (FineTuneOperator, {*_training.SPEC_FIELDS, *_training.RECIPE_FIELDS}),
    ],
)
def test_all_fields_of_a_training_are_templates(operator, fields):
    assert fields <= {*operator.template_fields}


def test_default_args_may_hold_fields_of_a_training_and_of_a_registration():
    defaults = {"model": "gpt-4o-mini", "method": Supervised(n_epochs=2), "seed": 7, "alias": "champion"}
    with DAG("defaults", start_date=START, schedule=None, default_args=defaults):
        create = CreateFineTuningJobOperator(task_id="create", training_file="file-1", seed=8)
        tune = FineTuneOperator(task_id="tune", training_data="t.jsonl", name="router")

    assert (create.model, create.seed) == ("gpt-4o-mini", 8)
    assert (tune.model, tune.seed, tune.alias) == ("gpt-4o-mini", 7, "champion")
    assert create.method == tune.method == Supervised(n_epochs=2).model_dump(mode="json", exclude_none=True)


def test_a_missing_or_unknown_argument_is_named_when_the_dag_is_parsed():
    with pytest.raises(TypeError, match="training_file"):
        CreateFineTuningJobOperator(task_id="create", model="m")
    with pytest.raises(TypeError, match="modle"):
        FineTuneOperator(task_id="tune", modle="m", **TRAINING)
    with DAG("mapped", start_date=START, schedule=None), pytest.raises(TypeError, match="path"):
        FineTuneOperator.partial(task_id="tune", model="m").expand(path=["a.jsonl"])


# --- What is refused when a DAG is parsed. ---


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"reuse": "always"}, "reuse"),
        ({"checkpoint": "bset", "name": "router"}, "checkpoint"),
        ({"alias": "v1", "name": "router"}, "alias"),
        ({"alias": "previous", "name": "router"}, "alias"),
        ({"alias": "latest", "name": "{{ params.name }}"}, "alias"),
        ({"name": "support router"}, "name"),
        ({"alias": "champion"}, "alias"),  # without a name
        ({"gates": ["full_valid_loss"], "name": "router"}, "gates"),
    ],
)
def test_a_wrong_word_is_refused_when_the_dag_is_parsed(wrong, field):
    with pytest.raises(InvalidSpec) as refusal:
        FineTuneOperator(task_id="tune", **TRAINING, **wrong)

    assert refusal.value.field == field


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"model": ""}, "model"),
        ({"seed": -1}, "seed"),
        ({"seed": "seven"}, "seed"),
        ({"suffix": ""}, "suffix"),
        ({"suffix": "s" * 65}, "suffix"),
        ({"method": {"type": "supervised", "n_epochs": 0}}, "method"),
        ({"method": {"type": "supervized"}}, "method"),
        ({"method": {"type": "reinforcement"}}, "method"),
        ({"metadata": {"name": 1}}, "metadata"),
        ({"metadata": {f"name{number}": "value" for number in range(17)}}, "metadata"),
        ({"integrations": [{"type": "wandb"}]}, "integrations"),
        ({"hyperparameters": {"n_epoch": 3}}, "hyperparameters"),
        ({"max_usd": 0}, "max_usd"),
        ({"order": "sorted"}, "order"),
        ({"training_file": "file-1"}, "training_data"),
        ({"training_data": None}, "training_data"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": "soon"}, "timeout"),
        ({"poll": {"minimum": -1}}, "poll.minimum"),
        ({"poll": {"minimum": "soon"}}, "poll.minimum"),
        ({"poll": {"least": 1}}, "poll"),
        ({"poll_interval": 0}, "poll.minimum"),
    ],
)
def test_a_wrong_field_is_refused_when_the_dag_is_parsed(wrong, field):
    with pytest.raises(InvalidSpec) as refusal:
        FineTuneOperator(task_id="tune", **TRAINING | wrong)

    assert (refusal.value.field or "").startswith(field)


def test_the_steps_refuse_wrong_fields_when_the_dag_is_parsed():
    with pytest.raises(InvalidSpec, match="seed"):
        CreateFineTuningJobOperator(task_id="create", model="m", training_file="{{ params.file }}", seed=-1)
    for step in (UploadTrainingFileOperator, ValidateTrainingDataOperator):
        with pytest.raises(InvalidSpec, match="order"):
            step(task_id="data", training_data="t.jsonl", order="sorted")
        step(task_id="data", training_data="t.jsonl", order="{{ params.order }}")
    with pytest.raises(InvalidSpec, match="seconds"):
        WaitForFineTuningJobOperator(task_id="wait", job="ftjob-1", timeout=-1)


def test_the_steps_refuse_wrong_words_when_the_dag_is_parsed():
    with pytest.raises(InvalidSpec, match="reuse"):
        CreateFineTuningJobOperator(task_id="create", model="m", training_file="file-1", reuse="always")
    with pytest.raises(InvalidSpec, match="checkpoint"):
        RegisterModelOperator(task_id="register", job="ftjob-1", name="router", checkpoint="first")


@pytest.mark.parametrize(
    "fine",
    [
        {},
        *({"reuse": word} for word in get_args(Reuse)),
        *({"checkpoint": word, "name": "router"} for word in get_args(Choice)),
        {"alias": "champion", "name": "support-router"},
        {"alias": "Blue_1", "name": "support.router-2"},
        {"alias": "{{ params.alias }}", "name": "{{ params.name }}"},
        {"gates": [Gate("full_valid_loss", max=1.0)], "name": "{{ params.name }}"},
        {"registry": "{{ params.registry }}", "reason": "{{ run_id }}", "name": "router"},
        {"reuse": "{{ params.reuse }}", "timeout": "{{ params.timeout }}", "poll": {"minimum": "{{ params.pause }}"}},
        {"seed": "{{ params.seed }}", "method": {"type": "dpo", "beta": "{{ params.beta }}"}, "max_usd": 3},
        {"method": {"type": "reinforcement", "grader": "{{ params.grader }}"}, "validation_data": "{{ params.v }}"},
        {"method": {"type": "dpo", "beta": 0.2}, "metadata": {"run": "{{ run_id }}"}, "suffix": "Any word"},
        {"validation_data": 0.1, "row": {"user": "{question}", "assistant": "{answer}"}, "order": "content"},
        {"timeout": timedelta(hours=1), "poll": {"minimum": 1, "maximum": 60, "growth": 2}, "extra_body": {"a": 1}},
    ],
)
def test_what_is_right_or_a_template_passes_when_the_dag_is_parsed(fine):
    FineTuneOperator(task_id="tune", **TRAINING, **fine)


@pytest.mark.parametrize("alias", ["champion", "challenger", "production", "staging"])
def test_words_that_pass_without_the_core_are_right_by_the_core(alias):
    for choice in get_args(Choice):
        check_registration(name="Support.router-2", alias=alias, checkpoint=choice)
        assert _early._PLAIN["checkpoint"](choice)
    assert _early._PLAIN["alias"](alias)


def test_parsing_a_dag_of_plain_words_imports_nothing_of_the_core():
    program = """
import sys
from airflow_tuneway.operators import *
from airflow_tuneway.sensors import FineTuningJobSensor
FineTuneOperator(
    task_id="tune", model="m", training_data="t.jsonl", method={"type": "supervised", "n_epochs": 3},
    name="support-router", alias="production", checkpoint="best", reuse="content", poll_interval=30,
)
CreateFineTuningJobOperator(task_id="create", model="m", training_file="file-1", reuse="never", key="{{ run_id }}")
RegisterModelOperator(task_id="register", job="ftjob-1", name="{{ params.name }}", alias="champion")
light = {"tuneway._escape", "tuneway._lazy", "tuneway._version", "tuneway.choices"}
print([name for name in sys.modules if name.startswith("tuneway.") and name not in light])
"""
    out = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout

    assert out.strip().splitlines()[-1] == "[]"


# --- What is refused before anything is sent. ---


@pytest.mark.usefixtures("unreachable")
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"seed": -1}, "seed"),
        ({"method": {"type": "reinforcement"}}, "method"),
        ({"max_usd": 0.000001}, "max_usd"),
        ({"training_file": "file-1"}, "training_file"),
        ({"validation_file": "file-1"}, "validation_file"),
        ({"metadata": {f"name{number}": "value" for number in range(15)}}, "metadata"),
        ({"name": "router", "checkpoint": "best"}, "validation data"),
        ({"name": "router", "gates": [Gate("full_valid_loss", max=1.0)]}, "full_valid_loss"),
        ({"name": "router", "gates": [Gate("train_mean_reward", min=1.0)]}, "train_mean_reward"),
        ({"name": "router", "registry": "nowhere://"}, "the URI of a registry"),
        ({"validation_data": "the same"}, "train.jsonl"),
        ({"training_data": None}, "training_data"),
        ({"timeout": "soon"}, "timeout"),
        ({"timeout": -1}, "timeout"),
    ],
)
def test_one_step_refuses_what_cant_be_before_anything_is_sent(data, wrong, said):
    fields = {"model": "gpt-4o-mini", "training_data": str(data)} | wrong
    if fields.get("validation_data"):
        fields["validation_data"] = str(data)

    assert said in refused(rendered(FineTuneOperator(task_id="tune", **TRAINING), **fields))


@pytest.mark.usefixtures("unreachable")
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"reuse": "always"}, "reuse"),
        ({"alias": "v1", "name": "router"}, "alias"),
        ({"checkpoint": "first", "name": "router"}, "checkpoint"),
        ({"seed": "seven"}, "seed"),
        ({"order": "sorted"}, "order"),
        ({"timeout": "soon"}, "timeout"),
        ({"poll": {"minimum": "soon"}}, "poll.minimum"),
    ],
)
def test_what_a_template_becomes_is_checked_before_anything_is_sent(data, wrong, said):
    tune = FineTuneOperator(task_id="tune", model="gpt-4o-mini", training_data=str(data))

    assert said in refused(rendered(tune, **wrong))


def test_numbers_of_a_schedule_may_be_templates(unreachable):
    tune = FineTuneOperator(task_id="tune", **TRAINING, poll_interval="{{ params.pause }}")

    tune.render_template_fields({"params": {"pause": 30}})

    with tune.hook.new_client() as client:
        assert (client._account.poll.minimum, client._account.poll.maximum) == (30, 30)


@pytest.mark.usefixtures("unreachable")
def test_a_mapped_task_with_a_wrong_field_fails_at_once():
    with DAG("mapped_wrong", start_date=START, schedule=None):
        tune = FineTuneOperator.partial(task_id="tune", **TRAINING).expand(seed=[-1, 1])

    assert "seed" in refused(tune.unmap({"seed": -1}))


@pytest.mark.usefixtures("unreachable")
def test_the_step_that_creates_a_job_refuses_what_it_can_before_anything_is_sent():
    create = CreateFineTuningJobOperator(task_id="create", model="m", training_file="file-1")

    assert "suffix" in refused(rendered(create, suffix=""))


@pytest.mark.usefixtures("unreachable")
def test_the_step_that_uploads_refuses_a_row_that_is_in_both_files(data):
    both = {"training_data": str(data), "validation_data": str(data)}

    assert "train.jsonl:1" in refused(UploadTrainingFileOperator(task_id="upload", **both))
    assert "training_data" in refused(UploadTrainingFileOperator(task_id="upload"))


@pytest.mark.usefixtures("unreachable")
def test_the_step_that_registers_refuses_a_templated_word_before_anything_is_sent():
    register = RegisterModelOperator(task_id="register", job="ftjob-1", name="router", alias="{{ params.alias }}")

    assert "alias" in refused(rendered(register, alias="v1"))
