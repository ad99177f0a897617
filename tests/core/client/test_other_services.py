"""Services that speak the API with an accent: other statuses and fields, no filter, no `has_more`, other refusals."""

from __future__ import annotations

import json
import logging

import pytest
from support.fault_server import FaultServer, answer
from support.operations import SPEC

from tuneway import JobCancelled, JobFailed, JobSpec, UnknownStatus
from tuneway.calls import Response, refusal
from tuneway.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    QuotaExhausted,
    RateLimited,
    ServerError,
    TrainingNotAvailable,
    TunewayError,
    Unauthorized,
    Unprocessable,
)
from tuneway.flows import Poll, Retry
from tuneway.models import PHASES, Job, Phase
from tuneway.progress import JobChanged, News

QUICK = {"poll": Poll(minimum=0.001, maximum=0.002), "settle": 0.1, "retry": Retry(first=0.001)}

AZURE_JOB = {
    "object": "fine_tuning.job", "id": "ftjob-1", "created_at": 1_716_000_000, "model": "gpt-4o-mini-2024-07-18",
    "status": "pending", "error": None, "finished_at": None, "fine_tuned_model": None, "organization_id": None,
    "result_files": None, "hyperparameters": {"n_epochs": -1, "batch_size": -1, "learning_rate_multiplier": 1},
    "training_file": "file-1", "validation_file": None, "seed": 7, "trained_tokens": None, "suffix": "x",
    "method": None, "integrations": None, "estimated_finish": 0, "metadata": {"tuneway_key": "k"},
}  # fmt: skip


def test_azures_201_is_a_success_and_its_nulls_are_absences(connect, server):
    server.fault(answer(AZURE_JOB, 201, location="https://me/openai/v1/fine_tuning/jobs/ftjob-1"))
    with connect(base_url=server.base_url) as client:
        job = client.jobs.create(SPEC)
    assert (job.id, job.status, job.phase) == ("ftjob-1", "pending", Phase.PENDING)
    assert job.organization_id is job.result_files is job.estimated_finish is job.error is None
    assert not job.done


def test_a_wait_goes_through_all_of_azures_statuses(connect, server):
    words = ["pending", "notRunning", "running", "pausing", "paused", "resuming", "running", "succeeded"]
    for word in words:
        server.fault(answer(AZURE_JOB | {"status": word, "fine_tuned_model": "ft:x"}), "GET", "/fine_tuning/jobs/.*-1")
    told: list[News] = []
    with connect(base_url=server.base_url, **QUICK) as client:
        job = client.wait("ftjob-1", on_event=told.append)
    assert job.fine_tuned_model == "ft:x"
    assert [news.job.status for news in told if isinstance(news, JobChanged)] == words


def test_azures_spelling_of_cancelled_ends_a_wait(connect, server):
    server.fault(answer(AZURE_JOB | {"status": "canceled"}))
    with connect(base_url=server.base_url, **QUICK) as client, pytest.raises(JobCancelled) as caught:
        client.wait("ftjob-1")
    assert caught.value.job_id == "ftjob-1"


def test_a_status_that_nobody_knows_goes_on_and_is_logged_once(connect, server, caplog):
    word = f"defragmenting_{connect.__name__}"
    for status in (word, word, word, "succeeded"):
        model = "ft:x" if status == "succeeded" else None
        server.fault(answer(AZURE_JOB | {"status": status, "fine_tuned_model": model}))
    with caplog.at_level(logging.WARNING, "tuneway"), connect(base_url=server.base_url, **QUICK) as client:
        assert client.wait("ftjob-1").status == "succeeded"
    assert [word in record.getMessage() for record in caplog.records] == [True]


STATUSES = {
    Phase.PENDING: (
        "validating_files queued pending notRunning resuming QUEUING created SCHEDULING PENDING JOB_STATE_UNSPECIFIED "
        "JOB_STATE_QUEUED JOB_STATE_PENDING JOB_STATE_CREATING JOB_STATE_VALIDATING JOB_STATE_CREATING_INPUT_DATASET "
        "JOB_STATE_RE_QUEUEING"
    ),
    Phase.RUNNING: (
        "running pausing compressing uploading cancel_requested InProgress Stopping CANCELING cancelling RUNNING "
        "JOB_STATE_RUNNING JOB_STATE_UPDATING JOB_STATE_CANCELLING JOB_STATE_WRITING_RESULTS JOB_STATE_IDLE"
    ),
    Phase.PAUSED: "paused JOB_STATE_PAUSED",
    Phase.SUCCEEDED: (
        "succeeded completed Completed SUCCEEDED COMPLETED JOB_STATE_SUCCEEDED JOB_STATE_COMPLETED "
        "JOB_STATE_EARLY_STOPPED JOB_STATE_PARTIALLY_SUCCEEDED"
    ),
    Phase.FAILED: "failed error user_error Failed FAILED ERROR JOB_STATE_FAILED JOB_STATE_EXPIRED",
    Phase.CANCELLED: (
        "cancelled canceled Stopped CANCELED DELETED JOB_STATE_CANCELLED JOB_STATE_DELETING "
        "JOB_STATE_DELETING_CLEANING_UP"
    ),
}
WORDS = [(word, phase) for phase, words in STATUSES.items() for word in words.split()]


