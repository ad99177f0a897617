"""The probabilities of an answer's tokens, as the API has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

LOWEST = -9999.0
"""What stands for a probability of 0, as at OpenAI."""


def of_chat(content: Sequence[Mapping[str, Any]], top: int) -> dict[str, Any]:
    """The field `logprobs` of an answer in a chat."""
    return {
        "content": [
            _plain(token) | {"top_logprobs": [_plain(other) for other in token.get("top_logprobs", ())[:top]]}
            for token in content
        ],
        "refusal": None,
    }


def of_text(content: Sequence[Mapping[str, Any]], top: int, before: int = 0) -> dict[str, Any]:
    """The field `logprobs` of a continued text.

    Args:
        content: The tokens, as llama.cpp has them.
        top: How many of the likeliest tokens are shown for each place.
        before: The length of the text before.
    """
    texts = [_shown(token) for token in content]
    lengths = [sum(map(len, texts[:number])) for number in range(len(texts))]
    return {
        "tokens": texts,
        "token_logprobs": [_number(token) for token in content],
        "top_logprobs": [
            {_shown(other): _number(other) for other in token.get("top_logprobs", ())[:top]} for token in content
        ]
        if top
        else None,
        "text_offset": [before + length for length in lengths],
    }


def _plain(token: Mapping[str, Any]) -> dict[str, Any]:
    return {"token": _shown(token), "bytes": token.get("bytes"), "logprob": _number(token)}


def _number(token: Mapping[str, Any]) -> float:
    value = token.get("logprob")
    return LOWEST if value is None else max(LOWEST, float(value))


def _shown(token: Mapping[str, Any]) -> str:
    """A token's text; a part of a character is written as OpenAI does."""
    text = str(token.get("token") or "")
    if (not text or "\ufffd" in text) and token.get("bytes"):
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token["bytes"])
    return text
