"""A stand-in for `vllm serve`: its wire, without a model.

It is written after the source of vLLM 0.33 (`entrypoints/serve/lora`, `entrypoints/openai/models/serving.py`,
`entrypoints/openai/chat_completion/protocol.py`, `lora/peft_helper.py`): the paths, the fields, the texts and the
statuses of errors, and where it keeps silent. vLLM itself needs a GPU and gigabytes of other packages.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route


@dataclass
class Vllm:
    """What it was started with, and what it was asked.

    Args:
        base: The folder or name of the model: the argument of `vllm serve`.
        served: `--served-model-name`.
        updates: Whether VLLM_ALLOW_RUNTIME_LORA_UPDATING is set.
        max_rank: `--max-lora-rank`.
        key: `--api-key`.
    """

    base: str
    served: str | None = None
    updates: bool = True
    max_rank: int = 16
    key: str | None = None
    adapters: dict[str, str] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def app(self) -> Starlette:
        """The application."""
        routes = [
            Route("/v1/models", self._models),
            Route("/v1/chat/completions", self._answer, methods=["POST"]),
            Route("/v1/completions", self._answer, methods=["POST"]),
        ]
        if self.updates:
            routes += [
                Route("/v1/load_lora_adapter", self._load, methods=["POST"]),
                Route("/v1/unload_lora_adapter", self._unload, methods=["POST"]),
            ]
        return Starlette(routes=routes, exception_handlers={404: _no_route})

    def restart(self) -> None:
        """Start anew: adapters that were loaded are gone."""
        self.adapters.clear()

    @property
    def name(self) -> str:
        return self.served or self.base

    def _locked(self, request: Request) -> Response | None:
        if self.key is None or request.headers.get("authorization") == f"Bearer {self.key}":
            return None
        return JSONResponse({"error": "Unauthorized"}, status_code=401)

    async def _models(self, request: Request) -> Response:
        cards = [{"id": self.name, "root": self.base, "parent": None, "max_model_len": 2048}]
        cards += [{"id": name, "root": path, "parent": self.name} for name, path in self.adapters.items()]
        more = {"object": "model", "created": 1, "owned_by": "vllm", "permission": []}
        return self._locked(request) or JSONResponse({"object": "list", "data": [card | more for card in cards]})

    async def _load(self, request: Request) -> Response:
        if locked := self._locked(request):
            return locked
        body = await request.json()
        name, path = body["lora_name"], body["lora_path"]
        if name in self.adapters and not body.get("load_inplace"):
            text = f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in place, set"
            return _error(400, f"{text} 'load_inplace' to True.", "InvalidUserInput")
        config = Path(path) / "adapter_config.json"
        if not config.exists():
            return _error(404, f"Loading lora {name} failed: No adapter found for {path}", "NotFoundError")
        rank = json.loads(config.read_text())["r"]
        if rank > self.max_rank:
            text = f"LoRA rank {rank} is greater than max_lora_rank {self.max_rank}."
            return _error(500, text, "InternalServerError")
        self.adapters[name] = path
        return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")

    async def _unload(self, request: Request) -> Response:
        if locked := self._locked(request):
            return locked
        name = (await request.json())["lora_name"]
        if name not in self.adapters:
            return _error(404, f"The lora adapter '{name}' cannot be found.", "NotFoundError")
        del self.adapters[name]
        return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")

    async def _answer(self, request: Request) -> Response:
        if locked := self._locked(request):
            return locked
        body = await request.json()
        self.asked.append(body)
        model = body["model"]
        if model not in {self.name, *self.adapters}:
            text = f"The model `{model}` does not exist. Valid aliases: {self.name}."
            return _error(404, text, "NotFoundError", param="model")
        if body.get("tools") and body.get("tool_choice", "auto") == "auto":
            text = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
            return _error(400, text, "BadRequestError")
        head = {"id": "chatcmpl-of-vllm", "created": 1, "model": model}
        if body.get("stream"):
            return StreamingResponse(self._events(head, body), media_type="text/event-stream")
        return JSONResponse(head | self._reply(body))

    def _reply(self, body: dict[str, Any]) -> dict[str, Any]:
        text, more = f"{body['model']} answers", {"stop_reason": None, "token_ids": None, "routed_experts": None}
        choices = []
        for index in range(body.get("n") or 1):
            choice = {"index": index, "logprobs": None, "finish_reason": "stop"} | more
            if "messages" in body:
                message = {"role": "assistant", "content": text, "refusal": None, "reasoning": None}
                choices.append(choice | {"message": message})
            else:
                choices.append(choice | {"text": text})
        kind = "chat.completion" if "messages" in body else "text_completion"
        more = {"prompt_logprobs": None, "prompt_token_ids": None, "kv_transfer_params": None, "metrics": None}
        return {"object": kind, "choices": choices, "usage": _usage()} | more

    async def _events(self, head: dict[str, Any], body: dict[str, Any]):
        chat = "messages" in body
        kind = {"object": "chat.completion.chunk" if chat else "text_completion"}
        pieces = [{"role": "assistant", "content": ""}] * chat
        pieces += [{"content": word} for word in (f"{body['model']}", " answers")]
        for index in range(body.get("n") or 1):
            for number, piece in enumerate(pieces, start=1):
                content = {"delta": piece} if chat else {"text": piece["content"]}
                end = {"finish_reason": "stop" if number == len(pieces) else None, "stop_reason": None}
                yield _event(head | kind | {"choices": [{"index": index, "logprobs": None} | content | end]})
        if (body.get("stream_options") or {}).get("include_usage"):
            yield _event(head | kind | {"choices": [], "usage": _usage()})
        yield "data: [DONE]\n\n"


def _usage() -> dict[str, Any]:
    return {"prompt_tokens": 7, "total_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": None}


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"


def _error(status: int, message: str, kind: str, *, param: str | None = None) -> Response:
    return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": status}}, status)


async def _no_route(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": "Not Found"}, 404)
