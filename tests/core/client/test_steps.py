"""What steps hand to one another."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.datasets import good_rows, write

from tuneway.client import UploadedFile
from tuneway.dataset import validate
from tuneway.errors import InvalidInput, InvalidSpec
from tuneway.flows import Trained
from tuneway.models import File, Job, JobSpec, MetricRow
from tuneway.outcome import Outcome
from tuneway.recipe import Recipe
from tuneway.steps import (
    asked_training,
    data_facts,
    data_summary,
    file_id_of,
    file_summary,
    job_id_of,
    job_page,
    job_summary,
    model_id_of,
    training_summary,
    validation_file_id_of,
)

JOB = Job.model_validate(
    {"id": "ftjob-1", "object": "fine_tuning.job", "status": "succeeded", "model": "m", "fine_tuned_model": "ft:m"}
)


@pytest.mark.parametrize("given", ["ftjob-1", JOB, job_summary(JOB), {"job_id": "ftjob-1", "name": "n"}])
def test_a_job_is_known_by_its_id_by_itself_or_by_any_steps_output(given):
    assert job_id_of(given) == "ftjob-1"


@pytest.mark.parametrize("given", ["ft:m", JOB, job_summary(JOB), {"model_id": "ft:m", "job_id": "ftjob-1"}])
def test_a_model_likewise(given):
    assert model_id_of(given) == "ft:m"


@pytest.mark.parametrize("given", ["", None, {}, {"job_id": None}, 7])
def test_what_names_no_job_is_refused_with_words_that_help(given):
    with pytest.raises(InvalidInput, match="Give its id, or the output of the step"):
        job_id_of(given)
    with pytest.raises(InvalidInput, match=r"no fine-tuned model: .* Give its id, or the output of the step"):
        model_id_of(given)


def test_a_jobs_page_is_the_hosted_one_or_the_local_services():
    assert job_page("ftjob-1", "https://api.openai.com/v1") == "https://platform.openai.com/finetune/ftjob-1?filter=all"
    assert job_page("ftjob-1", "http://127.0.0.1:8765/v1") == "http://127.0.0.1:8765/jobs/ftjob-1"
    assert job_page("ftjob-1", "https://gateway.example/v1") is None


def test_checked_data_in_a_few_words_says_what_the_registry_wants_to_know(tmp_path):
    train, valid = write(tmp_path / "train.jsonl", good_rows()), write(tmp_path / "valid.jsonl", good_rows(count=4))

    alone, both = (data_summary(validate(train, validation_data=beside)) for beside in (None, valid))

    assert alone["rows"] == 10
    assert alone["validation"] is None
    assert both["validation"]["rows"] == 4
    assert both["validation"].keys() == both.keys()
    assert data_facts(both) == [
        {"sha256": one["sha256"], "rows": one["rows"], "tokens": one["tokens"]} for one in (both, both["validation"])
    ]


def test_an_upload_of_a_pair_hands_on_both_files_and_what_is_known_of_them(tmp_path):
    train, valid = write(tmp_path / "train.jsonl", good_rows()), write(tmp_path / "valid.jsonl", good_rows(count=4))
    report = validate(train, validation_data=valid)
    held_out = UploadedFile.of(File(id="file-2", filename=f"valid.sha256-{'b' * 64}.jsonl"), report.validation)
    file = UploadedFile.of(FILE, report).model_copy(update={"validation": held_out})

    uploaded = file_summary(file)

    assert (file_id_of(uploaded), validation_file_id_of(uploaded)) == ("file-1", "file-2")
    created = job_summary(JOB, data=uploaded)
    assert [fact["rows"] for fact in created["data"]] == [10, 4]
    assert job_summary(JOB, created) == created


PAIR = {
    "file_id": "file-1", "sha256": "a", "rows": 20, "tokens": 80,
    "validation": {"file_id": "file-2", "sha256": "b", "rows": 5, "tokens": 20},
}  # fmt: skip
OTHER = {"file_id": "file-3", "sha256": "c", "rows": 7, "tokens": 30}


@pytest.mark.parametrize(
    ("given", "ids", "rows"),
    [
        ((PAIR,), ("file-1", "file-2"), [20, 5]),
        ((PAIR, OTHER), ("file-1", "file-3"), [20, 7]),
        ((PAIR, "file-3"), ("file-1", "file-3"), [20]),
        (("file-1", OTHER), ("file-1", "file-3"), [7]),
        (("file-1",), ("file-1", None), []),
    ],
)
def test_the_files_of_a_job_come_from_ids_or_from_outputs_of_the_upload_step(given, ids, rows):
    training_file, validation_file = (*given, None)[:2]
    what, facts = asked_training({"model": "m", "training_file": training_file, "validation_file": validation_file})
    assert isinstance(what, JobSpec)
    assert (what.training_file, what.validation_file) == ids
    assert [fact["rows"] for fact in facts] == rows
    assert [fact["rows"] for fact in job_summary(JOB, data=facts).get("data", [])] == rows


def test_a_training_is_a_recipe_a_specification_or_the_fields_of_either():
    recipe, spec = Recipe(model="m", training_data="t.jsonl"), JobSpec(model="m", training_file="file-1")
    assert asked_training({"model": "m", "training_data": "t.jsonl", "training_file": None}).what == recipe
    assert asked_training({"model": "m", "training_file": "file-1", "seed": None}).what == spec
    assert (asked_training(recipe).what, asked_training(spec).what) == (recipe, spec)
    with pytest.raises(InvalidSpec, match="a list doesn't say what to train"):
        asked_training([recipe])


@pytest.mark.parametrize(
    ("fields", "stray"),
    [
        ({"training_file": "file-1", "training_data": "t.jsonl"}, "training_data"),
        ({"training_file": "file-1", "max_usd": 3}, "max_usd"),
        ({"training_data": "t.jsonl", "validation_file": "file-2"}, "validation_file"),
    ],
)
def test_data_and_uploaded_files_do_not_go_together(fields, stray):
    with pytest.raises(InvalidSpec, match="it doesn't go with") as caught:
        asked_training({"model": "m", **fields})
    assert caught.value.field == stray


@pytest.mark.parametrize("given", ["file-1", {"file_id": "file-1"}, {"file_id": "file-1", "validation": None}])
def test_an_upload_of_one_file_names_no_validation_file(given):
    assert validation_file_id_of(given) is None


def test_a_training_in_a_few_figures_is_the_last_of_all_that_was_measured():
    job = Job(id="ftjob-1", status="succeeded", model="gpt-4o-mini", created_at=100, finished_at=160.5,
              trained_tokens=1_000_000, usage_metrics={"trainer": "bytes"})  # fmt: skip
    rows = [
        {"step": 2, "train_loss": 0.5},
        {"step": 1, "train_loss": 2.0, "valid_loss": 1.5},
        {"step": 3, "train_loss": None},
    ]
    trained = Trained(job=job, rows=[MetricRow(**row) for row in rows])

    hosted, local = (training_summary(Outcome(trained=trained, service_url="", free=free)) for free in (False, True))

    assert hosted == {
        "metrics": {"train_loss": 0.5, "valid_loss": 1.5},
        "trained_tokens": 1_000_000,
        "seconds": 60.5,
        "usd": 3.0,
        "trainer": "bytes",
    }
    assert local["usd"] is None, "a service on this machine sends no bill"


def test_a_training_that_has_measured_nothing_has_no_figures():
    trained = Trained(job=Job(id="ftjob-1", status="running"))

    summary = training_summary(Outcome(trained=trained, service_url=""))

    assert summary == {"metrics": {}, "trained_tokens": None, "seconds": None, "usd": None, "trainer": None}


FILE = File.model_validate({"id": "file-1", "filename": f"train.sha256-{'a' * 64}.jsonl", "bytes": 7})


@pytest.mark.parametrize("given", ["file-1", FILE, file_summary(UploadedFile(id="file-1"))])
def test_a_file_is_known_by_its_id_by_itself_or_by_the_uploads_output(given):
    assert file_id_of(given) == "file-1"


@pytest.mark.parametrize("given", ["", None, {}, {"file_id": None}, 7])
def test_what_names_no_file_is_refused_with_words_that_help(given):
    with pytest.raises(InvalidInput, match="Give its id, or the output of the step that uploaded it"):
        file_id_of(given)


def test_an_uploaded_file_tells_the_hash_that_its_name_carries():
    assert file_summary(UploadedFile(id="file-1", filename=FILE.filename))["sha256"] == "a" * 64


GRADER = {"type": "python", "name": "g", "source": "def grade(sample, item): return ask(key='secret')"}
KNOBS: dict[str, Any] = {"n_epochs": "auto", "batch_size": 4}


@pytest.mark.parametrize(
    "fields",
    [
        {"method": {"type": "supervised"} | KNOBS, "seed": 7},
        {"hyperparameters": KNOBS},
        {
            "method": {"type": "reinforcement", "grader": GRADER} | KNOBS,
            "validation_file": "file-2",
            "metadata": {"token": "secret"},
            "integrations": [{"type": "wandb", "wandb": {"project": "secret"}}],
            "extra_body": {"api_key": "secret"},
        },
    ],
)
def test_what_was_asked_of_the_training_is_handed_on_from_step_to_step_and_no_secret_with_it(fields):
    spec = JobSpec(model="m", training_file="file-1", **fields)

    created = job_summary(JOB, spec)
    waited = job_summary(JOB, created)

    assert waited == created == job_summary(JOB) | {"requested": KNOBS}
    assert "secret" not in json.dumps(created)


@pytest.mark.parametrize("asked", ["ftjob-1", None, {"job_id": "ftjob-1"}, JobSpec(model="m", training_file="file-1")])
def test_where_nothing_was_asked_or_nobody_knows_nothing_is_handed_on(asked):
    assert job_summary(JOB, asked) == job_summary(JOB)


def test_the_register_step_writes_down_what_was_asked_beside_what_it_became(connect, server, tmp_path):
    knobs = {"n_epochs": 3, "batch_size": 8}
    job = server.service.add_job(method={"type": "supervised", "supervised": {"hyperparameters": knobs}})
    server.service.finish(job["id"], "succeeded")
    handed_on = {"job_id": job["id"], "requested": KNOBS}

    with connect(base_url=server.base_url) as client:
        version = client.register(handed_on, name="router", registry=f"sqlite:///{tmp_path / 'm.db'}")

    assert (version.record.requested, version.record.resolved) == (KNOBS, knobs)
