"""The engine `vllm`: a running vLLM, into which the adapters of tuned models are loaded.

It is started by somebody else: with the base model, `--enable-lora`, VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, and a view
of the service's data under the same path. What it can't take as an adapter it can serve whole, with
`--served-model-name` and the model's id.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shlex
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread
import httpx

from tuneway_service.answers.offers import VLLM
from tuneway_service.answers.question import LONGEST
from tuneway_service.answers.upstream import BrokenOff, Missing, Upstream
from tuneway_service.refusals import Refusal
from tuneway_service.settings import VLLM_KEY, is_loopback
from tuneway_service.trainers.hf.base import Base, find_base
from tuneway_service.trainers.hf.facts import ADAPTER, PREFIX

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from tuneway_service.answers.question import ModelQuestion

log = logging.getLogger(__name__)

SAMPLING: Final = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
"""What the API takes where nothing is asked for; vLLM would take what the base's folder says."""
RANKS: Final = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The numbers that vLLM's `--max-lora-rank` takes."""
CHOICE: Final = ("index", "message", "delta", "text", "logprobs", "finish_reason")
"""The fields of a choice in the API; vLLM has others besides."""
MESSAGE: Final = ("content", "refusal")
"""The fields of a message that the API always has."""
UNLOAD_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Wanted:
    """A model that vLLM shall answer for.

    Args:
        name: Its id.
        trainer: The trainer of its base model.
        folder: The exported folder of a tuned model; None for the base model.
    """

    name: str
    trainer: str
    folder: Path | None

    def base(self) -> Base:
        """The base model."""
        return find_base(self.trainer.removeprefix(PREFIX))

    def rank(self) -> int | None:
        """The rank of the adapter; None if there is no adapter. Blocks."""
        if self.folder is None or not (self.folder / ADAPTER).exists():
            return None
        return int(json.loads((self.folder / ADAPTER).read_bytes())["r"])


