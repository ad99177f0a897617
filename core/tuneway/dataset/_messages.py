"""Check messages, their parts, tools and tool calls."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from tuneway._escape import FEW, Words
from tuneway.dataset._findings import MISSING
from tuneway.dataset._rules import MAX_FUNCTIONS, MAX_IMAGE_BYTES, MAX_IMAGES

if TYPE_CHECKING:
    from tuneway.dataset._findings import OnProblem

_KEYS = {
    "user": {"role", "content", "name"},
    "system": {"role", "content", "name"},
    "developer": {"role", "content", "name"},
    "assistant": {"role", "content", "name", "weight", "tool_calls", "function_call", "refusal"},
    "tool": {"role", "content", "name", "tool_call_id"},
    "function": {"role", "content", "name"},
}
_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,", re.ASCII)
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)


def check_messages(messages: Any, report: OnProblem, *, where: str = "messages") -> None:
    """Check each message, that tool messages answer earlier calls, and the number of images."""
    if not isinstance(messages, list) or not messages:
        report("chat.messages", where, messages)
        return
    calls: set[str] = set()
    images = 0
    for place, message in enumerate(messages):
        here = f"{where}[{place}]"
        if not isinstance(message, dict):
            report("chat.message", here, message)
            continue
        check_message(message, report, where=here)
        if len(message) > 2 or message.get("role") == "tool":
            _check_answer(message, calls, report, where=here)
        if parts := parts_of(message):
            images += sum(map(is_image, parts))
    if images > MAX_IMAGES:
        report("image.too_many", where, Words(f"{images} images"))


def check_message(message: dict[str, Any], report: OnProblem, *, where: str) -> None:
    """Check a message's role, its content, and the keys that its role allows."""
    role = message.get("role", MISSING)
    if not isinstance(role, str) or role not in _KEYS:
        report("chat.role", f"{where}.role", role)
        return
    if not message.keys() <= _KEYS[role]:
        _check_extra_keys(message, role, report, where)
    _check_content(message, role, report, where)
    if "name" in message or role == "function":
        name = message.get("name", MISSING)
        if not isinstance(name, str) or (role == "function" and not name):
            report("chat.name", f"{where}.name", name)
    if role == "assistant" and len(message) > 2:
        _check_weight(message, report, where)
        _check_calls(message, report, where)


def parts_of(message: Any) -> list[Any]:
    """The parts of a message's content; none if it is plain text."""
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, list) else []


def is_image(part: Any) -> bool:
    """Whether a part of a message's content is an image."""
    return isinstance(part, dict) and part.get("type") == "image_url"


def calls_of(message: dict[str, Any]) -> bool:
    """Whether a message calls a tool. Then it needs no content."""
    return bool(message.get("tool_calls") or message.get("function_call"))


def _check_extra_keys(message: dict[str, Any], role: str, report: OnProblem, where: str) -> None:
    for key in sorted(message.keys() - _KEYS[role]):
        if key == "weight":
            report("chat.weight_role", f"{where}.weight", Words(f"a weight on a {role} message"))
        else:
            report("chat.message_key", f"{where}.{key[:FEW]}", Words(f"a key that {role} messages don't have"))


def _check_content(message: dict[str, Any], role: str, report: OnProblem, where: str) -> None:
    content = message.get("content", MISSING)
    if isinstance(content, str):
        return
    if isinstance(content, list) and content:
        for place, part in enumerate(content):
            _check_part(part, role, report, f"{where}.content[{place}]")
    elif not (content is None or content is MISSING) or not (role == "assistant" and calls_of(message)):
        report("chat.content", f"{where}.content", content)


def _check_part(part: Any, role: str, report: OnProblem, where: str) -> None:
    kind = part.get("type", MISSING) if isinstance(part, dict) else MISSING
    if kind == "text" or (kind == "refusal" and role == "assistant"):
        if not isinstance(part.get(kind), str):
            report("chat.content_part", f"{where}.{kind}", part.get(kind, MISSING), "a string")
    elif kind == "image_url":
        _check_image(part.get("image_url", MISSING), role, report, f"{where}.image_url")
    else:
        report("chat.content_part", where, part if kind is MISSING else kind)


def _check_image(image: Any, role: str, report: OnProblem, where: str) -> None:
    if role != "user":
        report("image.role", where, Words(f"an image in a message of role {role}"))
    if not isinstance(image, dict):
        report("image.url", where, image, "{'url': …}")
        return
    url = image.get("url", MISSING)
    if isinstance(url, str) and (head := _DATA_URL.match(url)):
        size = (len(url) - head.end()) * 3 // 4 - url[-2:].count("=")
        if size > MAX_IMAGE_BYTES:
            report("image.too_large", f"{where}.url", Words(f"{size / 2**20:.1f} MB"))
    elif not isinstance(url, str) or not url.startswith(("http://", "https://")):
        report("image.url", f"{where}.url", url)
    if image.get("detail") not in (None, "auto", "low", "high"):
        report("image.detail", f"{where}.detail", image["detail"])


