"""The engine `vllm`: questions are passed on to a running vLLM, into which adapters are loaded."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from support.in_process import InProcess, in_process
from support.job_records import BODY
from support.vllm import Vllm

from tuneway.errors import InvalidSpec
from tuneway_service.app import build_app
from tuneway_service.executors.local import worker_environment
from tuneway_service.settings import Settings
from tuneway_service.states import Move
from tuneway_service.store import jobs, models

TUNED, WHOLE = "ft:gpt-4o-mini:org::abc", "ft:gpt-4o-mini:org::whole"
HELLO = [{"role": "user", "content": "hello"}]


@contextmanager
def served(vllm: Vllm, port: int = 0) -> Iterator[str]:
    """Serve it on a free port; gives its address."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        server = uvicorn.Server(uvicorn.Config(vllm.app(), log_config=None, ws="none", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The folder of a base model, as far as it is looked at before a model is loaded."""
    folder = tmp_path / "Tiny-1B"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], "dtype": "float32"}))
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@contextmanager
def service_with(url: str, base: Path, rank: int = 8) -> Iterator[InProcess]:
    """The service, with a base model, a tuned model that is an adapter, and one that is whole."""
    app = build_app(Settings(data_dir=base.parent / "data", serve_with=f"vllm={url}"))
    service, trainer = app.state.service, f"hf:{base}"
    service.catalogue.bases["gpt-4o-mini"] = trainer

    for name, job in ((TUNED, "ftjob-1"), (WHOLE, "ftjob-2")):
        service.database.write_now(jobs.create, id=job, trainer=trainer, body=BODY)
        service.database.write_now(jobs.move, job, Move.CANCEL)  # so that nobody trains it
        service.database.write_now(models.add, id=name, job_id=job, trainer=trainer, folder="model")
        place = service.settings.jobs_dir / job / "model"
        place.mkdir(parents=True)
        if name == TUNED:
            (place / "adapter_config.json").write_text(json.dumps({"r": rank}))
    with in_process(app) as running:
        yield running


def ask(service: InProcess, model: str = TUNED, path: str = "/chat/completions", **options: Any) -> Any:
    asked = {"model": model} | ({"messages": HELLO} if path == "/chat/completions" else {"prompt": "hello"})
    return service.post(path, json=asked | options)


def test_an_adapter_is_loaded_once_and_its_model_answers(base):
    vllm = Vllm(str(base))
    with served(vllm) as url, service_with(url, base) as service:
        first, reply = ask(service).json(), ask(service).json()
        for one in (first, reply):
            assert one["choices"] == [
                {
                    "index": 0,
                    "logprobs": None,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": f"{TUNED} answers", "refusal": None},
                }
            ]
    assert reply["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    assert (reply["model"], reply["object"]) == (TUNED, "chat.completion")
    assert reply["id"] != "chatcmpl-of-vllm"
    assert vllm.adapters == {TUNED: str(base.parent / "data" / "jobs" / "ftjob-1" / "model")}
    assert [one["model"] for one in vllm.asked] == [TUNED] * 2


@pytest.mark.parametrize("served_as", [None, "gpt-4o-mini", "hub/Tiny-1B"])
def test_the_base_model_answers_under_its_own_name(served_as, base):
    vllm = Vllm(str(base), served=served_as)
    with served(vllm) as url, service_with(f"{url}/v1/", base) as service:
        reply = ask(service, "gpt-4o-mini").json()
    assert reply["choices"][0]["message"]["content"] == f"{served_as or base} answers"
    assert reply["model"] == "gpt-4o-mini"
    assert vllm.adapters == {}


OPTIONS = {
    "temperature": 0.5,
    "top_p": 0.9,
    "n": 2,
    "stop": ["."],
    "seed": 7,
    "max_completion_tokens": 5,
    "frequency_penalty": 0.5,
    "presence_penalty": -0.5,
    "logit_bias": {"7": -100},
    "logprobs": True,
    "top_logprobs": 3,
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "route", "strict": True, "schema": {"type": "object", "additionalProperties": False}},
    },
    "tools": [{"type": "function", "function": {"name": "route", "parameters": {"type": "object"}}}],
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "top_k": 5,
    "min_p": 0.1,
    "repetition_penalty": 1.1,
    "structured_outputs": {"choice": ["yes", "no"]},
    "chat_template_kwargs": {"enable_thinking": False},
}


