"""Small bad files, and exactly what is said of each: the golden table of the rules."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.datasets import Line, chat, good_rows, preference, say, to_bytes

from tuneway.dataset import RULES, validate

TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
ANSWER = say("tool", "42", tool_call_id="call_1")
DEEP = b'{"messages": ' + b"[" * 400 + b"]" * 400 + b"}"
LONG_LINE = json.dumps(chat(say("user", "x" * 3_000_000), say("assistant")))


def image(url: Any = "https://example.com/a.png", **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def calls(**more: Any) -> dict[str, Any]:
    return chat(say("user"), say("assistant", None, **more), tools=[TOOL])


def call(**more: Any) -> dict[str, Any]:
    return calls(tool_calls=[CALL | more])


@dataclass
class Case:
    """Lines before ten good rows, and the (line, rule, where) that each must give; None where that is the file's."""

    lines: list[Line]
    expected: list[tuple[int | None, str, str | None]]
    format: str = "chat"
    options: dict[str, Any] = field(default_factory=dict)
    alone: bool = False
    validation: bool = False


def bad_chat(row: Line, rule: str, where: str | None) -> Case:
    return Case([row], [(1, rule, where)])


CASES: dict[str, Case] = {
    # files
    "an empty file": Case([], [(None, "file.empty", None)], alone=True),
    "nothing but blank lines": Case(
        ["", " "],
        [(None, "file.empty", None), (1, "jsonl.blank_line", None), (2, "jsonl.blank_line", None)],
        alone=True,
    ),
    "nine examples": Case(list(good_rows(count=9)), [(None, "file.too_few_rows", None)], alone=True),
    "a byte order mark": Case([b"\xef\xbb\xbf" + json.dumps(chat()).encode()], [(1, "file.bom", None)]),
    "Latin-1": Case([b'{"messages": "caf\xe9"}'], [(1, "file.encoding", None)]),
    "UTF-16": Case(
        ["{}".encode("utf-16"), "{}".encode("utf-16")], [(1, "file.encoding", None), (2, "file.encoding", None)]
    ),
    "CRLF on two lines": Case(
        [json.dumps(chat()) + "\r", json.dumps(chat(say("user", "b"), say("assistant"))) + "\r"],
        [(1, "file.crlf", None)],
    ),
    # lines
    "a blank line": Case([""], [(1, "jsonl.blank_line", None)]),
    "a comma too many": bad_chat('{"messages": [],}', "jsonl.syntax", "column 17"),
    "single quotes": bad_chat("{'messages': []}", "jsonl.syntax", "column 2"),
    "two objects on a line": bad_chat("{} {}", "jsonl.syntax", "column 4"),
    "a raw control character": bad_chat('{"messages": "a\tb"}', "jsonl.syntax", "column 16"),
    "a list": bad_chat([chat()], "jsonl.not_object", None),
    "a number": bad_chat("7", "jsonl.not_object", None),
    "a bare null": bad_chat("null", "jsonl.not_object", None),
    "a key twice in a plain row": bad_chat(
        '{"messages": [{"role": "user", "role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}',
        "jsonl.duplicate_key", None,
    ),
    "messages twice": bad_chat(
        '{"messages": [{"role": "user", "content": "x"}], "messages": [{"role": "assistant", "content": "b"}]}',
        "jsonl.duplicate_key", None,
    ),
    "a key twice, with quotes in the text to make up for it": bad_chat(
        r'{"messages": [{"role": "assistant", "content": "a", "content": "say \u0022hi\u0022 to \u0022me\u0022"}]}',
        "jsonl.duplicate_key", None,
    ),
    "quotes in a text": Case([chat(say("user", 'say "hi" and \\'), say("assistant", '"'))], []),
    "NaN": Case(
        ['{"messages": [{"role": "assistant", "content": "a", "weight": NaN}]}'], [(1, "jsonl.nan", None)]
    ),
    "an integer beyond 64 bits": Case(
        ['{"messages": [{"role": "user", "content": "q"}], "n": 99999999999999999999999}'],
        [(1, "jsonl.number", None)],
        "reinforcement",
    ),
    "an integer of five thousand digits": Case(
        ['{"messages": [{"role": "user", "content": "q"}], "n": -' + "9" * 5000 + "}"],
        [(1, "jsonl.number", None)],
        "reinforcement",
    ),
    "a float beyond all bounds": Case(
        ['{"messages": [{"role": "user", "content": "q"}], "n": 1e999}'], [(1, "jsonl.number", None)], "reinforcement"
    ),
    "the largest integers": Case(
        [{"messages": [say("user", "q")], "n": [2**63 - 1, 2**64 - 1, -(2**63)]}], [], "reinforcement"
    ),
    "half an emoji": bad_chat(chat(say("assistant", "\ud83d")), "jsonl.lone_surrogate", None),
    "a whole emoji, escaped": Case([chat(say("assistant", "\N{GRINNING FACE}"))], []),
    "too deep": bad_chat(DEEP, "jsonl.depth", None),
    "a line beyond the limit": Case(
        [LONG_LINE], [(1, "jsonl.line_too_long", None)], options={"max_line_bytes": 2 * 2**20}
    ),
    # rows
    "another format": Case([{"prompt": "a", "completion": "b"}], [(1, "row.format", None)]),
    "no format": Case([{"text": "a"}], [(1, "row.format", None)]),
    "nothing but another format": Case(
        [{"text": str(n)} for n in range(10)], [(n, "row.format", None) for n in range(1, 11)], alone=True
    ),
    "an unknown key": bad_chat(chat(extra=1), "row.extra_key", "extra"),
    "the same row twice": Case([chat(), chat()], [(2, "row.duplicate", None)]),
    "the same row three times": Case(
        [chat(), chat(), chat()], [(2, "row.duplicate", None), (3, "row.duplicate", None)]
    ),
    "too long": Case([chat(say("assistant", "one two " * 40_000))], [(1, "row.too_long", None)]),
    "long in bytes, not in tokens": Case([chat(say("assistant", "understanding " * 10_000))], []),
    # messages
    "messages missing from an object": Case([{"tools": []}], [(1, "row.format", None)]),
    "no messages": Case([{"messages": []}], [(1, "chat.messages", "messages")]),
    "messages that are a string": Case([{"messages": "hi"}], [(1, "chat.messages", "messages")]),
    "messages that are an object": Case([{"messages": say("user")}], [(1, "chat.messages", "messages")]),
    "a message that is a string": bad_chat(chat("hi", say("assistant")), "chat.message", "messages[0]"),  # type: ignore[arg-type]
    "an unknown role": bad_chat(chat(say("bot"), say("assistant")), "chat.role", "messages[0].role"),
    "a role that is a list": bad_chat(chat(say(["user"]), say("assistant")), "chat.role", "messages[0].role"),  # type: ignore[arg-type]
    "a role missing": bad_chat(chat({"content": "a"}, say("assistant")), "chat.role", "messages[0].role"),
    "all roles": Case(
        [
            chat(
                say("system"), say("developer"), say("user", name="Jo"), say("assistant", name="Al", weight=1),
                say("assistant", None, tool_calls=[CALL]), ANSWER, say("function", "1", name="f"), say("assistant"),
                tools=[TOOL], functions=[{"name": "f"}], parallel_tool_calls=False,
            )
        ],
        [],
    ),
    "no assistant": bad_chat(chat(say("user")), "chat.no_assistant", "messages"),
    "content missing": bad_chat(chat({"role": "user"}, say("assistant")), "chat.content", "messages[0].content"),
    "content null": bad_chat(chat(say("user"), say("assistant", None)), "chat.content", "messages[1].content"),
    "content a number": bad_chat(chat(say("user", 7), say("assistant")), "chat.content", "messages[0].content"),
    "no parts": bad_chat(chat(say("user", []), say("assistant")), "chat.content", "messages[0].content"),
    "null beside a call": Case([calls(tool_calls=[CALL])], []),
    "nothing beside a call": Case([chat({"role": "assistant", "tool_calls": [CALL]})], []),
    "parts of text": Case([chat(say("user", [{"type": "text", "text": "a"}]), say("assistant"))], []),
    "a part without text": bad_chat(
        chat(say("user", [{"type": "text"}]), say("assistant")), "chat.content_part", "messages[0].content[0].text"
    ),
    "an unknown part": bad_chat(
        chat(say("user", [{"type": "video"}]), say("assistant")), "chat.content_part", "messages[0].content[0]"
    ),
    "a part that is a string": bad_chat(
        chat(say("user", ["a"]), say("assistant")), "chat.content_part", "messages[0].content[0]"
    ),
    "an unknown key of a message": bad_chat(
        chat(say("user", mood="good"), say("assistant")), "chat.message_key", "messages[0].mood"
    ),
    "a name that is a number": bad_chat(chat(say("user", name=3), say("assistant")), "chat.name", "messages[0].name"),
    "a function message without a name": bad_chat(
        chat(say("function"), say("assistant")), "chat.name", "messages[0].name"
    ),
    "a weight of a half": bad_chat(chat(say("assistant", weight=0.5)), "chat.weight", "messages[0].weight"),
    "a weight that is true": bad_chat(chat(say("assistant", weight=True)), "chat.weight", "messages[0].weight"),
    "a user's weight": bad_chat(
        chat(say("user", weight=0), say("assistant")), "chat.weight_role", "messages[0].weight"
    ),
    "nothing trained": bad_chat(
        chat(say("assistant", weight=0), say("assistant", "b", weight=0)), "chat.nothing_trained", "messages"
    ),
    "one of two trained": Case([chat(say("assistant", weight=0), say("assistant", "b", weight=1))], []),
    # tools
    "tools that are an object": bad_chat(chat(tools={}), "chat.tools", "tools"),
    "a tool of no type": bad_chat(chat(tools=[{"function": {"name": "f"}}]), "chat.tools", "tools[0]"),
    "a tool without a name": bad_chat(
        chat(tools=[{"type": "function", "function": {}}]), "chat.tools", "tools[0].function.name"
    ),
    "a tool with a space in its name": bad_chat(
        chat(tools=[{"type": "function", "function": {"name": "look up"}}]), "chat.tools", "tools[0].function.name"
    ),
    "parameters that are a list": bad_chat(
        chat(tools=[{"type": "function", "function": {"name": "f", "parameters": []}}]),
        "chat.tools", "tools[0].function.parameters",
    ),
    "no functions": bad_chat(chat(functions=[]), "chat.functions", "functions"),
    "129 functions": bad_chat(chat(functions=[{"name": "f"}] * 129), "chat.functions", "functions"),
    "128 functions": Case([chat(functions=[{"name": "f"}] * 128)], []),
    "a function without a name": bad_chat(chat(functions=[{}]), "chat.functions", "functions[0].name"),
    "a function that is a string": bad_chat(chat(functions=["f"]), "chat.functions", "functions[0]"),
    "a refusal": Case([chat(say("assistant", [{"type": "refusal", "refusal": "No."}]))], []),
    "a refusal from the user": bad_chat(
        chat(say("user", [{"type": "refusal", "refusal": "No."}]), say("assistant")),
        "chat.content_part", "messages[0].content[0]",
    ),
    "an image preferred": Case(
        [preference(preferred_output=[say("assistant", [image()])])],
        [
            (1, "image.role", "preferred_output[0].content[0].image_url"),
            (1, "preference.text_only", "preferred_output[0].content"),
        ],
        "preference",
    ),
    "parallel calls as a word": bad_chat(
        chat(parallel_tool_calls="yes"), "chat.parallel_tool_calls", "parallel_tool_calls"
    ),
    "calls that are an object": bad_chat(
        chat(say("assistant", "a", tool_calls={})), "chat.tool_calls", "messages[0].tool_calls"
    ),
    "no calls": Case(
        [chat(say("assistant", None, tool_calls=[]))],
        [(1, "chat.content", "messages[0].content"), (1, "chat.tool_calls", "messages[0].tool_calls")],
    ),
    "a call without an id": bad_chat(call(id=None), "chat.tool_calls", "messages[1].tool_calls[0].id"),
    "a call of another type": bad_chat(call(type="web"), "chat.tool_calls", "messages[1].tool_calls[0].type"),
    "a call of nothing": bad_chat(call(function=None), "chat.tool_calls", "messages[1].tool_calls[0].function"),
    "a call without a name": bad_chat(
        call(function={"arguments": "{}"}), "chat.tool_calls", "messages[1].tool_calls[0].function.name"
    ),
    "arguments as an object": bad_chat(
        call(function={"name": "f", "arguments": {}}),
        "chat.arguments", "messages[1].tool_calls[0].function.arguments",
    ),
    "arguments that aren't JSON": bad_chat(
        call(function={"name": "f", "arguments": "{a}"}),
        "chat.arguments_json", "messages[1].tool_calls[0].function.arguments",
    ),
    "a call that is a string": bad_chat(
        calls(tool_calls=["f"]), "chat.tool_calls", "messages[1].tool_calls[0]"
    ),
    "an old call without a name": bad_chat(
        calls(function_call={"arguments": "{}"}), "chat.function_call", "messages[1].function_call.name"
    ),
    "an answer without an id": bad_chat(
        chat(say("tool"), say("assistant")), "chat.tool_call_id", "messages[0].tool_call_id"
    ),
    "an answer to a call never made": bad_chat(
        chat(ANSWER, say("assistant")), "chat.unknown_tool_call", "messages[0].tool_call_id"
    ),
    "an answer before its call": bad_chat(
        chat(ANSWER, say("assistant", None, tool_calls=[CALL])), "chat.unknown_tool_call", "messages[0].tool_call_id"
    ),
    # images
    "an image from the user": Case([chat(say("user", [image(), image(detail="low")]), say("assistant"))], []),
    "an image from the system": bad_chat(
        chat(say("system", [image()]), say("assistant")), "image.role", "messages[0].content[0].image_url"
    ),
    "an image from a disk": bad_chat(
        chat(say("user", [image("file:///a.png")]), say("assistant")),
        "image.url", "messages[0].content[0].image_url.url",
    ),
    "an image URL not in an object": bad_chat(
        chat(say("user", [{"type": "image_url", "image_url": "https://example.com/a.png"}]), say("assistant")),
        "image.url", "messages[0].content[0].image_url",
    ),
    "data that is no image": bad_chat(
        chat(say("user", [image("data:text/plain;base64,aGk=")]), say("assistant")),
        "image.url", "messages[0].content[0].image_url.url",
    ),
    "an unknown detail": bad_chat(
        chat(say("user", [image(detail="ultra")]), say("assistant")),
        "image.detail", "messages[0].content[0].image_url.detail",
    ),
    "an image of 10 MB": Case(
        [
            chat(
                say("user", [image("data:image/png;base64," + base64.b64encode(bytes(10 * 2**20)).decode())]),
                say("assistant"),
            )
        ],
        [],
    ),
    "an image of more than 10 MB": bad_chat(
        chat(
            say("user", [image("data:image/png;base64," + base64.b64encode(bytes(10 * 2**20 + 3)).decode())]),
            say("assistant"),
        ),
        "image.too_large", "messages[0].content[0].image_url.url",
    ),
    "ten images": Case([chat(say("user", [image()] * 4), say("user", [image()] * 6), say("assistant"))], []),
    "eleven images": bad_chat(
        chat(say("user", [image()] * 5), say("user", [image()] * 6), say("assistant")), "image.too_many", "messages"
    ),
    # completions
    "good completions": Case([], [], "completions"),
    "a prompt that is a list": Case(
        [{"prompt": ["a"], "completion": "b"}], [(1, "completions.prompt", "prompt")], "completions"
    ),
    "a completion missing": Case([{"prompt": "a"}], [(1, "completions.completion", "completion")], "completions"),
    "an unknown key of a completion": Case(
        [{"prompt": "a", "completion": "b", "label": 1}], [(1, "row.extra_key", "label")], "completions"
    ),
    "a key twice in a completion": Case(
        ['{"prompt": "a", "completion": "b", "prompt": "c"}'], [(1, "jsonl.duplicate_key", None)], "completions"
    ),
    # preference
    "good preferences": Case([], [], "preference"),
    "no input": Case(
        [preference(input="hi")], [(1, "preference.input", "input")], "preference"
    ),
    "an input without messages": Case([preference(input={})], [(1, "preference.input", "input")], "preference"),
    "a bad role in the input": Case(
        [preference(input={"messages": [say("bot")]})], [(1, "chat.role", "input.messages[0].role")], "preference"
    ),
    "tools in the input": Case(
        [preference(input={"messages": [say("user")], "tools": [TOOL], "parallel_tool_calls": True})], [], "preference"
    ),
    "a bad tool in the input": Case(
        [preference(input={"messages": [say("user")], "tools": [{}]})],
        [(1, "chat.tools", "input.tools[0]")],
        "preference",
    ),
    "two messages preferred": Case(
        [preference(preferred_output=[say("assistant", "a"), say("assistant", "b")])],
        [(1, "preference.output", "preferred_output")],
        "preference",
    ),
    "a user preferred": Case(
        [preference(preferred_output=[say("user", "a")])], [(1, "preference.output", "preferred_output")], "preference"
    ),
    "nothing not preferred": Case(
        [{"input": {"messages": [say("user")]}, "preferred_output": [say("assistant")]}],
        [(1, "preference.output", "non_preferred_output")],
        "preference",
    ),
    "a call preferred": Case(
        [preference(preferred_output=[say("assistant", None, tool_calls=[CALL])])],
        [(1, "preference.text_only", "preferred_output[0]")],
        "preference",
    ),
    "an image in the input": Case(
        [preference(input={"messages": [say("user", [image()])]})],
        [(1, "preference.text_only", "input.messages[0].content")],
        "preference",
    ),
    "equal outputs": Case(
        [preference(preferred_output=[say("assistant", "no")])], [(1, "preference.same", None)], "preference"
    ),
    # reinforcement
    "good reinforcement": Case([], [], "reinforcement", {"grader": {"input": "{{ item.answer }}"}}),
    "the assistant last": Case(
        [{"messages": [say("user"), say("assistant")], "answer": "1"}],
        [(1, "reinforcement.last_message", "messages[1].role")],
        "reinforcement",
    ),
    "a system message": Case(
        [{"messages": [say("system"), say("user")], "answer": "1"}],
        [(1, "reinforcement.system", "messages[0].role")],
        "reinforcement",
    ),
    "a field that the grader reads": Case(
        [{"messages": [say("user")], "reference": "1"}],
        [(1, "reinforcement.item", "answer")],
        "reinforcement",
        {"grader": {"type": "string_check", "input": "{{sample.output_text}}", "reference": "{{item.answer}}"}},
    ),
    "a field inside a field": Case(
        [
            {"messages": [say("user", "1")], "answer": {"value": 1}},
            {"messages": [say("user", "2")], "answer": {"text": 1}},
        ],
        [(2, "reinforcement.item", "answer.value")],
        "reinforcement",
        {"grader": {"graders": [{"input": "{{ item.answer.value }}"}]}},
    ),
}  # fmt: skip


