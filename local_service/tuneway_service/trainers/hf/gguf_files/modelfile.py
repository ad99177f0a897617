"""Ollama's description of a model: which files it has, when an answer ends, and how prompts are made.

Ollama doesn't read the chat template of a GGUF file; it has templates of its own, in Go's language, and guesses which
one is meant. So the template is written out here, from how the model's own template renders a conversation.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from tuneway.errors import InvalidInput
from tuneway_service.trainers.hf.rendering import Rendering

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tuneway_service.trainers.base import Message

# what no template writes by itself, for what the system, the user and the assistant say
_SYSTEM, _FIRST, _ANSWER, _SECOND = "\ue001", "\ue002", "\ue003", "\ue004"

_TALK = (
    '{{ $first := true }}START{{ range .Messages }}{{ if eq .Role "user" }}{{ if not $first }}BETWEEN{{ end }}'
    '{{ $first = false }}{{ .Content }}END{{ else if eq .Role "assistant" }}LEAD{{ .Content }}{{ end }}{{ end }}'
)
_START_WITH_SYSTEM = "{{ if .System }}BEFORE{{ .System }}BEHIND{{ else }}START{{ end }}"


def modelfile(tokenizer: Any, stops: Sequence[int], *, model: str, adapter: str | None = None) -> str:
    """The content of a Modelfile; `model` and `adapter` are files beside it."""
    lines = [f"FROM ./{model}"]
    if adapter is not None:
        lines.append(f"ADAPTER ./{adapter}")
    lines += [f"PARAMETER stop {json.dumps(tokenizer.decode([stop]))}" for stop in stops]
    template = go_template(tokenizer)
    if template is None:
        lines.append("# The model's chat template can't be written in Go's language here; Ollama guesses one.")
    else:
        lines.append(f'TEMPLATE """{template}"""')
    return "\n".join(lines) + "\n"


def go_template(tokenizer: Any) -> str | None:
    """The chat template in Go's language; None for one that doesn't write each turn the same way."""
    rendering = Rendering(tokenizer)
    user, answer, second = _said("user", _FIRST), _said("assistant", _ANSWER), _said("user", _SECOND)
    try:
        alone = rendering.prompt([user], ())
        talk = rendering.prompt([user, answer, second], ())
    except InvalidInput:
        return None
    begin = _around(alone, _FIRST)[0]
    _, after_first, between, end = _around(talk, _FIRST, _ANSWER, _SECOND)
    # the prompt for an answer may end before a space with which the conversation goes on
    lead = after_first.removeprefix(end)
    if talk != f"{begin}{_FIRST}{end}{lead}{_ANSWER}{between}{_SECOND}{end}":
        return None
    # Ollama puts the first token of a text before it by itself
    begin = begin.removeprefix(tokenizer.bos_token or "")
    parts = {"START": _written(begin), "BETWEEN": _written(between), "END": _written(end), "LEAD": _written(lead)}
    system = _with_system(rendering, tokenizer.bos_token or "", end)
    if system is not None:
        before, behind = map(_written, system)
        parts["START"] = _filled(_START_WITH_SYSTEM, parts | {"BEFORE": before, "BEHIND": behind})
    return _filled(_TALK, parts)


def _filled(template: str, parts: Mapping[str, str]) -> str:
    return re.sub("[A-Z]{3,}", lambda name: parts[name.group()], template)


def _said(role: str, text: str) -> Message:
    return {"role": role, "content": text}


def _around(text: str, *marks: str) -> list[str]:
    """What stands before, between and after marks, which each are in the text once."""
    parts, rest = [], text
    for mark in marks:
        before, _, rest = rest.partition(mark)
        parts.append(before)
    return [*parts, rest]


def _with_system(rendering: Rendering, bos: str, end: str) -> tuple[str, str] | None:
    """What stands before a system message, and between it and the user's; None if the template takes none."""
    try:
        text = rendering.prompt([_said("system", _SYSTEM), _said("user", _FIRST)], ())
    except InvalidInput:
        return None
    before, behind, rest = _around(text, _SYSTEM, _FIRST)
    return (before.removeprefix(bos), behind) if _SYSTEM in text and rest == end else None


def _written(text: str) -> str:
    """A text in a template of Go: braces begin an action there."""
    return f"{{{{ {json.dumps(text)} }}}}" if "{{" in text or '"""' in text else text