def test_every_option_is_passed_on(base):
    vllm = Vllm(str(base))
    with served(vllm) as url, service_with(url, base) as service:
        reply = ask(service, **OPTIONS)
        assert reply.status_code == 200, reply.text
    (asked,) = vllm.asked
    assert asked == OPTIONS | {"model": TUNED, "messages": HELLO}
    assert [choice["index"] for choice in reply.json()["choices"]] == [0, 1]


def test_what_is_left_out_is_what_the_api_takes_and_not_what_the_models_folder_says(base):
    vllm = Vllm(str(base))
    with served(vllm) as url, service_with(url, base) as service:
        ask(service)
        ask(service, path="/completions", max_tokens=3)
    neutral = {"temperature": 1, "top_p": 1, "top_k": 0, "min_p": 0, "repetition_penalty": 1}
    first, second = vllm.asked
    assert first == neutral | {"model": TUNED, "messages": HELLO, "max_tokens": 1024}
    assert second == neutral | {"model": TUNED, "prompt": "hello", "max_tokens": 3}


@pytest.mark.parametrize("path", ["/chat/completions", "/completions"])
def test_an_answer_is_streamed_with_its_usage(path, base):
    vllm = Vllm(str(base))
    with served(vllm) as url, service_with(url, base) as service:
        text = ask(service, path=path, stream=True, n=2, stream_options={"include_usage": True}).text
        without = ask(service, path=path, stream=True).text
    *events, done = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert done == "[DONE]"
    *pieces, last = map(json.loads, events)
    said = ["", ""]
    for piece in pieces:
        (choice,) = piece["choices"]
        said[choice["index"]] += choice["text"] if path == "/completions" else choice["delta"]["content"]
        assert (piece["model"], piece["usage"], "stop_reason" in choice) == (TUNED, None, False)
    assert said == [f"{TUNED} answers"] * 2
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 9)
    assert len({event["id"] for event in (*pieces, last)}) == 1
    assert "usage" not in without


def test_an_error_of_the_question_is_the_clients(base):
    vllm = Vllm(str(base))
    tool = {"type": "function", "function": {"name": "route", "parameters": {"type": "object"}}}
    with served(vllm) as url, service_with(url, base) as service:
        for streamed in (False, True):
            reply = ask(service, tools=[tool], stream=streamed)
            assert reply.status_code == 400
            assert "requires --enable-auto-tool-choice" in reply.json()["error"]["message"]
        assert ask(service, audio={"voice": "alloy"}).json()["error"]["param"] == "audio"


@pytest.mark.parametrize("option", ["reasoning_effort", "chat_template_kwargs", "tool_choice", "top_z"])
def test_what_vllm_would_leave_out_silently_is_refused(option, base):
    vllm = Vllm(str(base))
    with served(vllm) as url, service_with(url, base) as service:
        error = ask(service, path="/completions", **{option: "high"}).json()["error"]
    assert (error["param"], error["code"]) == (option, "unknown_parameter")
    assert vllm.asked == []


@pytest.mark.parametrize("streamed", [False, True])
def test_an_adapter_is_loaded_again_when_vllm_was_started_anew(streamed, base):
    vllm = Vllm(str(base))
    with served(vllm) as url, service_with(url, base) as service:
        ask(service)
        vllm.restart()
        reply = ask(service, stream=streamed)
        assert (reply.status_code, f"{TUNED}" in reply.text) == (200, True)
        assert list(vllm.adapters) == [TUNED]


def test_an_adapter_that_another_service_process_has_loaded_is_used(base):
    vllm = Vllm(str(base), adapters={TUNED: "somewhere"})
    with served(vllm) as url, service_with(url, base) as service:
        assert ask(service).status_code == 200