def found_in(report: Any) -> list[tuple[int | None, str, str | None]]:
    problems = [(problem.line, problem.rule, problem.where) for problem in [*report.errors, *report.warnings]]
    return sorted(problems, key=lambda problem: (problem[0] or 0, problem[1]))


@pytest.mark.parametrize("name", CASES)
def test_each_bad_file_gives_exactly_its_problems(name, tmp_path):
    case = CASES[name]
    path = tmp_path / "train.jsonl"
    path.write_bytes(to_bytes([*case.lines, *([] if case.alone else good_rows(case.format))]))
    report = validate(path, tokenizer="estimate", **case.options)
    assert found_in(report) == case.expected
    if not case.alone:
        assert report.format == case.format
    assert report.ok == (not any(RULES[rule].severity == "error" for _, rule, _ in case.expected))
    assert sum(report.counts.values()) == len(case.expected)
    assert report.counts.keys() == {rule for _, rule, _ in case.expected}


def test_a_file_that_was_cut_says_so(tmp_path):
    whole = to_bytes(good_rows(count=11))
    last = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(last + 1, len(whole) - 1):
        path = tmp_path / "train.jsonl"
        path.write_bytes(whole[:cut])
        problems = found_in(validate(path, tokenizer="estimate"))
        assert [(line, rule) for line, rule, _ in problems] == [(11, "jsonl.truncated")], whole[last:cut]