@pytest.mark.parametrize(("word", "phase"), WORDS)
def test_the_statuses_of_every_service_have_a_phase(word, phase, caplog):
    job = Job(id="ftjob-1", status=word, fine_tuned_model="ft:x")
    assert (job.phase, job.unclear) == (phase, False)
    assert not caplog.records


def test_the_table_has_no_status_that_no_service_uses():
    used = {word.lower().removeprefix("job_state_") for word, _ in WORDS}
    assert set(PHASES) - used == {"in_progress"}


@pytest.mark.parametrize(
    ("word", "error"),
    [("completed", None), ("Completed", None), ("JOB_STATE_SUCCEEDED", None), ("SUCCEEDED", None),
     ("user_error", JobFailed), ("Failed", JobFailed), ("JOB_STATE_EXPIRED", JobFailed),
     ("Stopped", JobCancelled), ("DELETED", JobCancelled)],
)  # fmt: skip
def test_an_end_in_the_words_of_another_service_ends_a_wait(word, error, connect, server):
    server.fault(answer(AZURE_JOB | {"status": word, "fine_tuned_model": "ft:x"}))
    with connect(base_url=server.base_url, **QUICK) as client:
        if error is None:
            assert client.wait("ftjob-1").fine_tuned_model == "ft:x"
        else:
            with pytest.raises(error):
                client.wait("ftjob-1")
    assert len(server.asked("GET")) == 1


@pytest.mark.parametrize("facts", [{"finished_at": 1_716_000_600}, {"fine_tuned_model": "ft:x"}], ids=str)
def test_a_job_that_has_ended_with_an_unknown_status_is_looked_at_once_more_and_told(facts, connect, server):
    server.fault(answer(AZURE_JOB | {"status": "ripe"} | facts), times=9)
    with connect(base_url=server.base_url, **QUICK) as client, pytest.raises(UnknownStatus) as caught:
        client.wait("ftjob-1")
    assert (caught.value.job_id, caught.value.job.status, caught.value.retryable) == ("ftjob-1", "ripe", False)
    assert "'ripe'" in caught.value.message
    assert "PHASES['ripe']" in caught.value.hint
    assert len(server.asked("GET")) == 2


def test_a_status_that_the_user_has_added_ends_a_wait(connect, server, monkeypatch):
    monkeypatch.setitem(PHASES, "ripe", Phase.SUCCEEDED)
    server.fault(answer(AZURE_JOB | {"status": "ripe", "fine_tuned_model": "ft:x"}))
    with connect(base_url=server.base_url, **QUICK) as client:
        assert client.wait("ftjob-1").fine_tuned_model == "ft:x"


def test_a_look_gives_the_same_error_for_a_job_with_an_unknown_end(connect, server):
    server.fault(answer(AZURE_JOB | {"status": "ripe", "finished_at": 1_716_000_600}), times=9)
    with connect(base_url=server.base_url, **QUICK) as client:
        (error,) = client.look(["ftjob-1"])
    assert isinstance(error, UnknownStatus)
    assert len(server.asked("GET")) == 2


def test_a_job_that_is_clear_at_the_second_look_is_given_as_it_is(connect, server):
    server.fault(answer(AZURE_JOB | {"status": "ripe", "finished_at": 1_716_000_600}))
    server.fault(answer(AZURE_JOB | {"status": "succeeded", "finished_at": 1_716_000_600, "fine_tuned_model": "ft:x"}))
    with connect(base_url=server.base_url, **QUICK) as client:
        (job,) = client.look(["ftjob-1"])
    assert (job.status, job.fine_tuned_model) == ("succeeded", "ft:x")


@pytest.mark.parametrize("quirks", [{}, {"filters_metadata": False}, {"tells_has_more": False}, {"page_cap": 2}])
def test_a_filtered_list_holds_what_was_asked_for_whoever_filters(quirks, connect, server):
    for name, value in quirks.items():
        setattr(server.service, name, value)
    for number in range(7):
        server.service.add_job(metadata={"team": "ab"[number % 2], "n": str(number)})
    server.service.add_job(metadata=None)
    with connect(base_url=server.base_url) as client:
        assert [job.metadata["n"] for job in client.jobs.list(metadata={"team": "a"})] == ["6", "4", "2", "0"]
        assert len(list(client.jobs.list())) == 8


