"""Every operation of the service, with inputs from the types of the `openai` package and from one step beside them.

No 5xx, no misshaped reply, nothing refused that fits, nothing taken that doesn't. `TUNEWAY_FUZZ_EXAMPLES` says how many
inputs each operation gets.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from support.in_process import InProcess, in_process
from support.openai_jobs import chats
from support.openai_operations import DIFFERENCES, OPERATIONS, PATIENCE, TypedOperation
from support.openai_types import NOTHING, ODD, beside, fits, plain, values
from support.receiver import receiver
from support.service import until

from tuneway_service.app import build_app
from tuneway_service.folder import JobFolder
from tuneway_service.settings import Settings
from tuneway_service.states import Move
from tuneway_service.store import jobs

EXAMPLES = int(os.environ.get("TUNEWAY_FUZZ_EXAMPLES", "100"))
ROOT = Path(__file__).parents[2]
PART = b'{"prompt": "a", "completion": "b"}\n'
ENCLOSED = {
    "POST /files": {"file": ("train.jsonl", chats(10))},
    "POST /uploads/<upload>/parts": {"data": ("part", PART)},
}

pytestmark = pytest.mark.slow
each = pytest.mark.parametrize("operation", OPERATIONS, ids=str)
each_with_input = pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.takes != NOTHING], ids=str)
each_of_one = pytest.mark.parametrize("operation", [one for one in OPERATIONS if "<" in one.call], ids=str)
tried = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


class IdleExecutor:
    """Its workers do nothing until they are stopped."""

    pace = 0.05
    detached = False

    def __init__(self) -> None:
        self.working: set[str] = set()

    def launch(self, folder: JobFolder) -> None:
        self.working.add(folder.path.name)

    def alive(self, folder: JobFolder) -> bool:
        return folder.path.name in self.working

    def stop(self, folder: JobFolder, *, force: bool = False) -> None:
        del force
        self.working.discard(folder.path.name)

    def notices(self, _: JobFolder) -> tuple[()]:
        return ()

    def exit_reason(self, _: JobFolder) -> str:
        return "it was stopped"

    def close(self) -> None:
        """Nothing to release."""


class World:
    """A service with one of each: a job that has trained, its files and checkpoints, an endpoint of webhooks."""

    def __init__(self, folder: Path, url: str) -> None:
        self.settings = Settings(data_dir=folder, models={"gpt-4o-mini": "bytes"})
        self.names = {"url": url, "md5": hashlib.md5(PART, usedforsecurity=False).hexdigest()}
        self.numbers = itertools.count()
        self.service: InProcess
        self.app: Any

    def made(self, path: str, **options: Any) -> dict[str, Any]:
        reply = self.service.post(path, **options)
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()
        return found

    def new_file(self, rows: int = 10, *, start: int = 0) -> dict[str, str]:
        options = {"files": {"file": ("a.jsonl", chats(rows, start=start))}, "data": {"purpose": "fine-tune"}}
        return {"file": self.made("/files", **options)["id"]}

    def new_job(self, *, paused: bool = False) -> dict[str, str]:
        body = {"model": "gpt-4o-mini", "training_file": self.names["training"]}
        job = self.made("/fine_tuning/jobs", json=body)["id"]
        moves = (Move.ADMIT, *([Move.PAUSE] if paused else []))
        self.app.state.service.database.write_now(lambda store: [jobs.move(store, job, move) for move in moves])
        return {"job": job}

    def new_permission(self) -> dict[str, str]:
        path = f"/fine_tuning/checkpoints/{self.names['model']}/permissions"
        return {"permission": self.made(path, json={"project_ids": [f"project-{next(self.numbers)}"]})["data"][0]["id"]}

    def new_upload(self, *, part: bool = False) -> dict[str, str]:
        body = {"filename": "a.jsonl", "purpose": "fine-tune", "bytes": len(PART), "mime_type": "text/jsonl"}
        upload = self.made("/uploads", json=body)["id"]
        if not part:
            return {"upload": upload}
        return {"upload": upload, "part": self.made(f"/uploads/{upload}/parts", files={"data": PART})["id"]}

    def new_endpoint(self) -> dict[str, str]:
        body = {"name": "n", "url": self.names["url"], "event_types": ["fine_tuning.job.failed"]}
        return {"endpoint": self.made("/webhook_endpoints", json=body)["id"]}

    def new_model(self) -> dict[str, str]:
        return {"old_model": self.names["last_model"]}

    def train(self) -> None:
        """Train two jobs: the model of one may be deleted."""
        self.names["training"] = self.new_file(20)["file"]
        self.names["validation"] = self.new_file(start=100)["file"]
        self.names["last_model"] = self.trained()["fine_tuned_model"]
        job = self.trained()
        self.names |= {"job": job["id"], "model": job["fine_tuned_model"]}
        for kind in ("events", "checkpoints"):
            listed = self.service.get(f"/fine_tuning/jobs/{job['id']}/{kind}").json()["data"]
            self.names[kind[:-1]] = listed[0]["id"]
        self.names |= self.new_permission() | self.new_endpoint()

    def trained(self) -> dict[str, Any]:
        job = self.made("/fine_tuning/jobs", json={"model": "bytes", "training_file": self.names["training"]})

        def ended() -> dict[str, Any] | None:
            found: dict[str, Any] = self.service.get(f"/fine_tuning/jobs/{job['id']}").json()
            return found if found["status"] == "succeeded" else None

        found: dict[str, Any] = until(ended, seconds=120)
        return found

    def filled(self, value: Any, more: dict[str, str]) -> Any:
        """A value in which "<job>" is the id of the job, and so on."""
        if isinstance(value, dict):
            return {name: self.filled(inner, more) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.filled(inner, more) for inner in value]
        if isinstance(value, str) and len(value) < 20 and value.startswith("<"):
            return (self.names | more).get(value[1:-1], value)
        return value

    def send(self, operation: TypedOperation, given_: Any) -> httpx.Response:
        """Carry out an operation."""
        more = operation.ready(self) if operation.ready else {}
        method, path = operation.call.split()
        names = self.names | more
        path = re.sub("<(.*?)>", lambda found: quote(names[found[1]], safe=""), path)
        enclosed = ENCLOSED.get(operation.call)
        if operation.takes == NOTHING and not enclosed:
            return self.service.request(method, path)
        asked = self.filled(given_, more)
        if operation.where == "json":
            return self.service.request(method, path, content=json.dumps(asked))
        if operation.where == "query":
            return self.service.request(method, path, params=pairs_of(asked))
        return self.service.request(method, path, data=dict(pairs_of(asked)), files=enclosed)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    with receiver() as there:
        made = World(tmp_path_factory.mktemp("data"), there.url)
        with in_process(build_app(made.settings)) as made.service:
            made.train()
        # jobs that are created from here on stand still
        made.app = build_app(replace(made.settings, faults="stuck=1"), IdleExecutor())
        with in_process(made.app) as made.service:
            yield made


# --- How queries and forms are written, and what is meant ---


def pairs_of(asked: dict[str, Any]) -> list[tuple[str, str]]:
    """The pairs of a query or a form, as the package writes them."""
    pairs = []
    for name, value in asked.items():
        if isinstance(value, dict) and value:
            pairs += [(f"{name}[{inner}]", _text(text)) for inner, text in value.items()]
        elif value != {}:
            pairs.append((name, _text(value)))
    return pairs


def _text(value: Any) -> str:
    if value is None:
        return "null"
    return value if isinstance(value, str) else json.dumps(value)


def meant(asked: dict[str, Any]) -> dict[str, Any]:
    """What the pairs mean to a reader, who sees text alone."""
    found: dict[str, Any] = {}
    for name, text in pairs_of(asked):
        outer, inner = re.fullmatch(r"(.*?)(?:\[(.*)\])?", name, re.DOTALL).groups()  # type: ignore[union-attr]
        value: Any = int(text) if re.fullmatch("[0-9]{1,30}", text) and (inner or outer) in NUMBERS else text
        if inner is None:
            found[outer] = None if text == "null" and outer == "metadata" else value
        else:
            found.setdefault(outer, {})[inner] = value
    return found


NUMBERS = ("limit", "seconds")


# --- What a reply must be ---


def check_refusal(reply: httpx.Response) -> dict[str, Any]:
    assert 400 <= reply.status_code < 500, reply.text[:2000]
    assert reply.headers["x-request-id"]
    assert reply.json().keys() == {"error"}
    error: dict[str, Any] = reply.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["type"], str)
    for name in ("param", "code"):
        assert error[name] is None or isinstance(error[name], str)
    return error


def check_reply(operation: TypedOperation, reply: httpx.Response) -> None:
    assert reply.status_code == 200, reply.text[:2000]
    if operation.gives is None:
        return
    stream = bool(operation.pieces) and reply.headers["content-type"].startswith("text/event-stream")
    kind = TypeAdapter(operation.pieces if stream else operation.gives)
    for text in pieces_of(reply) if stream else [reply.text]:
        kind.validate_json(json.dumps(as_the_types_say(json.loads(text))), strict=True)


def pieces_of(reply: httpx.Response) -> list[str]:
    """The JSON of each event of a stream."""
    *pieces, end, rest = reply.text.split("\n\n")
    assert (end, rest) == ("data: [DONE]", "")
    assert all(piece.startswith("data: ") for piece in pieces)
    return [piece.removeprefix("data: ") for piece in pieces]


def as_the_types_say(value: Any) -> Any:
    """A reply in which what OpenAI's own replies have too, and the package's types lack, is replaced."""
    if isinstance(value, list):
        return [as_the_types_say(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if value.get("object") == "fine_tuning.job" and value["status"] in ("paused", "pausing"):
        return value | {"status": "running"}
    if value.get("object") == "file" and value.get("purpose") == "evals":
        return value | {"purpose": "user_data"}
    if value.get("type") == "multi" and "graders" in value:
        return value | {"graders": next(iter(value["graders"].values()))}
    if value.get("object") == "text_completion":
        return value | {
            "choices": [one | {"finish_reason": one["finish_reason"] or "stop"} for one in value["choices"]]
        }
    return {name: as_the_types_say(inner) for name, inner in value.items()}


# --- The tests ---


@each
def test_an_operation_replies_as_the_package_expects(world, operation):
    check_reply(operation, world.send(operation, plain(operation.taken)))


@each_with_input
@tried
@given(data=st.data())
def test_what_fits_is_taken(world, operation, data):
    asked = data.draw(values(operation.taken))
    check_reply(operation, world.send(operation, asked))


@each_with_input
@tried
@given(data=st.data())
def test_what_is_one_step_beside_is_refused_by_name(world, operation, data):
    asked = data.draw(beside(values(operation.taken) | values(operation.reachable)))
    understood = asked if operation.where == "json" else meant(asked)
    reply = world.send(operation, asked)
    if reply.status_code == 200:
        assert fits(operation.allowed, understood), "taken, though it doesn't fit the types"
        check_reply(operation, reply)
        return
    assert not fits(operation.taken, understood), f"refused, though it fits the types: {reply.text[:2000]}"
    error = check_refusal(reply)
    if isinstance(asked, dict) and not fits(operation.allowed, understood):
        assert error["param"] is not None or error["code"] in ("invalid_json", "invalid_multipart"), error


@each_of_one
@tried
@given(name=st.sampled_from([odd for odd in ODD if isinstance(odd, str) and odd]) | st.text(min_size=1))
def test_a_name_that_is_none_is_refused(world, operation, name):
    method, path = operation.call.split()
    path = re.sub("<.*?>", quote(name[:500], safe=""), path)
    check_refusal(world.service.request(method, path, content=json.dumps(plain(operation.taken))))


def test_each_difference_is_documented():
    text = " ".join((ROOT / "docs" / "guides" / "service.md").read_text(encoding="utf-8").split())
    assert [sentence for sentence in DIFFERENCES.values() if sentence not in text] == []


def test_a_difference_is_one_of_those_that_are_documented():
    assert {word for one in OPERATIONS for _, word in one.here.values()} - {PATIENCE} == DIFFERENCES.keys() - UNSEEN


UNSEEN = {"multi"}
"""Differences between OpenAI's guide and the package's types: they are in no table of an operation."""
