"""Converts messages of the API to the form of chat templates; what a template doesn't know is written as text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tuneway.errors import InvalidInput
from tuneway_service.trainers.conversation import message_text, messages_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tuneway_service.trainers.base import Message

CALL_RULE = 'To call one, answer <tool_call>NAME {"argument": "value"}</tool_call>.'


def conversation(row: Message, name: str = "messages") -> tuple[list[Message], list[Message]]:
    """The messages and the tools of a row; raises `InvalidInput` if it has no messages."""
    messages = messages_of(row, name)
    functions = [{"type": "function", "function": item} for item in row.get("functions") or ()]
    return messages, [*(row.get("tools") or ()), *functions]


def for_template(messages: Sequence[Message], tools: Iterable[Message], template: str) -> tuple[list[Message], Any]:
    """The messages and the tools in the form that this template takes."""
    tools = list(tools)
    knows_calls = "tool_calls" in template
    worded = [_worded(message, knows_calls=knows_calls, developer="developer" in template) for message in messages]
    if tools and "tools" not in template:
        first = worded[0]["content"] + "\n\n" if worded and worded[0]["role"] == "system" else ""
        rest = worded[1:] if first else worded
        return [{"role": "system", "content": first + _listed(tools)}, *rest], None
    return worded, tools or None


def _worded(message: Message, *, knows_calls: bool, developer: bool) -> Message:
    role = message["role"]
    if role == "function":
        role = "tool"
    elif role == "developer" and not developer:
        role = "system"
    plain: dict[str, Any] = {"role": role, "content": _text(message)}
    calls = list(message.get("tool_calls") or ())
    if message.get("function_call"):  # the deprecated spelling
        calls.append({"type": "function", "function": message["function_call"]})
    if calls and not knows_calls:
        plain["content"] = message_text({**message, "content": plain["content"]})
    elif calls:
        plain["tool_calls"] = [_call(call) for call in calls]
    for name in ("name", "tool_call_id"):
        if message.get(name):
            plain[name] = message[name]
    return plain


def _text(message: Message) -> str:
    """A message's text; raises `InvalidInput` for parts that aren't text."""
    content = message.get("content") or message.get("refusal") or ""
    if isinstance(content, str):
        return content
    odd = [part.get("type") for part in content if not isinstance(part.get("text") or part.get("refusal"), str)]
    if odd:
        raise InvalidInput(f"a message has a part of the type {odd[0]!r}", hint="This trainer learns text only.")
    return "".join(part.get("text") or part["refusal"] for part in content)


def _call(call: Message) -> dict[str, Any]:
    """A tool call with its arguments as an object, as templates expect it."""
    function = call.get("function") or {}
    arguments = function.get("arguments")
    try:
        read = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        read = arguments
    return {
        "type": "function",
        "id": call.get("id"),
        "function": {"name": function.get("name"), "arguments": read if isinstance(read, dict) else arguments},
    }


def _listed(tools: Sequence[Mapping[str, Any]]) -> str:
    functions = [tool.get("function") or tool for tool in tools]
    return "\n".join(["You may call these tools:", *map(json.dumps, functions), CALL_RULE])