class Vllm:
    """A running vLLM.

    Args:
        url: Its address, with or without `/v1`.
        key: Its API key, if it has one.
        transport: What connects instead of the network, for tests.
    """

    def __init__(self, url: str, key: str | None = None, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self.upstream = Upstream(f"{self.url}/v1", key, transport=transport)
        self._names: dict[Wanted, str] = {}
        self._finding = asyncio.Lock()

    def model(self, name: str, trainer: str, folder: Path | None) -> VllmModel:
        """A model that it answers for."""
        return VllmModel(self, Wanted(name, trainer, folder))

    async def name_of(self, wanted: Wanted) -> str:
        """The name by which vLLM knows a model, whose adapter is loaded now if it isn't yet.

        Raises:
            Refusal: vLLM can't answer for it. The text says how to start it so that it can.
        """
        async with self._finding:
            if wanted not in self._names:
                self._names[wanted] = await self._find(wanted)
            return self._names[wanted]

    def forgot(self, wanted: Wanted) -> None:
        """Look for the model again before the next question, because vLLM doesn't know it any more."""
        self._names.pop(wanted, None)

    def forget(self, folder: Path) -> None:
        """Unload the adapter of a model that is about to be deleted. Blocks."""
        for wanted in [wanted for wanted in self._names if wanted.folder == folder]:
            self.forgot(wanted)
            try:
                reply = httpx.post(
                    f"{self.url}/v1/unload_lora_adapter",
                    json={"lora_name": wanted.name},
                    headers=self._headers,
                    timeout=UNLOAD_SECONDS,
                    # a proxy that the environment names is for other machines
                    trust_env=not is_loopback(httpx.URL(self.url).host),
                )
                problem = None if reply.status_code in (200, 404) else reply.text[:500]
            except httpx.HTTPError as error:
                problem = str(error) or type(error).__name__
            if problem is not None:
                log.warning(
                    "vLLM still has the adapter of a deleted model", extra={"model": wanted.name, "why": problem}
                )

    async def _find(self, wanted: Wanted) -> str:
        try:
            cards = await self._cards()
            if any(card["id"] == wanted.name for card in cards):
                return wanted.name
            base = await anyio.to_thread.run_sync(wanted.base)
            folder = await anyio.to_thread.run_sync(base.folder)
            bases = [card for card in cards if not card.get("parent")]
            served = next((card["id"] for card in bases if _is_base(card, base, folder)), None)
            rank = await anyio.to_thread.run_sync(wanted.rank)
            if served is None or (wanted.folder is not None and rank is None):
                there = ", ".join(card["id"] for card in bases)
                raise self._refusal(wanted, folder, rank, f"it serves {there or 'nothing'}")
            if wanted.folder is None:
                return str(served)
            await self._load(wanted, folder, rank)
        except BrokenOff:
            raise unreachable(self.url) from None
        return wanted.name

    async def _cards(self) -> list[dict[str, Any]]:
        """What it serves now."""
        try:
            found: list[dict[str, Any]] = (await self.upstream.get("/models"))["data"]
        except Refusal as refusal:
            text = f"vLLM at {self.url} refuses: {refusal.message} Is {VLLM_KEY} the key that it was started with?"
            raise Refusal(text, status=500, code="model_error") from None
        return found

    async def _load(self, wanted: Wanted, base: Path, rank: int | None) -> None:
        try:
            await self.upstream.post("/load_lora_adapter", {"lora_name": wanted.name, "lora_path": str(wanted.folder)})
        except Missing as missing:
            why = missing.message if missing.told else "its adapters can't be changed while it runs"
            raise self._refusal(wanted, base, rank, why) from None
        except Refusal as refusal:
            raise self._refusal(wanted, base, rank, f"it says: {refusal.message}") from None
        log.info("vLLM has loaded an adapter", extra={"model": wanted.name})

    def _refusal(self, wanted: Wanted, base: Path, rank: int | None, why: str) -> Refusal:
        """The refusal of a model that vLLM can't answer for, with how to start it."""
        ways = []
        if rank is not None or wanted.folder is None:
            most = next((one for one in RANKS if one >= (rank or 0)), RANKS[-1])
            ways.append(
                f"VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve {shlex.quote(str(base))}"
                f" --enable-lora --max-lora-rank {max(most, 16)}"
            )
        if wanted.folder is not None:
            ways.append(f"{_export(wanted.folder)} && vllm serve merged --served-model-name {shlex.quote(wanted.name)}")
        text = f"vLLM at {self.url} can't answer for {wanted.name}: {why}. Start it like this: {', or: '.join(ways)}"
        return Refusal(text, param="model", code="model_not_served")

    async def close(self) -> None:
        """Close the connections."""
        await self.upstream.close()


@dataclass(frozen=True)
class VllmModel:
    """A model that vLLM answers for."""

    vllm: Vllm
    wanted: Wanted

    @property
    def engine(self) -> str:
        """The engine: `vllm`."""
        return VLLM

    async def whole(self, question: ModelQuestion) -> dict[str, Any]:
        """The reply that isn't streamed."""
        try:
            try:
                reply = await self.vllm.upstream.post(question.path, await self._body(question))
            except Missing:  # it was started anew, and has no adapters
                self.vllm.forgot(self.wanted)
                reply = await self.vllm.upstream.post(question.path, await self._body(question))
        except BrokenOff:
            raise unreachable(self.vllm.url) from None
        return {"choices": [_choice(choice) for choice in reply["choices"]], "usage": _usage(reply["usage"])}

    async def chunks(self, question: ModelQuestion) -> AsyncGenerator[dict[str, Any]]:
        """The events of the streamed reply."""
        for tries in (1, 0):
            body = await self._body(question) | {"stream_options": {"include_usage": True}}
            try:
                async with aclosing(self.vllm.upstream.stream(question.path, body)) as events:
                    async for event in events:
                        usage = {"usage": _usage(event["usage"])} if event.get("usage") else {}
                        yield {"choices": [_choice(choice) for choice in event["choices"]]} | usage
            except Missing:
                if not tries:
                    raise
                self.vllm.forgot(self.wanted)
            except BrokenOff:
                raise unreachable(self.vllm.url) from None
            else:
                return

    async def _body(self, question: ModelQuestion) -> dict[str, Any]:
        """What is sent: the question as it is, under vLLM's name for the model."""
        name = await self.vllm.name_of(self.wanted)
        body: dict[str, Any] = {**SAMPLING, **question.body, "model": name}
        if "max_completion_tokens" not in body:
            body.setdefault("max_tokens", LONGEST)
        return body


def _is_base(card: Mapping[str, Any], base: Base, folder: Path) -> bool:
    """Whether vLLM's card is that of a base model: by its folder, or by the name of the folder or the repository."""
    names = {str(card.get("root") or ""), str(card["id"])}
    return str(folder) in names or base.title.lower() in {Path(name).name.lower() for name in names}


def _export(folder: Path) -> str:
    """The command that merges a tuned model."""
    if folder.parent.name == "checkpoints":
        return f"tuneway export {folder.parent.parent.name} --checkpoint {folder.name} --merged --to merged"
    return f"tuneway export {folder.parent.name} --merged --to merged"


def _choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    """A choice without the fields of vLLM's own that have no value."""
    kept = {"logprobs": None} | {name: choice[name] for name in CHOICE if name in choice}
    if "message" in kept:
        kept["message"] = {
            name: value for name, value in kept["message"].items() if value is not None or name in MESSAGE
        }
    return kept


def _usage(usage: Mapping[str, Any]) -> dict[str, int]:
    return {name: usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}


def unreachable(url: str) -> Refusal:
    """503 for a vLLM that doesn't answer."""
    return Refusal(f"vLLM at {url} can't be reached, or the answer broke off.", status=503, code="engine_unavailable")
