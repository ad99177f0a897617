"""The four formats: recognise a row's format, check the row, and find what counts as tokens."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from tuneway._escape import Words, columns_shown, excerpt
from tuneway.dataset._findings import MISSING
from tuneway.dataset._messages import calls_of, check_message, check_messages, check_tools, is_image, parts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tuneway.dataset._findings import OnProblem
    from tuneway.dataset._report import Format

_TOOL_KEYS = {"tools", "functions", "parallel_tool_calls", "function_call"}
_CHAT_KEYS = {"messages", *_TOOL_KEYS}
_PREFERENCE_KEYS = {"input", "preferred_output", "non_preferred_output"}
_COMPLETION_KEYS = {"prompt", "completion"}

_PER_MESSAGE = 3 + 1  # the tokens around a message, and its role
_PER_EXAMPLE = 3  # the tokens that start the answer
_PER_IMAGE = 765  # an image of 1024 x 1024 pixels; the true number depends on the size
_PER_IMAGE_LOW = 85


class Measured(NamedTuple):
    """What counts as tokens in a row: its texts, the number of tokens around them, and the bytes of its images.

    `exact` is false if the row has parts whose tokens can only be estimated.
    """

    texts: list[str]
    overhead: int
    image_bytes: int = 0
    exact: bool = True


def recognise(row: dict[str, Any]) -> Format | None:
    """Recognise the format of a row; None if it has none."""
    if "messages" in row:
        messages = row["messages"]
        last = messages[-1] if isinstance(messages, list) and messages else None
        asks = isinstance(last, dict) and last.get("role") == "user"
        return "reinforcement" if asks and row.keys() - _CHAT_KEYS else "chat"
    if row.keys() & {"preferred_output", "non_preferred_output"}:
        return "preference"
    if row.keys() & _COMPLETION_KEYS:
        return "completions"
    return None


def most_common_format(rows: Iterable[dict[str, Any]]) -> Format | None:
    """The format that most rows have; the first one if several are equally common."""
    counts = Counter(format_ for row in rows if (format_ := recognise(row)))
    return counts.most_common(1)[0][0] if counts else None


def check_row(
    row: dict[str, Any],
    format_: Format | None,
    items: frozenset[str],
    report: OnProblem,
    row_keys: Mapping[str, frozenset[str]] | None = None,
) -> None:
    """Check a row by the rules of the file's format, and for keys that the service refuses."""
    seen = recognise(row)
    similar = {"chat", "reinforcement"}
    if format_ is None or not (seen == format_ or (seen in similar and format_ in similar)):
        expected = f"a {format_} example, like the others" if format_ else None
        report("row.format", None, Words(f"a {seen} example") if seen else row, expected)
        return
    refused = row.keys() - (row_keys or {}).get(format_, row.keys())
    for key in sorted(refused):
        report("row.refused_key", columns_shown([key]), Words("a key that the service refuses"))
    _CHECKS[format_]({key: value for key, value in row.items() if key not in refused} if refused else row, report)
    if format_ == "reinforcement":
        for name in sorted(items):
            _check_item(row, name, report)


def measure(row: dict[str, Any], format_: Format | None) -> Measured:
    """Find what counts as tokens in a row. Of a row with errors, the valid parts count."""
    if format_ is None:
        return Measured([json.dumps(row, ensure_ascii=False)], 0, exact=False)
    if format_ == "completions":
        return Measured([text for key in ("prompt", "completion") if isinstance(text := row.get(key), str)], 0)
    if format_ != "preference":
        return _measure_messages(row, row.get("messages"))
    asked = row.get("input")
    asked = asked if isinstance(asked, dict) else {}
    lists = (asked.get("messages"), row.get("preferred_output"), row.get("non_preferred_output"))
    return _measure_messages(asked, [message for list_ in lists if isinstance(list_, list) for message in list_])


def overhead_of_plain(texts: int, format_: Format | None) -> int:
    """The tokens that `measure` finds around the texts of a row that contains nothing else."""
    return _PER_EXAMPLE + _PER_MESSAGE * texts if format_ == "chat" else 0


def items_of(grader: Any) -> frozenset[str]:
    """The fields of a row that a grader reads, which are its `{{item.X}}`."""
    if not isinstance(grader, dict):
        grader = grader.model_dump(mode="json")
    return frozenset(match[1] for text in _strings(grader) for match in _ITEM.finditer(text))


_ITEM = re.compile(r"\{\{\s*item\.([\w-]+(?:\.[\w-]+)*)[^{}]*\}\}")


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _strings(child)


def _check_chat(row: dict[str, Any], report: OnProblem) -> None:
    check_messages(row["messages"], report)
    check_tools(row, report)
    _check_keys(row, _CHAT_KEYS, report)
    if not isinstance(row["messages"], list) or not row["messages"]:
        return
    answers = [m for m in row["messages"] if isinstance(m, dict) and m.get("role") == "assistant"]
    if not answers:
        report("chat.no_assistant", "messages", Words("no assistant message"))
    elif all(m.get("weight") == 0 for m in answers):
        report("chat.nothing_trained", "messages", Words("weight 0 on all assistant messages"))


