"""Turns a question into llama.cpp's terms.

Messages are worded as they are for a model of Transformers, so that both engines see the same prompt.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tuneway_service.answers.llamacpp.calls import CallForm, chosen, form_of, grammar
from tuneway_service.answers.llamacpp.grammars import of_schema
from tuneway_service.answers.question import LONGEST
from tuneway_service.trainers.hf.messages import for_template

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SAMPLING: Mapping[str, Any] = {
    # nothing but what the API has: by default llama.cpp leaves unlikely tokens out
    "samplers": ["penalties", "temperature", "top_p"],
    "top_k": 0,
    "min_p": 0.0,
    "repeat_penalty": 1.0,
    # penalties count in the whole text, which is hardly ever longer
    "repeat_last_n": 2**16,
    "cache_prompt": True,
}
SEEDS = 2**32 - 1
"""llama.cpp's seeds; the last 32-bit number stands for any."""
AS_IT_IS = ("frequency_penalty", "logit_bias", "presence_penalty", "stop")


@dataclass(frozen=True)
class Worded:
    """A question for llama.cpp.

    Args:
        asked: The question in the API's terms, for one answer.
        options: What is sent beside the prompt.
        messages: The messages for the chat template; None if the question has a prompt.
        tools: The tools for the chat template.
        form: How the model writes calls.
    """

    asked: Mapping[str, Any]
    options: Mapping[str, Any]
    messages: Sequence[Mapping[str, Any]] | None
    tools: Sequence[Mapping[str, Any]] | None
    form: CallForm

    @property
    def is_native(self) -> bool:
        """Whether llama.cpp makes and reads calls of tools."""
        return self.form is CallForm.NATIVE and bool(self.tools)

    @property
    def has_to_call(self) -> bool:
        """Whether a tool has to be called."""
        return bool(self.asked.get("tools")) and self.asked.get("tool_choice") not in (None, "auto", "none")

    @property
    def top(self) -> int | None:
        """How many likely tokens are shown for each place, beside the token itself; None if nothing is shown."""
        if self.messages is None:
            shown = self.asked.get("logprobs")
            return None if shown is None else int(shown)
        return int(self.asked.get("top_logprobs") or 0) if self.asked.get("logprobs") else None

    @property
    def schema(self) -> Mapping[str, Any] | None:
        """The JSON schema that the answer has to fit; None if it may be any text."""
        wanted = self.asked.get("response_format") or {}
        if wanted.get("type") == "json_schema":
            found: Mapping[str, Any] = wanted["json_schema"]["schema"]
            return found
        return {"type": "object"} if wanted.get("type") == "json_object" else None

    def choosing(self, name: str) -> Worded:
        """The same question, with a tool that has to be called."""
        choice = {"type": "function", "function": {"name": name}}
        return replace(self, asked={**self.asked, "tool_choice": choice})

    def rendered(self) -> dict[str, Any]:
        """The body by which llama.cpp renders the prompt of a conversation."""
        return {"messages": self.messages} | ({"tools": self.tools} if self.tools else {})

    def native(self) -> dict[str, Any]:
        """The body for a conversation in which llama.cpp itself makes and reads calls."""
        choice = self.asked.get("tool_choice")
        named = chosen(self.tools or (), choice)
        body = {**self.options, **self.rendered(), "tools": named}
        if choice is not None:
            body["tool_choice"] = choice if isinstance(choice, str) else "required"
        for name in ("parallel_tool_calls", "response_format"):
            if self.asked.get(name) is not None:
                body[name] = self.asked[name]
        return body

    def plain(self, prompt: str) -> dict[str, Any]:
        """The body for a prompt, with what holds the answer to a form."""
        body = {**self.options, "prompt": prompt}
        tools, choice = self.asked.get("tools"), self.asked.get("tool_choice")
        if tools and self.has_to_call:
            several = choice == "required" and self.asked.get("parallel_tool_calls") is not False
            return body | {"grammar": grammar(chosen(tools, choice), self.form, several=several)}
        return body if self.schema is None else body | {"grammar": of_schema(self.schema)}


def worded(asked: Mapping[str, Any], template: str, place: int | None, adapters: int) -> Worded:
    """A question in llama.cpp's terms.

    Args:
        asked: The question, for one answer.
        template: The model's chat template.
        place: The place of the adapter among those of the server; None for the base model.
        adapters: How many adapters the server has.
    """
    options = _options(asked) | {
        # all of them: to an incomplete list llama.cpp may answer with the adapter of the question before
        "lora": [{"id": number, "scale": float(number == place)} for number in range(adapters)],
    }
    form = form_of(template)
    if "prompt" in asked:
        found = Worded(asked, options, None, None, form)
    else:
        tools = () if asked.get("tool_choice") == "none" else asked.get("tools") or ()
        messages, given = for_template(asked["messages"], tools, template)
        found = Worded(asked, options, [_as_text(message) for message in messages], given, form)
    if found.top is not None:
        # the likeliest tokens come with the chosen one, so at least one of them is asked for
        found = replace(found, options={**options, "n_probs": max(1, found.top)})
    return found


def _options(asked: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: asked[name] for name in AS_IT_IS if asked.get(name) is not None}
    seed = asked.get("seed")
    return {
        **SAMPLING,
        **given,
        "max_tokens": asked.get("max_tokens") or LONGEST,
        "temperature": 1.0 if asked.get("temperature") is None else asked["temperature"],
        "top_p": 1.0 if asked.get("top_p") is None else asked["top_p"],
        "seed": random.randrange(SEEDS) if seed is None else seed % SEEDS,  # noqa: S311 - no secret
    }


def _as_text(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message with the arguments of its calls as JSON, as llama.cpp expects them."""
    calls: Sequence[Mapping[str, Any]] = message.get("tool_calls") or ()
    if not calls:
        return dict(message)
    return {**message, "tool_calls": [{**call, "function": _arguments_as_text(call["function"])} for call in calls]}


def _arguments_as_text(function: Mapping[str, Any]) -> dict[str, Any]:
    arguments = function["arguments"]
    return {**function, "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments)}