def test_a_second_submit_adopts_where_the_filter_is_ignored(connect, server):
    server.service.filters_metadata = server.service.tells_has_more = False
    server.service.add_file()
    for _ in range(30):
        server.service.add_job(metadata={"team": "other"})
    with connect(base_url=server.base_url, **QUICK) as client:
        first = client.submit(SPEC, key="nightly")
        assert client.submit(SPEC, key="nightly").id == first.id
    assert len(server.asked("POST", "/fine_tuning/jobs")) == 1


def test_unknown_fields_are_kept(connect, server):
    server.fault(answer(AZURE_JOB | {"usage_metrics": {"a": 1}, "user_provided_suffix": "x"}))
    with connect(base_url=server.base_url) as client:
        job = client.jobs.retrieve("ftjob-1")
    assert job.model_extra["usage_metrics"] == {"a": 1}


def test_a_job_that_never_names_its_model_still_ends_its_wait(connect, server):
    nameless = {"id": "ftjob-1", "object": "fine_tuning.job", "status": "succeeded", "model": "m"}
    server.fault(answer(nameless), times=50)
    with connect(base_url=server.base_url, **QUICK) as client:
        job = client.wait("ftjob-1")
    assert (job.status, job.fine_tuned_model) == ("succeeded", None)


FASTAPI = {
    "detail": [
        {"type": "missing", "loc": ["body", "training_file"], "msg": "Field required", "input": {}},
        {"type": "int", "loc": ["body", "seed"], "msg": "Not a number"},
    ]
}


GOOGLE = {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "no quota"}


@pytest.mark.parametrize(
    ("body", "status", "kind", "message"),
    [
        (FASTAPI, 422, Unprocessable, "body.training_file: Field required; body.seed: Not a number"),
        ({"detail": "No such thing"}, 422, Unprocessable, "No such thing"),
        ({"detail": [{"loc": 5, "msg": None}, "x", None]}, 422, Unprocessable, "5:"),
        ({"error": "model is not allowed"}, 400, BadRequest, "model is not allowed"),
        ({"error": {"message": "bad", "code": None, "param": "suffix"}}, 400, BadRequest, "bad"),
        ({"message": "from a gateway"}, 400, BadRequest, "from a gateway"),
        ({"error": {"message": {"deep": [1]}, "code": 5}}, 400, BadRequest, '{"deep": [1]}'),
        ({"error": None}, 400, BadRequest, "answered 400 and gave no reason"),
        (b"plain words", 400, BadRequest, "plain words"),
        (b"<html>a proxy's page</html>", 400, BadRequest, "answered 400 and gave no reason"),
        (["a", "list"], 400, BadRequest, '["a", "list"]'),
        ({"error": {"message": "lone \ud800 half", "code": "x"}}, 400, BadRequest, "lone \ufffd half"),
        ({"error": {"code": "training_not_available", "message": "no"}}, 403, TrainingNotAvailable, "no"),
        ({"error": {"code": "insufficient_quota", "message": "pay"}}, 429, QuotaExhausted, "pay"),
        ({"error": {"type": "insufficient_quota", "message": "pay"}}, 429, QuotaExhausted, "pay"),
        ({"error": {"code": "daily_rate_limit_exceeded", "message": "x"}}, 429, QuotaExhausted, "x"),
        ({"error": {"message": "slow down"}}, 429, RateLimited, "slow down"),
        ({"code": 3, "message": "bad", "details": []}, 400, BadRequest, "bad"),
        ({"code": 8, "message": "no GPU", "details": []}, 429, QuotaExhausted, "no GPU"),
        (GOOGLE | {"details": [{"retryDelay": "0.001s"}]}, 429, RateLimited, "no quota"),
        ({"error": GOOGLE}, 429, QuotaExhausted, "no quota"),
        ({"error": GOOGLE | {"details": [{"retryDelay": "soon"}, None]}}, 429, QuotaExhausted, "no quota"),
        ({"code": 9, "message": "not ready"}, 400, BadRequest, "not ready"),
        ({"Message": "in AWS' words", "__type": "com.amazonaws#ThrottlingException"}, 400, RateLimited, "in AWS'"),
        ({"message": "gone"}, 410, TrainingNotAvailable, "gone"),
    ],
)
def test_a_refusal_is_understood_in_every_shape(body, status, kind, message, connect, server):
    server.fault(answer(body, status, x_request_id="req-7"), times=10)
    with connect(base_url=server.base_url, retry=Retry(attempts=1)) as client, pytest.raises(kind) as caught:
        client.jobs.create(SPEC)
    assert type(caught.value) is kind
    assert message in caught.value.message
    assert (caught.value.status, caught.value.request_id) == (status, "req-7")
    assert "req-7" in str(caught.value)
    str(caught.value).encode()  # can be printed


