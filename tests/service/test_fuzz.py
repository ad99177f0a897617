"""Any JSON to any route: it is answered, never with a 5xx, and always in the API's shape."""

from __future__ import annotations

import json

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.in_process import in_process
from support.openai_jobs import chats

from tuneway_service.app import build_app
from tuneway_service.settings import Settings

FIELDS = """
    model training_file validation_file method type supervised dpo reinforcement grader hyperparameters n_epochs
    batch_size beta metadata suffix seed integrations wandb messages role content prompt stop n temperature stream
    max_tokens project bytes filename purpose mime_type expires_after part_ids md5 project_ids auto name url
    event_types input reference operation eq string_check multi graders
"""
WORDS = st.sampled_from(FIELDS.split())
TEXT = st.one_of(WORDS, st.text(max_size=20), st.sampled_from(["\ud800", "\x00", "../..", "{{item.x}}", "fine-tune"]))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=6)),
    max_leaves=20,
)
ROUTES = [
    "/fine_tuning/jobs",
    "/uploads",
    "/uploads/upload_x/complete",
    "/chat/completions",
    "/completions",
    "/fine_tuning/alpha/graders/validate",
    "/fine_tuning/alpha/graders/run",
    "/fine_tuning/checkpoints/ft:x/permissions",
    "/webhook_endpoints",
    "/webhook_endpoints/we_x",
    "/webhook_endpoints/we_x/rotate_secret",
]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """The application in this process."""
    with in_process(build_app(Settings(data_dir=tmp_path_factory.mktemp("data")))) as made:
        yield made


@pytest.fixture(scope="module")
def file(service):
    """A real file for bodies that nearly make sense."""
    form = {"files": {"file": ("a.jsonl", chats(5))}, "data": {"purpose": "fine-tune"}}
    return service.post("/files", **form).json()["id"]


def check(reply: httpx.Response) -> None:
    assert reply.status_code < 500, reply.text
    if reply.status_code >= 400:
        error = reply.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert isinstance(error["message"], str)
        assert error["message"]


@pytest.mark.parametrize("route", ROUTES)
@given(body=st.one_of(st.dictionaries(WORDS, JSON, max_size=8), JSON))
def test_any_body_is_answered(service, route, body):
    check(service.post(route, content=json.dumps(body), headers={"content-type": "application/json"}))


@given(extra=st.dictionaries(WORDS, JSON, max_size=3))
def test_a_good_create_with_anything_added_is_answered(service, file, extra):
    check(service.post("/fine_tuning/jobs", content=json.dumps({"model": "bytes", "training_file": file} | extra)))


@given(raw=st.binary(max_size=60))
def test_any_bytes_are_answered(service, raw):
    for path in ("/fine_tuning/jobs", "/files", "/uploads/u/parts"):
        check(service.post(path, content=raw))
        check(service.post(path, content=raw, headers={"content-type": "multipart/form-data; boundary=b"}))


@given(
    query=st.dictionaries(
        TEXT.filter(lambda text: "\ud800" not in text), TEXT.filter(lambda text: "\ud800" not in text)
    )
)
def test_any_query_is_answered(service, query):
    for path in ("/fine_tuning/jobs", "/files", "/webhook_endpoints"):
        check(service.get(path, params=query | {f"metadata[{key}]": value for key, value in query.items()}))
