"""Operations on models, and the chat completion that an evaluation uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from tuneway.calls._http import Call, Request, Response, bad_reply, reading, segment
from tuneway.models import Deleted, MemoryEstimate, Model, Page, page_of


def listing() -> Call[Page[Model]]:
    """List all models; the list has one page."""
    return Call(Request("GET", "/models"), reading(page_of(Model)))


def retrieve(model_id: str) -> Call[Model]:
    """Get one model's metadata."""
    return Call(Request("GET", f"/models/{segment(model_id)}"), reading(Model))


def delete(model_id: str) -> Call[Deleted]:
    """Delete a fine-tuned model."""
    return Call(Request("DELETE", f"/models/{segment(model_id)}"), reading(Deleted))


def memory(
    model_id: str, *, rows: int, longest_row: int, method: Mapping[str, Any] | None = None
) -> Call[MemoryEstimate]:
    """Ask a local service how much memory a training would need."""
    body = {"model": model_id, "rows": rows, "longest_row": longest_row} | ({"method": method} if method else {})
    return Call(Request("POST", "/fine_tuning/memory", json=body), reading(MemoryEstimate))


class ChatAnswer(str):
    """The text of an answer, and the tokens that it took, as far as the service says so."""

    __slots__ = ("cached_tokens", "completion_tokens", "prompt_tokens")

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int

    def __new__(cls, text: str, usage: Mapping[str, Any]) -> Self:
        """Read the tokens from the `usage` of a chat completion."""
        made = super().__new__(cls, text)
        made.prompt_tokens = _number(usage, "prompt_tokens")
        made.completion_tokens = _number(usage, "completion_tokens")
        made.cached_tokens = _number(_mapping(usage, "prompt_tokens_details"), "cached_tokens")
        return made


def chat(model_id: str, messages: Sequence[Mapping[str, Any]], **options: Any) -> Call[ChatAnswer]:
    """Send messages to a model; gives the text of its answer."""
    body = {"model": model_id, "messages": list(messages), **options}
    return Call(Request("POST", "/chat/completions", json=body), _answer)


def _answer(response: Response) -> ChatAnswer:
    try:
        from pydantic_core import from_json

        reply = from_json(response.content)
        content = reply["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        raise bad_reply(response, "not a chat completion") from None
    return ChatAnswer(content if isinstance(content, str) else "", _mapping(reply, "usage"))


def _mapping(reply: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = reply.get(name)
    return found if isinstance(found, dict) else {}


def _number(usage: Mapping[str, Any], name: str) -> int:
    found = usage.get(name)
    return found if isinstance(found, int) else 0
