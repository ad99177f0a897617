"""Turns a question into llama.cpp's terms.

Messages are worded as they are for a model of Transformers, so that both engines see the same prompt. Tools are left to
llama.cpp if the model's chat template knows tools; else they are described in the prompt, as they were in training, and
a call is read from the text of the answer.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tuneway_service.answers.question import LONGEST
from tuneway_service.trainers.hf.messages import for_template

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SAMPLING = {
    # nothing but what the API has: by default llama.cpp leaves unlikely tokens out
    "samplers": ["penalties", "temperature", "top_p"],
    "top_k": 0,
    "min_p": 0.0,
    "repeat_penalty": 1.0,
    # penalties count in the whole text, which is hardly ever longer
    "repeat_last_n": 2**16,
}
SEEDS = 2**32 - 1
"""llama.cpp's seeds; the last 32-bit number stands for any."""
AS_IT_IS = ("frequency_penalty", "logit_bias", "presence_penalty", "stop")


@dataclass(frozen=True)
class Worded:
    """A body for llama.cpp.

    Args:
        body: What is sent.
        reads_calls: Whether calls of tools are to be read from the text.
        schema: The JSON schema that the answer has to fit, by a grammar.
    """

    body: dict[str, Any]
    reads_calls: bool = False
    schema: Mapping[str, Any] | None = field(default=None)


def worded(asked: Mapping[str, Any], template: str, place: int | None, adapters: int) -> Worded:
    """The body for one answer.

    Args:
        asked: The question, for one answer.
        template: The model's chat template.
        place: The place of the adapter among those of the server; None for the base model.
        adapters: How many adapters the server has.
    """
    body = _options(asked) | {
        # all of them: to an incomplete list llama.cpp may answer with the adapter of the question before
        "lora": [{"id": number, "scale": float(number == place)} for number in range(adapters)],
        "cache_prompt": True,
    }
    if "prompt" in asked:
        return Worded(body | {"prompt": asked["prompt"]})
    messages, tools = for_template(asked["messages"], asked.get("tools") or (), template)
    body["messages"] = [_as_text(message) for message in messages]
    if tools:
        body["tools"] = list(tools)
    return Worded(body, reads_calls=not tools)


def _options(asked: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: asked[name] for name in AS_IT_IS if asked.get(name) is not None}
    seed = asked.get("seed")
    return (
        SAMPLING
        | given
        | {
            "max_tokens": asked.get("max_tokens") or LONGEST,
            "temperature": 1.0 if asked.get("temperature") is None else asked["temperature"],
            "top_p": 1.0 if asked.get("top_p") is None else asked["top_p"],
            "seed": random.randrange(SEEDS) if seed is None else seed % SEEDS,  # noqa: S311 - no secret
        }
    )


def _as_text(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message with the arguments of its calls as JSON, as llama.cpp expects them."""
    calls: Sequence[Mapping[str, Any]] = message.get("tool_calls") or ()
    if not calls:
        return dict(message)
    return {**message, "tool_calls": [{**call, "function": _arguments_as_text(call["function"])} for call in calls]}


def _arguments_as_text(function: Mapping[str, Any]) -> dict[str, Any]:
    arguments = function["arguments"]
    return {**function, "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments)}
