"""Any bytes give a report; its counts are those of a naive reference; the fast path changes nothing."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from support.datasets import to_bytes
from support.naive_rules import ROLES, count_problems

from tuneway.dataset import DatasetReport, _checking, _plain, validate
from tuneway.dataset._plain import sift

texts = st.text(max_size=12) | st.sampled_from(['say "hi"', "\\", '\\"', "\n\n", "a: b", "\N{GRINNING FACE}"])
scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0]) | texts
parts = st.lists(
    st.fixed_dictionaries({"type": st.sampled_from(["text", "video"]), "text": texts}) | scalars, max_size=3
)
messages = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from([*ROLES, "bot"]),
        "content": texts | parts | scalars,
        "name": scalars,
        "weight": scalars,
        "mood": scalars,
    },
)
good_messages = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": texts})
good_chats = st.fixed_dictionaries({"messages": st.lists(good_messages, min_size=1, max_size=4)})
chats = st.fixed_dictionaries(
    {}, optional={"messages": st.lists(messages | good_messages | scalars, max_size=4) | scalars, "label": scalars}
)
completions = st.fixed_dictionaries({}, optional={"prompt": scalars, "completion": scalars, "label": scalars})

dumped = st.builds(
    lambda row, ascii_, spaces: json.dumps(
        row, ensure_ascii=ascii_, separators=(", ", ": ") if spaces else (",", ":")
    ).encode("utf-8", "surrogatepass"),
    good_chats | chats | completions,
    st.booleans(),
    st.booleans(),
)
odd_lines = st.sampled_from(
    [
        b"",
        b"  \t",
        b"null",
        b"[]",
        b"{",
        b"{}",
        b"{'a': 1}",
        b'{"messages": [{"role": "user", "role": "assistant", "content": "x"}]}',
        b'{"messages": [{"role": "assistant", "content": "x", "content": "y"}], "messages": []}',
        b'{"prompt": "a", "completion": "b", "prompt": "\\u0022"}',
        b'{"messages": [{"r\\u006fle": "assistant", "content": "x", "role": "assistant"}]}',
        b'{"messages": [{"role": "assistant", "content": "\\ud83d"}]}',
        b'{"messages": [{"role": "assistant", "content": "\\ude00\\ud83d"}]}',
        b'{"messages": [{"role": "assistant", "content": "\\ud83d\\ude00"}]}',
        b'{"messages": [{"role": "assistant", "content": "\\ud83d\\u0041"}]}',
        b'{"messages": [{"role": "assistant", "content": "\\ud83d\\\\ude00"}]}',
        b'{"messages":[{"role":"assistant","content":"\\x41"}]}',
        b'{"messages":[{"role":"assistant","content":"a\tb\x7f"}]}',
        b'{"messages":[{"role":"assistant","content":"\xed\xa0\x80"}]}',
        b'{"messages":[{"role":"assistant","content":"x"}]}{"messages":[{"role":"assistant","content":"x"}]}',
        b'{"messages":[{"role":"user","content":"x"}, {"role":"user","content":"\\u00e9"}]}',
        b'{"messages":[{"content":"x","role":"assistant"}]}',
        b'{"prompt":"a","completion":"\\\\"}',
        b'{"prompt":"a","completion":"\\"}',
        b'{"messages": [{"role": "assistant", "content": "x", "weight": NaN}]}',
        b'\xff{"messages": []}',
        b'{"messages": "\xc3"}',
        b"\xef\xbb\xbf{}",
    ]
)
lines = st.lists(dumped | odd_lines, max_size=25).flatmap(
    # some of them again, for the sake of twins
    lambda some: st.lists(st.sampled_from(some), max_size=4).map(lambda more: some + more) if some else st.just(some)
)
ends = st.sampled_from([b"\n", b"\n", b"\r\n"])
tails = st.sampled_from([b"", b"", b'{"messages": "cut', b'{"messages": []}'])
files = st.builds(
    lambda bom, lines_, end, tail: bom + b"".join(line + end for line in lines_) + tail,
    st.sampled_from([b"", b"", b"\xef\xbb\xbf"]),
    lines,
    ends,
    tails,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("data") / "train.jsonl"


@given(data=st.binary(max_size=400) | files)
@example(b"\xef\xbb\xbf")
@example(b"\r\n\r\n")
@example(b"\n" * 300)
@example(b"[" * 5000)
@example(b'{"messages":' * 500)
@example(b"\x00" * 5000)
def test_any_bytes_give_a_report(path, data):
    path.write_bytes(data)
    for format_ in (None, "chat", "preference", "reinforcement"):
        report = validate(path, format=format_, tokenizer="estimate", validation_data=path)
        assert DatasetReport.model_validate_json(report.model_dump_json()) == report
        assert report.size_bytes == len(data)
        assert report.ok == (report.error_count == report.validation.error_count == 0)


@given(data=files, format_=st.sampled_from(["chat", "completions"]))
def test_counts_are_those_of_the_naive_reference(path, data, format_):
    path.write_bytes(data)
    report = validate(path, format=format_, tokenizer="estimate", max_shown=1)
    assert (report.rows, report.counts) == count_problems(data, format_)


@given(data=files, format_=st.sampled_from([None, "chat", "completions"]))
def test_the_fast_path_changes_nothing(path, data, format_):
    path.write_bytes(data)

    def check():
        return validate(path, format=format_, tokenizer=len)

    report = check()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_plain, "_LONG", 0)
        assert check() == report
        patch.setattr(_checking, "sift", lambda lines, *_, **__: range(len(lines)))
        assert check() == report


@given(data=files, format_=st.sampled_from(["chat", "completions"]))
@example(data=to_bytes([{"messages": [{"role": "assistant", "content": "x"}], "label": 1}]), format_="chat")
@example(data=to_bytes([{"prompt": "a", "completion": "b", "label": 1}]), format_="completions")
def test_far_into_a_file_all_is_found_but_keys_written_twice(path, data, format_):
    path.write_bytes(data)
    report = validate(path, format=format_, tokenizer=len)
    assume("jsonl.duplicate_key" not in report.counts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_checking, "STRICT_BYTES", 0)
        assert validate(path, format=format_, tokenizer=len) == report


@given(rows=st.lists(good_chats | st.fixed_dictionaries({"prompt": texts, "completion": texts})), strict=st.booleans())
def test_the_fast_path_takes_all_plain_rows(rows, strict):
    for format_, key in (("chat", "messages"), ("completions", "prompt")):
        plain = [row for row in rows if key in row and not (key == "messages" and silent(row))]
        kept = []
        assert not sift(to_bytes(plain).splitlines(keepends=True), format_, kept, strict=strict)
        texts = [[one["content"] for one in row["messages"]] if key == "messages" else [*row.values()] for row in plain]
        assert kept == texts


def silent(row):
    """Whether the assistant says nothing in a chat."""
    return all(message["role"] != "assistant" for message in row["messages"])


@given(data=files, size=st.integers(1, 300))
def test_where_chunks_end_changes_nothing(path, data, size):
    path.write_bytes(data)
    report = validate(path, format="chat", tokenizer=len)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tuneway.dataset._blocks._CHUNK", size)
        patch.setattr("tuneway.dataset._reading._BLOCK", max(size, 40))
        assert validate(path, format="chat", tokenizer=len) == report
