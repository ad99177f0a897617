"""Whole answers of llama.cpp: read, checked, and as the API sends them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuneway_service.answer_formats import CompletionFormat
from tuneway_service.answers.llamacpp.logprobs import of_chat, of_text
from tuneway_service.answers.llamacpp.wording import Worded
from tuneway_service.ids import new_id
from tuneway_service.refusals import Refusal
from tuneway_service.response_format import AnswerForm
from tuneway_service.trainers.conversation import split_tool_calls


@dataclass(frozen=True)
class WholeAnswer:
    """One answer.

    Args:
        content: The field `message` or `text` of the choice.
        reason: Why it ended.
        logprobs: The tokens with their probabilities, if they are asked for.
        prompt_tokens: The number of tokens in the prompt.
        completion_tokens: The number of tokens in the answer.
    """

    content: dict[str, Any]
    reason: str
    logprobs: dict[str, Any] | None
    prompt_tokens: int
    completion_tokens: int


def finished(form: CompletionFormat, body: Worded, reply: Mapping[str, Any]) -> WholeAnswer:
    """The answer in a reply of llama.cpp; refused if it doesn't have the form that it has to have."""
    choice = reply["choices"][0]
    text, reason = choice["text"], choice["finish_reason"]
    if body.asked.get("tool_choice") == "none" or "messages" not in body.asked:
        answer = form.answer(text, reason, calls=False)
    else:
        answer = form.answer(text, reason)
    calls = answer.get("message", {}).get("tool_calls", [])
    if body.asked.get("parallel_tool_calls") is False:
        del calls[1:]
    if calls and body.has_to_call:
        answer["message"]["content"] = None  # of one that is cut short, the beginning of another call
    _check(body, text, called=bool(calls), is_whole=reason == "stop")
    return _made(answer, body, reply)


def native(reply: Mapping[str, Any], body: Worded) -> WholeAnswer:
    """The answer in a reply in which llama.cpp has read the calls itself."""
    choice = reply["choices"][0]
    found = choice["message"]
    message = {"role": "assistant", "refusal": None, "content": found.get("content") or None}
    if found.get("tool_calls"):
        message["tool_calls"] = [
            {"id": call.get("id") or new_id("call_"), "type": "function", "function": call["function"]}
            for call in found["tool_calls"]
        ]
    elif body.has_to_call and choice["finish_reason"] == "stop":
        raise _not_held("the parameters of these tools", "tools")
    elif message["content"] is None:
        message["content"] = ""
    return _made({"message": message, "finish_reason": choice["finish_reason"]}, body, reply)


def _made(answer: dict[str, Any], body: Worded, reply: Mapping[str, Any]) -> WholeAnswer:
    reason = answer.pop("finish_reason")
    usage = reply["usage"]
    shown = probabilities(body, reply["choices"][0])
    return WholeAnswer(answer, reason, shown, usage["prompt_tokens"], usage["completion_tokens"])


def probabilities(body: Worded, choice: Mapping[str, Any], before: int = 0) -> dict[str, Any] | None:
    """The field `logprobs` of an answer, or of a piece of it after so many characters."""
    if body.top is None:
        return None
    content = (choice.get("logprobs") or {}).get("content") or []
    return of_text(content, body.top, before) if body.messages is None else of_chat(content, body.top)


def misfit(asked: Mapping[str, Any], text: str, reason: str) -> str | None:
    """The name of the first tool that is `strict` and called with arguments that don't fit its parameters."""
    strict = {
        tool["function"]["name"]: tool["function"].get("parameters") or {}
        for tool in asked.get("tools") or ()
        if tool["function"].get("strict")
    }
    if not strict or reason != "stop":
        return None
    for call in split_tool_calls(text)[1]:
        schema = strict.get(call["name"])
        if schema is not None and _form(schema).wrong(call["arguments"]) is not None:
            return call["name"]
    return None


def _form(schema: Mapping[str, Any]) -> AnswerForm:
    return AnswerForm({"type": "json_schema", "json_schema": {"schema": schema}})


def _check(body: Worded, text: str, *, called: bool, is_whole: bool) -> None:
    """Refuse an answer that has a form which llama.cpp couldn't hold it to: it knows most of JSON Schema, not all."""
    if body.has_to_call:
        if not called and (is_whole or not _begins(text, "<tool_call>")):
            raise _not_held("the parameters of these tools", "tools")
    elif body.schema is not None and not called:
        fits = _form(body.schema).wrong(text) is None if is_whole else _begins(text, "{")
        if not fits:
            raise _not_held("this schema", "response_format")


def _begins(text: str, start: str) -> bool:
    return text.startswith(start) or start.startswith(text)


def _not_held(what: str, param: str) -> Refusal:
    return Refusal(f"llama.cpp can't hold an answer to {what}.", param=param, code="invalid_value")
