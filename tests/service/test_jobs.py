"""Creating and finding jobs: what is accepted, what is refused and how."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import httpx
import openai
import pytest
from support.in_process import served_here
from support.openai_jobs import submit

from tuneway_service.settings import Settings

DEEP = json.loads("[" * 900 + "]" * 900)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A service whose jobs stand still: no test here waits for a training."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), models={"gpt-4o-mini": "bytes"}, faults="stuck=1")
    with served_here(settings) as base_url:
        yield SimpleNamespace(base_url=base_url, data_dir=settings.data_dir)


@pytest.fixture(scope="module")
def raw(service):
    with httpx.Client(base_url=service.base_url) as made:
        yield made


def refusal(reply: httpx.Response, status: int = 400):
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert reply.headers["x-request-id"].startswith("req_")
    return error


# what a create may say


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"model": None}, "model", "invalid_value"),
        ({"model": "gpt-99"}, "model", "model_not_available"),
        ({"model": "ft:gpt-4o-mini:local::nobody"}, "model", "model_not_available"),
        ({"training_file": "file-nobody"}, "training_file", "invalid_file"),
        ({"training_file": "../../etc/passwd"}, "training_file", "invalid_file"),
        ({"validation_file": "file-nobody"}, "validation_file", "invalid_file"),
        ({"seed": -1}, "seed", "invalid_value"),
        ({"seed": 2**31}, "seed", "invalid_value"),
        ({"seed": "seven"}, "seed", "invalid_value"),
        ({"suffix": ""}, "suffix", "invalid_value"),
        ({"suffix": "x" * 65}, "suffix", "invalid_value"),
        ({"metadata": {str(n): "v" for n in range(17)}}, "metadata", "invalid_value"),
        ({"metadata": {"k" * 65: "v"}}, "metadata." + "k" * 65, "invalid_value"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k", "invalid_value"),
        ({"metadata": {"k": 1}}, "metadata.k", "invalid_value"),
        ({"seed": True}, "seed", "invalid_value"),
        ({"seed": "7"}, "seed", "invalid_value"),
        ({"hyperparameters": {"n_epochs": True}}, "hyperparameters.n_epochs", "invalid_value"),
        ({"hyperparameters": {"n_epochs": "3"}}, "hyperparameters.n_epochs", "invalid_value"),
        *[
            (
                {"method": {"type": kind, kind: {"hyperparameters": {name: value}}}},
                f"method.{kind}.hyperparameters.{name}",
                "invalid_value",
            )
            for kind in ("supervised", "dpo")
            for name, value in (("n_epochs", "3"), ("batch_size", True), ("learning_rate_multiplier", "1"))
        ],
        *[
            ({"method": {"type": kind, kind: block}}, f"method.{kind}", "invalid_value")
            for kind in ("supervised", "dpo", "reinforcement")
            for block in ("AAA", 0, False, "", [], [{}])
        ],
        ({"method": {"type": "supervised", "dpo": {}}}, "method.dpo", "unknown_parameter"),
        ({"method": {"type": "supervised", "n_epochs": 3}}, "method.n_epochs", "unknown_parameter"),
        (
            {"method": {"type": "supervised", "supervised": {"n_epochs": 3}}},
            "method.supervised.n_epochs",
            "unknown_parameter",
        ),
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": []}}},
            "method.supervised.hyperparameters",
            "invalid_value",
        ),
        ({"hyperparameters": {"x": DEEP}}, "hyperparameters.x", "invalid_value"),
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": {"x": DEEP}}}},
            "method.supervised.hyperparameters.x",
            "invalid_value",
        ),
        ({"colour": "red"}, "colour", "unknown_parameter"),
        ({"method": {"type": "magic"}}, "method", "invalid_value"),
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 51}}}},
            "method.supervised.hyperparameters.n_epochs",
            "invalid_value",
        ),
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 0}}}},
            "method",
            "invalid_value",
        ),
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": {"batch_size": 257}}}},
            "method.supervised.hyperparameters.batch_size",
            "invalid_value",
        ),
        (
            {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 2.5}}}},
            "method.dpo.hyperparameters.beta",
            "invalid_value",
        ),
        ({"method": {"type": "reinforcement"}}, "method.grader", "missing_required_parameter"),
        (
            {"hyperparameters": {"learning_rate_multiplier": 0}},
            "hyperparameters.learning_rate_multiplier",
            "invalid_value",
        ),
        ({"integrations": [{"type": "wandb", "wandb": {}}]}, "integrations", "missing_required_parameter"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}] * 6}, "integrations", "invalid_value"),
        (
            {"integrations": [{"type": "wandb", "wandb": {"project": "p", "colour": "red"}}]},
            "integrations.0.wandb.colour",
            "unknown_parameter",
        ),
        (
            {"integrations": [{"type": "wandb", "wandb": {"project": "p", "tags": ["t" * 65]}}]},
            "integrations",
            "invalid_value",
        ),
    ],
)
def test_a_wrong_field_is_refused_by_name(raw, training_file, change, param, code):
    body = {"model": "gpt-4o-mini", "training_file": training_file} | change
    error = refusal(raw.post("/fine_tuning/jobs", json=body))
    assert error["param"] == param or error["param"].startswith((param + ".", param + "["))
    assert error["code"] == code
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize("missing", ["model", "training_file"])
def test_what_is_required_is_asked_for(raw, training_file, missing):
    body = {"model": "gpt-4o-mini", "training_file": training_file}
    del body[missing]
    error = refusal(raw.post("/fine_tuning/jobs", json=body))
    assert (error["param"], error["code"]) == (missing, "missing_required_parameter")
    assert error["message"] == f"Missing required parameter: '{missing}'."


@pytest.mark.parametrize(
    "path", ["/files/", "/fine_tuning/jobs/", "/fine_tuning/jobs/ftjob-x/", "/webhook_endpoints//"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_path_with_a_slash_too_many_is_unknown_and_not_redirected(raw, method, path):
    assert refusal(raw.request(method, path), 404)["code"] == "unknown_url"


@pytest.mark.parametrize("kind", ["supervised", "dpo"])
def test_the_blocks_of_the_other_methods_may_be_null(raw, training_file, kind):
    blocks = dict.fromkeys(("supervised", "dpo", "reinforcement")) | {kind: {"hyperparameters": {"n_epochs": 2}}}
    body = {"model": "gpt-4o-mini", "training_file": training_file, "method": {"type": kind} | blocks}
    job = raw.post("/fine_tuning/jobs", json=body).json()
    assert job["method"] == {"type": kind, kind: {"hyperparameters": {"n_epochs": 2}}}


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("metadata=AAA", "metadata"),
        ("metadata=", "metadata"),
        ("metadata=null&metadata[a]=b", "metadata"),
        ("metadata[a]=b&metadata[a]=c", "metadata[a]"),
        ("metadata.a=b", "metadata.a"),
        ("limit=1&limit=2", "limit"),
        ("colour=red", "colour"),
    ],
)
def test_a_filter_that_is_none_is_refused_by_name(raw, query, param):
    assert refusal(raw.get(f"/fine_tuning/jobs?{query}"))["param"] == param


def test_a_number_that_no_reply_could_repeat_is_refused(raw):
    body = b'{"hyperparameters": {"x": 1e999}}'
    assert refusal(raw.post("/fine_tuning/jobs", content=body))["code"] == "invalid_json"


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"NaN", b"\xff", b"[" * 100_000, b'{"seed": NaN}'])
def test_a_body_that_is_no_object_is_refused(raw, body):
    refusal(raw.post("/fine_tuning/jobs", content=body, headers={"content-type": "application/json"}))


@pytest.mark.parametrize("text", [r"\ud800", r"x\uDFFF", r"\ud800\u0041"])
@pytest.mark.parametrize("path", ["/fine_tuning/jobs", "/chat/completions", "/fine_tuning/alpha/graders/validate"])
def test_half_a_surrogate_pair_is_no_text(raw, path, text):
    body = f'{{"model": "bytes", "grader": {{"type": "string_check", "name": "g", "input": "{text}"}}}}'
    fault = refusal(raw.post(path, content=body))
    assert fault["code"] == "invalid_json"


def test_a_body_may_not_be_huge(raw):
    reply = raw.post("/fine_tuning/jobs", content=b'{"model": "' + b"x" * (5 * 2**20))
    assert refusal(reply, 413)["code"] == "request_too_large"


def test_every_optional_field_may_be_null(raw, training_file):
    optional = ("validation_file", "method", "hyperparameters", "integrations", "metadata", "seed", "suffix")
    body = {"model": "gpt-4o-mini", "training_file": training_file} | dict.fromkeys(optional)
    job = raw.post("/fine_tuning/jobs", json=body).json()
    assert job["status"] == "validating_files"
    assert job["method"]["type"] == "supervised"
    assert isinstance(job["seed"], int)
    assert job["metadata"] is None


def test_a_method_that_the_trainer_cannot_do_is_refused_at_once(client, training_file):
    grader = {
        "type": "string_check",
        "name": "same",
        "input": "{{sample.output_text}}",
        "reference": "a",
        "operation": "eq",
    }
    with pytest.raises(openai.BadRequestError, match="reinforcement") as caught:
        submit(
            client,
            training_file,
            validation_file=training_file,
            method={"type": "reinforcement", "reinforcement": {"grader": grader}},
        )
    assert caught.value.param == "method"


def test_a_file_of_another_purpose_is_refused(client):
    file = client.files.create(file=("a.txt", b"hello"), purpose="user_data")
    with pytest.raises(openai.BadRequestError, match="purpose"):
        submit(client, file.id)


# finding jobs


def test_jobs_are_found_by_their_metadata(client, training_file):
    mark = f"a+b&c=[{time.time()}] ü%"
    both = submit(client, training_file, metadata={"project": mark, "stage": "one"})
    other = submit(client, training_file, metadata={"project": mark, "stage": "two"})

    def found(**metadata) -> list[str]:
        return [job.id for job in client.fine_tuning.jobs.list(metadata=metadata, limit=1)]

    assert found(project=mark) == [other.id, both.id]
    assert found(project=mark, stage="one") == [both.id]
    assert found(stage="two", project=mark) == [other.id]
    assert found(project=mark, stage="three") == []
    assert found(project=mark[:-1]) == []


def test_jobs_without_metadata_can_be_asked_for(client, training_file):
    plain, marked = submit(client, training_file), submit(client, training_file, metadata={"a": "b"})
    ids = [job.id for job in client.fine_tuning.jobs.list(metadata=None)]
    everything = [job.id for job in client.fine_tuning.jobs.list()]
    assert marked.id in everything
    raw = client.get("/fine_tuning/jobs?metadata=null", cast_to=httpx.Response).json()
    listed = [job["id"] for job in raw["data"]]
    assert plain.id in listed
    assert marked.id not in listed
    assert ids


def test_pages_are_newest_first_without_gaps_or_repeats(client, training_file):
    made = [submit(client, training_file, metadata={"page": "test"}).id for _ in range(7)]
    assert [job.id for job in client.fine_tuning.jobs.list(metadata={"page": "test"}, limit=3)] == made[::-1]
    first = client.fine_tuning.jobs.list(metadata={"page": "test"}, limit=7)
    assert first.has_more is False


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "1e2", "9" * 5000])
def test_a_limit_has_bounds(raw, limit):
    assert refusal(raw.get("/fine_tuning/jobs", params={"limit": limit}))["param"] == "limit"


@pytest.mark.parametrize("count", [17, 1500])
def test_a_list_takes_only_as_many_pairs_of_metadata_as_a_job_has(raw, count):
    fault = refusal(raw.get("/fine_tuning/jobs", params={f"metadata[{number}]": "v" for number in range(count)}))
    assert (fault["param"], fault["code"]) == ("metadata", "invalid_value")
    pairs = {f"metadata[{number}]": "v" for number in range(16)}
    assert raw.get("/fine_tuning/jobs", params=pairs).json()["data"] == []


@pytest.mark.parametrize("path", ["", "/events", "/checkpoints"])
@pytest.mark.parametrize("job_id", ["ftjob-nobody", "ftjob-" + "x" * 24, "%2e%2e", "x' OR 1=1 --"])
def test_an_unknown_job_is_not_found(raw, path, job_id):
    assert refusal(raw.get(f"/fine_tuning/jobs/{job_id}{path}"), 404)["code"] == "fine_tuning_job_not_found"


def test_an_unknown_cursor_is_not_found(raw, client, training_file):
    job = submit(client, training_file)
    for path in ("", f"/{job.id}/events", f"/{job.id}/checkpoints"):
        assert refusal(raw.get(f"/fine_tuning/jobs{path}?after=nothing"), 404)["param"] in (
            "after",
            "fine_tuning_job_id",
        )


def test_unknown_paths_and_methods_are_refused_in_the_same_shape(raw):
    assert refusal(raw.get("/nothing/here"), 404)["code"] == "unknown_url"
    assert refusal(raw.delete("/fine_tuning/jobs"), 405)["code"] == "method_not_allowed"


# the same request twice


def test_the_same_key_creates_one_job(client, training_file):
    key = {"Idempotency-Key": f"job-{time.time()}"}
    first = client.fine_tuning.jobs.with_raw_response.create(
        model="gpt-4o-mini", training_file=training_file, extra_headers=key
    )
    again = client.fine_tuning.jobs.with_raw_response.create(
        model="gpt-4o-mini", training_file=training_file, extra_headers=key
    )
    assert first.content == again.content
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers


def test_the_same_key_for_something_else_is_refused(client, training_file):
    key = {"Idempotency-Key": f"other-{time.time()}"}
    submit(client, training_file, extra_headers=key)
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        submit(client, training_file, suffix="other", extra_headers=key)
    assert caught.value.code == "idempotency_key_reused"


def test_a_key_that_races_itself_still_creates_one_job(client, training_file, service):
    key = f"race-{time.time()}"

    def create(_):
        return submit(client, training_file, metadata={"race": key}, extra_headers={"Idempotency-Key": key}).id

    with ThreadPoolExecutor(16) as pool:
        ids = set(pool.map(create, range(32)))
    assert len(ids) == 1
    assert [job.id for job in client.fine_tuning.jobs.list(metadata={"race": key})] == list(ids)
    # the folders that were laid out in vain are gone
    known = {job.id for job in client.fine_tuning.jobs.list(limit=100)}
    assert {path.name for path in (service.data_dir / "jobs").iterdir()} <= known