def test_the_adapter_of_a_deleted_model_is_unloaded(base):
    vllm = Vllm(str(base), key="secret")
    with pytest.MonkeyPatch.context() as patch, served(vllm) as url:
        patch.setenv("VLLM_API_KEY", "secret")
        with service_with(url, base) as service:
            ask(service)
            assert list(vllm.adapters) == [TUNED]
            patch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
            assert service.request("DELETE", f"/models/{TUNED}").status_code == 200
            assert vllm.adapters == {}


def test_a_model_is_deleted_though_vllm_is_gone(base):
    with served(Vllm(str(base))) as url:
        pass
    with service_with(url, base) as service:
        reply = ask(service)
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "engine_unavailable")
        assert url in reply.json()["error"]["message"]
        assert service.request("DELETE", f"/models/{TUNED}").status_code == 200


LORA = "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve {base} --enable-lora --max-lora-rank {rank}"
MERGED = "tuneway export {job} --merged --to merged && vllm serve merged --served-model-name {name}"


@pytest.mark.parametrize(
    ("vllm", "name", "rank", "why", "ways"),
    [
        ({"max_rank": 16}, TUNED, 40, "LoRA rank 40 is greater than max_lora_rank 16", [LORA, MERGED]),
        ({"updates": False}, TUNED, 8, "its adapters can't be changed while it runs", [LORA, MERGED]),
        ({"base": "other/model"}, TUNED, 8, "it serves other/model", [LORA, MERGED]),
        ({"base": "other/model"}, "gpt-4o-mini", 8, "it serves other/model", [LORA]),
        ({}, WHOLE, 8, "it serves", [MERGED]),
    ],
)
def test_a_model_that_vllm_cannot_answer_for_is_refused_with_how_to_start_it(vllm, name, rank, why, ways, base):
    with served(Vllm(**({"base": str(base)} | vllm))) as url, service_with(url, base, rank) as service:
        for streamed in (False, True):
            reply = ask(service, name, stream=streamed)
            error = reply.json()["error"]
            assert (reply.status_code, error["param"], error["code"]) == (400, "model", "model_not_served")
            assert f"vLLM at {url} can't answer for {name}: " in error["message"]
            assert why in error["message"]
            for way in (LORA, MERGED):
                job = "ftjob-1" if name == TUNED else "ftjob-2"
                command = way.format(base=base, rank=64 if rank == 40 else 16, job=job, name=name)
                assert (command in error["message"]) is (way in ways)


def test_a_merged_model_answers_under_its_id(base):
    vllm = Vllm("./merged", served=WHOLE)
    with served(vllm) as url, service_with(url, base) as service:
        assert ask(service, WHOLE).json()["choices"][0]["message"]["content"] == f"{WHOLE} answers"


def test_a_key_that_vllm_refuses_is_said(base):
    with served(Vllm(str(base), key="secret")) as url, service_with(url, base) as service:
        error = ask(service).json()["error"]
    assert "Unauthorized" in error["message"]
    assert "VLLM_API_KEY" in error["message"]


def test_the_models_page_says_who_answers(base):
    with service_with("http://127.0.0.1:1", base) as service:
        assert [service.get(f"/models/{name}").json()["engine"] for name in ("gpt-4o-mini", TUNED)] == [
            {"name": "vllm"}
        ] * 2


def test_the_key_of_vllm_reaches_no_worker(monkeypatch):
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    assert "VLLM_API_KEY" not in worker_environment()


@pytest.mark.parametrize("word", ["vllm", "vllm=", "vllm=ftp://host", "vllm=http://me:secret@host", "vllm=http://h:x"])
def test_an_address_that_cannot_be_one_is_refused(word, tmp_path):
    with pytest.raises(InvalidSpec, match=r"there is no engine|needs the address") as caught:
        Settings(data_dir=tmp_path, serve_with=word)
    assert "secret" not in str(caught.value)
