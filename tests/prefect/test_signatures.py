"""What help(), editors and type checkers see of the tasks and flows."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from typing import Any

import pytest

from prefect_tuneway import afine_tune, fine_tune, tasks

FORMS = [(name, f"a{name}") for name in tasks.__all__ if f"a{name}" in tasks.__all__]


def test_each_step_has_two_forms():
    assert len(FORMS) == 9
    assert {name for form in FORMS for name in form} | {"worth_retrying"} == set(tasks.__all__)


@pytest.mark.parametrize(("name", "other"), FORMS)
def test_both_forms_of_a_step_have_one_signature_and_give_a_dict(name, other):
    blocks, awaited = getattr(tasks, name), getattr(tasks, other)
    assert inspect.signature(blocks) == inspect.signature(awaited)
    assert inspect.signature(blocks).return_annotation in (dict[str, Any], "dict[str, Any]")
    assert not inspect.iscoroutinefunction(blocks.fn)
    assert inspect.iscoroutinefunction(awaited.fn)
    assert awaited.name == blocks.name


@pytest.mark.parametrize("name", [name for form in FORMS for name in form])
def test_each_parameter_of_a_step_is_named_and_described(name):
    task = getattr(tasks, name)
    parameters = inspect.signature(task).parameters
    assert {one.kind for one in parameters.values()} <= {
        inspect.Parameter.KEYWORD_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    }
    described = inspect.getdoc(task.fn)
    assert [one for one in parameters if f"    {one}: " not in described] == []


def test_both_forms_of_the_flow_have_one_signature():
    assert inspect.signature(fine_tune.fn) == inspect.signature(afine_tune.fn)
    assert inspect.signature(fine_tune.fn).return_annotation == dict[str, Any]
    assert fine_tune.parameters == afine_tune.parameters


TYPED = """
from typing import Any
from prefect_tuneway import acreate_fine_tuning_job, create_fine_tuning_job, fine_tune, upload_training_file

async def told() -> None:
    reveal_type(upload_training_file("train.jsonl"))
    reveal_type(create_fine_tuning_job(model="m", training_file="file-1", seed=7))
    reveal_type(await acreate_fine_tuning_job(model="m", training_file="file-1"))
    reveal_type(fine_tune(model="m", training_data="train.jsonl", name="router", alias="champion"))

create_fine_tuning_job(model="m", training_file="file-1", sed=7)
fine_tune(model="m")
"""


@pytest.mark.slow
def test_a_type_checker_knows_arguments_and_results(tmp_path):
    pytest.importorskip("mypy", reason="uv sync --group types")
    script = tmp_path / "typed.py"
    script.write_text(TYPED)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--output=json", str(script)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    notes = [one["message"] for one in told if one["severity"] == "note"]
    assert notes == ['Revealed type is "dict[str, Any]"'] * 4
    wrong = [one["code"] for one in told if one["severity"] == "error"]
    assert wrong == ["call-overload", "call-overload"]  # Prefect's calls are overloaded
