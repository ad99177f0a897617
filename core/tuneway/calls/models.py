"""Operations on models, and the chat completion that an evaluation uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tuneway.calls._http import Call, Request, Response, bad_reply, reading, segment
from tuneway.models import Deleted, Model, Page, page_of


def listing() -> Call[Page[Model]]:
    """List all models; the list has one page."""
    return Call(Request("GET", "/models"), reading(page_of(Model)))


def retrieve(model_id: str) -> Call[Model]:
    """Get one model's metadata."""
    return Call(Request("GET", f"/models/{segment(model_id)}"), reading(Model))


def delete(model_id: str) -> Call[Deleted]:
    """Delete a fine-tuned model."""
    return Call(Request("DELETE", f"/models/{segment(model_id)}"), reading(Deleted))


def chat(model_id: str, messages: Sequence[Mapping[str, Any]], **options: Any) -> Call[str]:
    """Send messages to a model; gives the text of its answer."""
    body = {"model": model_id, "messages": list(messages), **options}
    return Call(Request("POST", "/chat/completions", json=body), _answer)


def _answer(response: Response) -> str:
    try:
        from pydantic_core import from_json

        content = from_json(response.content)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        raise bad_reply(response, "not a chat completion") from None
    return content if isinstance(content, str) else ""