def _check_weight(message: dict[str, Any], report: OnProblem, where: str) -> None:
    weight = message.get("weight", 1)
    if weight not in (None, 0, 1) or isinstance(weight, bool):
        report("chat.weight", f"{where}.weight", weight)


def _check_calls(message: dict[str, Any], report: OnProblem, where: str) -> None:
    if (call := message.get("function_call")) is not None:
        _check_function(call, "chat.function_call", report, f"{where}.function_call")
    calls = message.get("tool_calls")
    if calls is None:
        return
    if not isinstance(calls, list) or not calls:
        report("chat.tool_calls", f"{where}.tool_calls", calls, "a list of calls")
        return
    for place, call in enumerate(calls):
        here = f"{where}.tool_calls[{place}]"
        if not isinstance(call, dict):
            report("chat.tool_calls", here, call)
            continue
        if not isinstance(call.get("id"), str) or not call["id"]:
            report("chat.tool_calls", f"{here}.id", call.get("id", MISSING), "a string")
        if call.get("type") != "function":
            report("chat.tool_calls", f"{here}.type", call.get("type", MISSING), "'function'")
        _check_function(call.get("function", MISSING), "chat.tool_calls", report, f"{here}.function")


def _check_function(call: Any, rule: str, report: OnProblem, where: str) -> None:
    """Check the name and the arguments of a call. The arguments are a string that contains JSON."""
    if not isinstance(call, dict):
        report(rule, where, call)
        return
    if not isinstance(call.get("name"), str) or not call["name"]:
        report(rule, f"{where}.name", call.get("name", MISSING), "a string")
    arguments = call.get("arguments", MISSING)
    if not isinstance(arguments, str):
        report("chat.arguments", f"{where}.arguments", arguments)
        return
    try:
        json.loads(arguments)
    except (ValueError, RecursionError):
        report("chat.arguments_json", f"{where}.arguments", arguments)


def _check_answer(message: dict[str, Any], calls: set[str], report: OnProblem, *, where: str) -> None:
    """Check that a tool message answers a call. `calls` are the ids of the calls before it."""
    role = message.get("role")
    if role == "assistant" and isinstance(message.get("tool_calls"), list):
        made = (call.get("id") for call in message["tool_calls"] if isinstance(call, dict))
        calls.update(identity for identity in made if isinstance(identity, str))
    elif role == "tool":
        identity = message.get("tool_call_id", MISSING)
        if not isinstance(identity, str) or not identity:
            report("chat.tool_call_id", f"{where}.tool_call_id", identity)
        elif identity not in calls:
            report("chat.unknown_tool_call", f"{where}.tool_call_id", identity)


def check_tools(row: dict[str, Any], report: OnProblem, *, where: str = "") -> None:
    """Check `tools`, `functions` and `parallel_tool_calls` of a row."""
    tools, functions = row.get("tools"), row.get("functions")
    if tools is not None:
        if not isinstance(tools, list):
            report("chat.tools", f"{where}tools", tools, "a list of tools")
            tools = []
        for place, tool in enumerate(tools):
            here = f"{where}tools[{place}]"
            if not isinstance(tool, dict) or tool.get("type") != "function":
                report("chat.tools", here, tool, "{'type': 'function', 'function': {'name': …}}")
            else:
                _check_definition(tool.get("function", MISSING), "chat.tools", report, f"{here}.function")
    if functions is not None:
        if not isinstance(functions, list) or not 1 <= len(functions) <= MAX_FUNCTIONS:
            report("chat.functions", f"{where}functions", functions)
            functions = []
        for place, function in enumerate(functions):
            _check_definition(function, "chat.functions", report, f"{where}functions[{place}]")
    if not isinstance(row.get("parallel_tool_calls"), bool | None):
        report("chat.parallel_tool_calls", f"{where}parallel_tool_calls", row["parallel_tool_calls"])


def _check_definition(function: Any, rule: str, report: OnProblem, where: str) -> None:
    if not isinstance(function, dict):
        report(rule, where, function, "{'name': …}")
        return
    name = function.get("name", MISSING)
    if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
        report(rule, f"{where}.name", name, "a name of 1 to 64 letters, digits, _ and -")
    if not isinstance(function.get("parameters"), dict | None):
        report(rule, f"{where}.parameters", function["parameters"], "an object, the JSON schema of the arguments")
