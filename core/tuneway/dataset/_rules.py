"""All rules for the data, each with its id and its severity.

Errors block an upload: a service would refuse the data, or a row can't be read. Warnings don't: the service accepts
the data, but the user may not have meant it. Ids are stable, so scripts may use them.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Severity = Literal["error", "warning"]

MIN_ROWS = 10
MAX_FILE_BYTES = 8 * 2**30
MAX_LINE_BYTES = 32 * 2**20
MAX_DEPTH = 200
STRICT_BYTES = 8 * 2**20  # the search for equal keys costs a sixth of the speed, and files written by hand are small
MAX_IMAGES = 10
MAX_IMAGE_BYTES = 10 * 2**20
MAX_FUNCTIONS = 128
ROLES = ("system", "user", "assistant", "tool", "function", "developer")


class Rule(NamedTuple):
    """One rule. `expected` is the text in a problem that says what should be there."""

    id: str
    severity: Severity
    summary: str
    expected: str
    hint: str = ""


_FILE = (
    Rule(
        "file.empty", "error", "The file has at least one example.", "one JSON object a line",
        "Check that the export was complete.",
    ),
    Rule(
        "file.too_few_rows", "error", f"A training file has {MIN_ROWS} examples or more (`invalid_n_examples`).",
        f"at least {MIN_ROWS} examples", "Add examples; results usually improve from 50 to 100 good ones on.",
    ),
    Rule(
        "file.few_validation_rows", "warning", f"A validation file has {MIN_ROWS} examples or more.",
        f"at least {MIN_ROWS} examples", "Add examples: some services refuse fewer, and the loss on a few says little.",
    ),
    Rule(
        "file.too_large", "error", "A file is at most 8 GB.", f"at most {MAX_FILE_BYTES:,} bytes",
        "Split it, or keep the best examples: more data of the same kind doesn't help at this size.",
    ),
    Rule(
        "file.extension", "warning", "The name of the file ends in .jsonl.", "a name that ends in .jsonl",
        "Rename it: services accept only .jsonl.",
    ),
    Rule(
        "file.bom", "error", "The file is UTF-8 without a byte order mark.", "no byte order mark",
        "Save as 'UTF-8', not 'UTF-8 with BOM'; in Python, encoding='utf-8'.",
    ),
    Rule(
        "file.encoding", "error", "The file is UTF-8.", "UTF-8", "Save the file as UTF-8; in Python, encoding='utf-8'.",
    ),
    Rule(
        "file.crlf", "warning", "Lines end with LF.", "LF at the end of the line",
        "Most services read CRLF; write with newline='\\n' to be safe.",
    ),
)  # fmt: skip

_JSONL = (
    Rule(
        "jsonl.blank_line", "warning", "There are no blank lines.", "one JSON object a line",
        "Remove it: some services refuse blank lines.",
    ),
    Rule("jsonl.syntax", "error", "Each line is valid JSON.", "valid JSON"),
    Rule(
        "jsonl.truncated", "error", "The last line is complete.", "a complete line",
        "The file was cut while it was written or copied: create it again.",
    ),
    Rule(
        "jsonl.not_object", "error", "Each line is a JSON object.", "a JSON object",
        "Write one example on each line, without a list around them.",
    ),
    Rule(
        "jsonl.duplicate_key", "warning",
        f"No object has the same key twice (plain text rows: in the first {STRICT_BYTES // 2**20} MB).",
        "each key once", "JSON parsers keep the last one and drop the others.",
    ),
    Rule("jsonl.nan", "error", "There is no NaN and no Infinity: they aren't JSON.", "a number or null"),
    Rule(
        "jsonl.number", "warning", "Numbers fit in 64 bits.", "a number of at most 64 bits",
        "Write it as a string: other programs may read a different number.",
    ),
    Rule(
        "jsonl.lone_surrogate", "error", "Escapes are complete characters (no lone \\ud800 to \\udfff).",
        "both halves of a surrogate pair", "The text was cut in the middle of an emoji: remove the remaining half.",
    ),
    Rule("jsonl.depth", "error", f"Nesting stays below {MAX_DEPTH} levels.", f"fewer than {MAX_DEPTH} levels"),
    Rule(
        "jsonl.line_too_long", "error", "A line is short enough to be checked in constant memory.",
        "a shorter line", "Raise `max_line_bytes` if lines have to be this long, because they contain large images.",
    ),
)  # fmt: skip

_ROW = (
    Rule(
        "row.format", "error", "Each row has the file's format.",
        "chat (messages), completions (prompt, completion), preference (input, preferred_output, "
        "non_preferred_output) or reinforcement (messages and the grader's fields)",
    ),
    Rule(
        "row.extra_key", "warning", "A row has only the keys of its format.", "no such key", "Training ignores it.",
    ),
    Rule(
        "row.refused_key", "error", "A row has only keys that the service takes.", "no such key",
        "Leave it out of all rows: the service refuses a file with it.",
    ),
    Rule(
        "row.duplicate", "warning", "No example is in the file twice.", "each example once",
        "It counts twice in training: remove it, unless that is on purpose.",
    ),
    Rule(
        "row.overlap", "error", "No example is in both the training and the validation file.",
        "examples that the training file doesn't have",
        "Remove it from one of them: the loss on an example that was trained on says nothing.",
    ),
    Rule(
        "row.too_long", "warning", "An example fits the model's training context.", "a shorter example",
        "Shorten it: what exceeds the limit is cut off at the end, where the answer is.",
    ),
)  # fmt: skip

_CHAT = (
    Rule("chat.messages", "error", "`messages` is a list with at least one message.", "a list of messages"),
    Rule("chat.message", "error", "A message is an object.", "an object with role and content"),
    Rule("chat.role", "error", "`role` is one that the service knows.", "one of " + ", ".join(ROLES)),
    Rule(
        "chat.no_assistant", "error", "At least one message is from the assistant.", "an assistant message",
        "Add one: training learns only from assistant messages.",
    ),
    Rule(
        "chat.content", "error", "`content` is a string or a list of parts; null only with a tool call.",
        "a string or a list of parts",
    ),
    Rule(
        "chat.content_part", "error", "A part is {'type': 'text', 'text': …} or, from users, an image.",
        "a part of a type that this role may send",
    ),
    Rule("chat.message_key", "warning", "A message has only the keys of its role.", "no such key"),
    Rule("chat.name", "error", "`name` is a string; a function message needs one.", "a string"),
    Rule("chat.weight", "error", "`weight` is 0 or 1.", "0 or 1", "0 leaves the message out of training."),
    Rule("chat.weight_role", "warning", "Only assistant messages have a weight.", "no weight on this role"),
    Rule(
        "chat.nothing_trained", "warning", "At least one assistant message has a weight other than 0.",
        "an assistant message without weight 0", "Remove the example: it costs tokens, but nothing is learned from it.",
    ),
    Rule("chat.tools", "error", "`tools` is a list of {'type': 'function', 'function': {'name': …}}.", "a tool"),
    Rule(
        "chat.functions", "error", f"`functions` (deprecated) has 1 to {MAX_FUNCTIONS} functions, each with a name.",
        f"1 to {MAX_FUNCTIONS} functions, each {{'name': …}}",
    ),
    Rule("chat.parallel_tool_calls", "error", "`parallel_tool_calls` is true or false.", "true or false"),
    Rule(
        "chat.tool_calls", "error",
        "A call in `tool_calls` has an id, type 'function' and a function with name and arguments.",
        "{'id': …, 'type': 'function', 'function': {'name': …, 'arguments': '…'}}",
    ),
    Rule(
        "chat.arguments", "error", "The arguments of a call are a string that contains JSON.", "a string",
        "Use json.dumps on them.",
    ),
    Rule("chat.arguments_json", "warning", "The string of a call's arguments is valid JSON.", "JSON"),
    Rule("chat.function_call", "error", "`function_call` (deprecated) has a name.", "{'name': …, 'arguments': '…'}"),
    Rule("chat.tool_call_id", "error", "A tool message says which call it answers.", "a string"),
    Rule(
        "chat.unknown_tool_call", "warning", "A tool message answers an earlier call.", "the id of an earlier call",
    ),
)  # fmt: skip

_IMAGE = (
    Rule("image.role", "error", "Images are in user messages only.", "an image only in a user message"),
    Rule(
        "image.url", "error", "An image is an http(s) URL or a base64 data URL.",
        "http://…, https://… or data:image/…;base64,…",
    ),
    Rule("image.detail", "error", "`detail` of an image is auto, low or high.", "auto, low or high"),
    Rule("image.too_large", "error", "An image is at most 10 MB.", "at most 10 MB"),
    Rule("image.too_many", "error", f"An example has at most {MAX_IMAGES} images.", f"at most {MAX_IMAGES} images"),
)  # fmt: skip

_OTHERS = (
    Rule("completions.prompt", "error", "`prompt` is a string.", "a string"),
    Rule("completions.completion", "error", "`completion` is a string.", "a string"),
    Rule("preference.input", "error", "`input` is an object with messages.", "an object with messages"),
    Rule(
        "preference.output", "error", "Each output is a list of exactly one assistant message.",
        "a list with one assistant message",
    ),
    Rule("preference.text_only", "error", "Preference data is text only.", "text"),
    Rule(
        "preference.same", "warning", "The two outputs differ.", "two different outputs",
        "Remove the example: neither output can be preferred.",
    ),
    Rule("reinforcement.last_message", "error", "The last message is from the user.", "a user message at the end"),
    Rule(
        "reinforcement.system", "error", "There is no system message.", "no system message",
        "Use a developer message.",
    ),
    Rule(
        "reinforcement.item", "error", "Each row has a field for each {{item.…}} of the grader.",
        "a field that the grader reads",
    ),
)  # fmt: skip

RULES: dict[str, Rule] = {rule.id: rule for rule in (*_FILE, *_JSONL, *_ROW, *_CHAT, *_IMAGE, *_OTHERS)}
"""All rules by id, in the order of the documentation."""