def _check_completions(row: dict[str, Any], report: OnProblem) -> None:
    for key in ("prompt", "completion"):
        if not isinstance(row.get(key), str):
            report(f"completions.{key}", key, row.get(key, MISSING))
    _check_keys(row, _COMPLETION_KEYS, report)


def _check_preference(row: dict[str, Any], report: OnProblem) -> None:
    asked = row.get("input", MISSING)
    if isinstance(asked, dict) and "messages" in asked:
        check_messages(asked["messages"], report, where="input.messages")
        check_tools(asked, report, where="input.")
        _check_keys(asked, {"messages", "tools", "parallel_tool_calls"}, report, where="input.")
        messages = asked["messages"] if isinstance(asked["messages"], list) else []
        for place, message in enumerate(messages):
            if any(map(is_image, parts_of(message))):
                report("preference.text_only", f"input.messages[{place}].content", Words("an image"))
    else:
        report("preference.input", "input", asked)
    for key in ("preferred_output", "non_preferred_output"):
        _check_output(row.get(key, MISSING), key, report)
    if "preferred_output" in row and row["preferred_output"] == row.get("non_preferred_output"):
        report("preference.same", None, Words("two equal outputs"))
    _check_keys(row, _PREFERENCE_KEYS, report)


def _check_output(output: Any, key: str, report: OnProblem) -> None:
    message = output[0] if isinstance(output, list) and len(output) == 1 else None
    if not isinstance(message, dict) or message.get("role") != "assistant":
        report("preference.output", key, output if message is None else message)
        return
    check_message(message, report, where=f"{key}[0]")
    if calls_of(message):
        report("preference.text_only", f"{key}[0]", Words("a call of a tool"))
    elif any(map(is_image, parts_of(message))):
        report("preference.text_only", f"{key}[0].content", Words("an image"))


def _check_reinforcement(row: dict[str, Any], report: OnProblem) -> None:
    check_messages(row["messages"], report)
    check_tools(row, report)
    messages = row["messages"] if isinstance(row["messages"], list) else []
    for place, message in enumerate(messages):
        if isinstance(message, dict) and message.get("role") == "system":
            report("reinforcement.system", f"messages[{place}].role", "system")
    last = messages[-1] if messages else None
    if isinstance(last, dict) and last.get("role") != "user":
        report("reinforcement.last_message", f"messages[{len(messages) - 1}].role", last.get("role", MISSING))


def _check_item(row: dict[str, Any], name: str, report: OnProblem) -> None:
    """Check that a row has the field `a.b`. Only objects are followed; the service looks into lists and strings."""
    value: Any = row
    for key in name.split("."):
        if not isinstance(value, dict):
            return
        if key not in value:
            report("reinforcement.item", name, MISSING, f"{{{{item.{name}}}}}, which the grader reads")
            return
        value = value[key]


def _check_keys(row: dict[str, Any], known: set[str], report: OnProblem, where: str = "") -> None:
    for key in sorted(row.keys() - known):
        report("row.extra_key", where + excerpt(key).strip("'"), Words("a key that this format doesn't have"))


_CHECKS: dict[Format, Callable[[dict[str, Any], OnProblem], None]] = {
    "chat": _check_chat,
    "completions": _check_completions,
    "preference": _check_preference,
    "reinforcement": _check_reinforcement,
}


def _measure_messages(row: dict[str, Any], messages: Any) -> Measured:
    texts: list[str] = []
    overhead, image_bytes, exact = _PER_EXAMPLE, 0, True
    for message in messages if isinstance(messages, list) else []:
        if isinstance(message, dict):
            more = _measure_message(message)
            texts += more.texts
            overhead += more.overhead
            image_bytes += more.image_bytes
            exact = exact and more.exact
    for key in ("tools", "functions"):
        if row.get(key):
            texts.append(json.dumps(row[key], ensure_ascii=False))
            exact = False
    return Measured(texts, overhead, image_bytes, exact)


def _measure_message(message: dict[str, Any]) -> Measured:
    texts = [text for key in ("content", "name") if isinstance(text := message.get(key), str)]
    overhead = _PER_MESSAGE + ("name" in message)
    image_bytes, exact = 0, True
    for part in parts_of(message):
        if is_image(part):
            tokens, size = _measure_image(part.get("image_url"))
            overhead, image_bytes, exact = overhead + tokens, image_bytes + size, False
        elif isinstance(part, dict) and isinstance(text := part.get("text"), str):
            texts.append(text)
    if calls_of(message):
        texts.append(json.dumps(message.get("tool_calls") or message.get("function_call"), ensure_ascii=False))
        exact = False
    return Measured(texts, overhead, image_bytes, exact)


def _measure_image(image: Any) -> tuple[int, int]:
    image = image if isinstance(image, dict) else {}
    url, detail = image.get("url"), image.get("detail")
    tokens = _PER_IMAGE_LOW if detail == "low" else _PER_IMAGE
    return tokens, len(url) if isinstance(url, str) else 0