def test_a_last_line_without_an_end_is_fine_and_a_wrong_one_is_wrong(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_bytes(to_bytes(good_rows()) + json.dumps(chat()).encode())
    assert validate(path, tokenizer="estimate").ok
    path.write_bytes(to_bytes(good_rows()) + b'{"messages": []}}')
    assert validate(path, tokenizer="estimate").counts == {"jsonl.syntax": 1}


def test_a_last_line_without_an_end_can_be_a_duplicate(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_bytes(to_bytes(good_rows()) + json.dumps(good_rows()[3]).encode())
    assert found_in(validate(path, tokenizer="estimate")) == [(11, "row.duplicate", None)]


def test_half_a_character_at_the_end_is_reported_as_a_cut_file(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_bytes(to_bytes(good_rows()) + '{"prompt": "é'.encode()[:-1])
    assert validate(path, tokenizer="estimate").counts == {"jsonl.truncated": 1}


def test_bytes_that_are_not_utf8_are_named_with_their_offset(tmp_path):
    path = tmp_path / "train.jsonl"
    start = to_bytes(good_rows())
    path.write_bytes(start + b'{"a": "\xff"}\n')
    (problem,) = validate(path, tokenizer="estimate").errors
    assert (problem.line, problem.found) == (11, f"byte 0xff at offset {len(start) + 7}")


def test_every_rule_is_in_the_corpus_or_in_a_test_of_its_own():
    elsewhere = {
        "file.too_large",
        "file.extension",
        "file.few_validation_rows",
        "jsonl.truncated",
        "row.overlap",
        "row.refused_key",
    }
    seen = {rule for case in CASES.values() for _, rule, _ in case.expected}
    assert seen | elsewhere == RULES.keys()
    assert not seen & elsewhere
