"""Calls of tools: how a model writes them, and the grammar by which it has to.

A model whose chat template knows no tools was trained on calls as Tuneway writes them. Most templates that know tools
have the form of Hermes, which Qwen has too. Of other forms llama.cpp itself makes and reads calls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from tuneway_service.answers.llamacpp.grammars import in_guidance, json_rules

HERMES_CALL = re.compile(r"<tool_call>.*arguments", re.DOTALL)
ANY_ARGUMENTS: Mapping[str, Any] = {"type": "object"}


class CallForm(StrEnum):
    """How a model writes calls."""

    OWN = "own"
    """`<tool_call>NAME {"argument": "value"}</tool_call>`."""
    HERMES = "hermes"
    """`<tool_call>{"name": "NAME", "arguments": {"argument": "value"}}</tool_call>`, on lines of their own."""
    NATIVE = "native"
    """Another form, which llama.cpp knows."""


def form_of(template: str) -> CallForm:
    """The form of the models that have this chat template."""
    if "tools" not in template:
        return CallForm.OWN
    return CallForm.HERMES if HERMES_CALL.search(template) else CallForm.NATIVE


def chosen(tools: Sequence[Mapping[str, Any]], choice: Any) -> list[Mapping[str, Any]]:
    """The tools that may be called: one of them, if it is chosen by its name."""
    name = choice["function"]["name"] if isinstance(choice, Mapping) else None
    return [tool for tool in tools if name in (None, tool["function"]["name"])]


def grammar(tools: Sequence[Mapping[str, Any]], form: CallForm, *, several: bool) -> str:
    """The grammar of an answer that calls at least one of these tools."""
    names = [f"call_{number}" for number in range(len(tools))]
    rules = [
        f"start: call{' call*' if several else ''}",
        f'call: "<tool_call>" ({" | ".join(names)}) "</tool_call>"',
    ]
    for name, tool in zip(names, tools, strict=True):
        function = tool["function"]
        before, after = _around(function["name"], form)
        rules.append(f"{name}: {json.dumps(before)} arguments_{name} {json.dumps(after) if after else ''}")
        rules += json_rules(f"arguments_{name}", function.get("parameters") or ANY_ARGUMENTS)
    return in_guidance(rules)


def _around(name: str, form: CallForm) -> tuple[str, str]:
    """What stands before and after the arguments of a call."""
    if form is CallForm.HERMES:
        return f'\n{{"name": "{name}", "arguments": ', "}\n"
    return f"{name} ", ""