GRPC = [
    ("UNAUTHENTICATED", 16, 401, Unauthorized), ("PERMISSION_DENIED", 7, 403, Forbidden),
    ("NOT_FOUND", 5, 404, NotFound), ("ALREADY_EXISTS", 6, 409, Conflict), ("ABORTED", 10, 409, Conflict),
    ("FAILED_PRECONDITION", 9, 412, BadRequest), ("CANCELLED", 1, 499, BadRequest),
    ("INTERNAL", 13, 500, ServerError), ("UNAVAILABLE", 14, 503, ServerError),
    ("DEADLINE_EXCEEDED", 4, 504, ServerError), ("RESOURCE_EXHAUSTED", 8, 500, ServerError),
]  # fmt: skip


@pytest.mark.parametrize(("word", "number", "status", "kind"), GRPC)
def test_a_refusal_of_a_grpc_service_has_its_code_as_a_word(word, number, status, kind):
    gateways = {"code": number, "message": "because", "details": []}
    googles = {"error": {"code": status, "message": "because", "status": word}}
    for body in (gateways, googles):
        error = refusal(Response(status, {}, json.dumps(body).encode()))
        assert (type(error), error.code, error.message) == (kind, word, "because")


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("ValidationException", 400, BadRequest), ("ConflictException", 400, Conflict),
        ("ServiceQuotaExceededException", 400, QuotaExhausted), ("TooManyTagsException", 400, BadRequest),
        ("AccessDeniedException", 403, Forbidden), ("ResourceNotFoundException", 404, NotFound),
        ("ThrottlingException", 429, RateLimited), ("InternalServerException", 500, ServerError),
        ("ThrottlingException", 503, ServerError),
    ],
)  # fmt: skip
def test_a_refusal_of_aws_is_named_by_its_header(name, status, kind):
    headers = {"x-amzn-errortype": f"{name}:http://internal.amazon.com/coral/"}
    error = refusal(Response(status, headers, b'{"message":"because"}'))
    assert (type(error), error.code, error.message) == (kind, name, "because")


def test_a_read_of_a_service_whose_resource_is_exhausted_is_sent_again(connect, server):
    server.fault(answer({"code": 8, "message": "too many requests", "details": []}, 429, retry_after_ms="1"))
    server.fault(answer(AZURE_JOB))
    with connect(base_url=server.base_url, **QUICK) as client:
        assert client.jobs.retrieve("ftjob-1").id == "ftjob-1"


@pytest.mark.slow
def test_a_used_up_quota_does_not_end_a_wait_at_once(connect, server):
    server.fault(answer({"error": {"code": "insufficient_quota", "message": "pay"}}, 429))
    server.fault(answer(AZURE_JOB | {"status": "succeeded", "fine_tuned_model": "ft:x"}))
    with connect(base_url=server.base_url, **QUICK) as client:
        assert client.wait("ftjob-1").status == "succeeded"


def test_a_service_that_has_ended_its_training_is_told_with_the_alternatives():
    error = refusal(Response(410, {}, b'{"detail":"Fine-tuning is gone"}'))
    assert isinstance(error, TrainingNotAvailable)
    assert "tuneway serve" in str(error)


def test_a_blocked_account_hears_of_the_alternatives_and_is_asked_once(connect, server):
    body = {"error": {"code": "training_not_available", "message": "closed", "type": "invalid_request_error"}}
    server.fault(answer(body, 403), "POST", times=9)
    server.service.add_file()
    with connect(base_url=server.base_url, **QUICK) as client, pytest.raises(TrainingNotAvailable) as caught:
        client.submit(JobSpec(model="m", training_file="file-1"))
    assert "tuneway serve" in str(caught.value)
    assert len(server.asked("POST")) == 1
    assert not caught.value.retryable
    assert caught.value.processed is False


@pytest.mark.parametrize(("word", "retryable"), [("true", True), ("false", False)])
def test_a_service_may_say_itself_whether_to_retry(word, retryable, connect, server):
    server.fault(answer({}, 500 if word == "false" else 400, x_should_retry=word), times=9)
    with connect(base_url=server.base_url, **QUICK) as client, pytest.raises(TunewayError, match="no reason") as caught:
        client.jobs.retrieve("ftjob-1")
    assert caught.value.retryable is retryable
    assert (len(server.arrived) > 1) is retryable


def test_a_list_that_repeats_itself_is_read_once(connect):
    with FaultServer() as server:
        page = {
            "object": "list",
            "data": [AZURE_JOB, AZURE_JOB | {"id": "ftjob-2"}],
        }  # no has_more, and `after` ignored
        server.fault(answer(page), times=9)
        with connect(base_url=server.base_url) as client:
            assert [job.id for job in client.jobs.list()] == ["ftjob-1", "ftjob-2"]
        assert [arrival.query for arrival in server.arrived] == ["", "after=ftjob-2"]
