"""Engines that answer, without a model: what is loaded, what is refused, what is sent and understood."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack

import httpx
import pytest

from tuneway.errors import InvalidSpec, MissingExtra
from tuneway_service.answers import Engines, ModelQuestion, engines
from tuneway_service.answers.llamacpp.calls import CallForm, grammar
from tuneway_service.answers.llamacpp.logprobs import of_chat, of_text
from tuneway_service.answers.llamacpp.wording import worded
from tuneway_service.answers.offers import OF_LLAMACPP
from tuneway_service.answers.shelf import IDLE_SECONDS, Shelf
from tuneway_service.answers.upstream import BrokenOff, Upstream
from tuneway_service.chat_bodies import ChatCompletion
from tuneway_service.refusals import Refusal
from tuneway_service.settings import Settings
from tuneway_service.slots import Slots

HELLO = [{"role": "user", "content": "Hello"}]
ROUTE = {"type": "function", "function": {"name": "route", "parameters": {"type": "object"}}}


class Weights:
    """A model that takes some of the memory while it is loaded."""

    def __init__(self, size: int, device) -> None:
        self.size, self.device, self.is_closed = size, device, False

    async def close(self) -> None:
        self.is_closed = True


async def test_models_are_ended_by_memory_the_least_recently_used_first_and_none_that_is_asked():
    made: dict[str, Weights] = {}
    loaded: list[Weights] = []

    def free(_):
        return 100 - sum(each.size for each in loaded if not each.is_closed), 100

    shelf = Shelf(Slots(None), free)

    async def load(name: str, size: int) -> None:
        with shelf.use(name, lambda device: made.setdefault(name, Weights(size, device))) as model:
            await shelf.make_room(model)
            loaded.append(model)

    for name in ("a", "b", "c"):
        await load(name, 30)
    assert not any(each.is_closed for each in made.values())
    with shelf.use("a", lambda device: Weights(0, device)):
        await load("d", 60)
    assert {name for name, each in made.items() if each.is_closed} == {"b", "c"}
    await shelf.close()
    assert all(each.is_closed for each in made.values())


async def test_models_are_kept_while_there_is_memory_and_ended_when_nobody_asks(monkeypatch):
    now = 0.0
    monkeypatch.setattr("tuneway_service.answers.shelf.time.monotonic", lambda: now)
    shelf, made = Shelf(Slots(None), lambda _: (10**9, 10**9)), [Weights(1, None) for _ in range(20)]
    for name, weights in enumerate(made):
        with shelf.use(name, lambda _, weights=weights: weights) as model:
            await shelf.make_room(model)
    now = IDLE_SECONDS
    with shelf.use(7, lambda _: made[7]):
        now = IDLE_SECONDS * 3
        await shelf.close_idle()
    assert [number for number, each in enumerate(made) if not each.is_closed] == [7]


def test_each_model_has_the_device_with_the_fewest():
    shelf = Shelf(Slots(["0", "1"]), lambda _: None)
    with ExitStack() as stack:
        found = [stack.enter_context(shelf.use(name, lambda device: Weights(1, device))).device for name in range(4)]
        assert sorted(found) == [("0",), ("0",), ("1",), ("1",)]
        assert stack.enter_context(shelf.use("bytes", lambda device: Weights(1, device), alone=True)).device == ()


def test_who_wants_an_engine_that_is_missing_is_told_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra) as caught:
        Engines(Settings(data_dir=tmp_path, serve_with="llamacpp"), Slots(None))
    assert "tuneway[llamacpp]" in str(caught.value)
    found = Engines(Settings(data_dir=tmp_path), Slots(None)).choice("hf:/nowhere", None)
    assert (found.engine, found.why) == ("transformers", "xllamacpp isn't installed")
    with pytest.raises(InvalidSpec, match="no engine 'magic'"):
        Settings(data_dir=tmp_path, serve_with="magic")


def test_who_has_gpus_isn_t_answered_by_a_llama_cpp_without(tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda name: name)
    monkeypatch.setattr(engines, "_llama_has_gpus", lambda: False)
    found = Engines(Settings(data_dir=tmp_path), Slots(["0"])).choice("hf:/nowhere", None)
    assert found.engine == "transformers"
    assert "no support for GPUs" in found.why
    asked = Engines(Settings(data_dir=tmp_path, serve_with="transformers"), Slots(None)).choice("hf:/nowhere", None)
    assert asked.why == "the service was started with --serve-with transformers"


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"logprobs": True}, "logprobs"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tools": [ROUTE], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [ROUTE], "parallel_tool_calls": False}, "parallel_tool_calls"),
    ],
)
def test_an_option_that_an_engine_lacks_is_refused_with_the_name_of_one_that_has_it(options, param):
    body = ChatCompletion.model_validate({"model": "m", "messages": HELLO} | options)
    with pytest.raises(Refusal, match=r"`transformers`.*can't heed.*--serve-with llamacpp` can") as caught:
        body.options_for("transformers")
    assert caught.value.param == param
    with pytest.raises(Refusal, match=r"`bytes`.*Tune a language model"):
        body.options_for("bytes")
    assert body.options_for("llamacpp").items() >= options.items()


def test_every_option_that_an_engine_offers_is_one_of_the_api():
    known = ChatCompletion.neutral() | ChatCompletion.model_fields.keys() | {"strict", "completions.logprobs"}
    assert set(OF_LLAMACPP) <= known


def test_a_question_for_llama_cpp_names_every_adapter_and_leaves_no_default_of_its_own():
    asked = ModelQuestion({"messages": HELLO, "seed": -1, "stop": ["x"]}).singly()[0]
    body = worded(asked, "{{ messages }}", 1, 3).plain("prompt")
    assert body["lora"] == [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 1.0}, {"id": 2, "scale": 0.0}]
    assert (body["top_k"], body["min_p"], body["repeat_penalty"]) == (0, 0.0, 1.0)
    assert (body["temperature"], body["top_p"], body["max_tokens"], body["stop"]) == (1.0, 1.0, 1024, ["x"])
    assert 0 <= body["seed"] < 2**32 - 1
    assert [each["scale"] for each in worded(asked, "", None, 2).options["lora"]] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("template", "form"),
    [
        ("{{ messages }}", CallForm.OWN),
        ('{{ tools }}<tool_call>{"name": x, "arguments": y}</tool_call>', CallForm.HERMES),
        ("{{ tools }}[TOOL_CALLS]", CallForm.NATIVE),
    ],
)
def test_the_form_of_calls_is_that_of_the_template(template, form):
    asked = {"messages": HELLO, "tools": [ROUTE], "tool_choice": "required"}
    found = worded(asked, template, None, 0)
    assert found.form is form
    if form is CallForm.NATIVE:
        assert found.is_native
        assert found.native()["tool_choice"] == "required"
    else:
        rules = found.plain("prompt")["grammar"]
        assert ("route " in rules) == (form is CallForm.OWN)
        assert '"x-guidance"' in rules
    assert bool(found.rendered().get("tools")) == (form is not CallForm.OWN)


def test_a_grammar_allows_one_call_or_several():
    assert "start: call call*" in grammar([ROUTE], CallForm.OWN, several=True)
    assert "start: call\n" in grammar([ROUTE], CallForm.OWN, several=False)


def test_probabilities_are_worded_as_the_api_words_them():
    tokens = [
        {"id": 1, "token": "a", "bytes": [97], "logprob": -0.5, "top_logprobs": [{"token": "a", "logprob": -0.5}]},
        {"id": 2, "token": "", "bytes": [211], "logprob": None, "top_logprobs": []},
    ]
    chat = of_chat(tokens, 1)["content"]
    assert chat[0] == {
        "token": "a", "bytes": [97], "logprob": -0.5,
        "top_logprobs": [{"token": "a", "bytes": None, "logprob": -0.5}],
    }  # fmt: skip
    assert chat[1] == {"token": r"bytes:\xd3", "bytes": [211], "logprob": -9999.0, "top_logprobs": []}
    assert of_chat(tokens, 0)["content"][0]["top_logprobs"] == []
    text = of_text(tokens[:1], 1, before=3)
    assert text == {"tokens": ["a"], "token_logprobs": [-0.5], "top_logprobs": [{"a": -0.5}], "text_offset": [3]}


def upstream(reply) -> Upstream:
    return Upstream("http://engine", "key", transport=httpx.MockTransport(reply))


async def test_a_body_is_passed_on_and_its_stream_comes_back():
    seen = []

    def reply(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.path, request.headers["authorization"], json.loads(request.content)))
        return httpx.Response(200, text='data: {"choices": [1]}\n\n: ping\n\ndata: {"choices": []}\n\ndata: [DONE]\n\n')

    events = [event async for event in upstream(reply).stream("/v1/chat/completions", {"a": 1})]
    assert events == [{"choices": [1]}, {"choices": []}]
    assert seen == [("/v1/chat/completions", "Bearer key", {"a": 1, "stream": True})]


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, {"message": "too much", "param": "n", "code": "big"}, (400, "n", "big")),
        (422, {"message": "odd", "code": 422}, (400, None, "invalid_value")),
        (429, {"message": "slower"}, (429, None, "invalid_value")),
        (401, {"message": "who?"}, (500, None, "model_error")),
        (503, {"message": "loading"}, (500, None, "model_error")),
    ],
)
async def test_an_error_of_an_engine_becomes_a_refusal(status, error, expected):
    engine = upstream(lambda _: httpx.Response(status, json={"error": error}))
    for ask in (engine.post, lambda *words: anext(engine.stream(*words))):
        with pytest.raises(Refusal, match=error["message"]) as caught:
            await ask("/v1/completions", {})
        assert (caught.value.status, caught.value.param, caught.value.code) == expected


async def test_an_error_in_the_middle_and_a_stream_that_ends_early_are_noticed():
    broken = upstream(lambda _: httpx.Response(200, text='data: {"error": {"message": "out of memory"}}\n\n'))
    with pytest.raises(Refusal, match="out of memory"):
        await anext(broken.stream("/x", {}))
    cut = upstream(lambda _: httpx.Response(200, text='data: {"choices": []}\n\n'))
    with pytest.raises(BrokenOff):
        _ = [event async for event in cut.stream("/x", {})]

    def gone(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("gone")

    with pytest.raises(BrokenOff):
        await upstream(gone).post("/x", {})


async def test_no_proxy_is_asked_for_an_engine_on_this_machine(monkeypatch):
    async def reply(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        writer.close()

    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with await asyncio.start_server(reply, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        engine = Upstream(f"http://127.0.0.1:{port}")
        assert await engine.get("/props") == {}
        await engine.close()
