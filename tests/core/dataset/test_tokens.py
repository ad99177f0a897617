"""Token counts: exact where they say so, honest where they don't."""

from __future__ import annotations

import statistics
import sys
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.datasets import chat, good_rows, preference, say, write

from tuneway.dataset import _exact, _tokens, validate
from tuneway.errors import InvalidSpec

EXAMPLES = Path(__file__).parents[3] / "examples" / "data"


@pytest.fixture
def splintr():
    return pytest.importorskip("splintr")


@pytest.fixture
def without_splintr(monkeypatch):
    _exact.load_encoding.cache_clear()
    monkeypatch.setitem(sys.modules, "splintr", None)
    yield
    _exact.load_encoding.cache_clear()


def count_one(tmp_path, row, **options):
    """The tokens of one row, by the maximum of a file where the others are empty."""
    format_ = "preference" if "input" in row else "completions" if "prompt" in row else "chat"
    path = write(tmp_path / "train.jsonl", [row])
    report = validate(path, format=format_, **options)
    return report.tokens.max


# "hello world" has two tokens in o200k_base, and each role one
@pytest.mark.parametrize(
    ("row", "tokens"),
    [
        (chat(say("user", "hello world"), say("assistant", "hello")), 3 + (3 + 1 + 2) + (3 + 1 + 1)),
        (chat(say("user", "hello world", name="hello"), say("assistant", "")), 3 + (3 + 1 + 2 + 1 + 1) + (3 + 1)),
        (
            chat(say("user", [{"type": "text", "text": "hello world"}]), say("assistant", "hello", weight=0)),
            3 + (3 + 1 + 2) + (3 + 1 + 1),
        ),
        ({"prompt": "hello world", "completion": "hello"}, 3),
        (
            preference(
                input={"messages": [say("user", "hello world")]},
                preferred_output=[say("assistant", "hello")],
                non_preferred_output=[say("assistant", "hello world")],
            ),
            3 + (4 + 2) + (4 + 1) + (4 + 2),
        ),
    ],
)
def test_an_example_counts_its_texts_and_what_training_adds(splintr, tmp_path, row, tokens):
    assert count_one(tmp_path, row) == tokens


@pytest.mark.parametrize("text", ["<|endoftext|>", "a <|im_start|> b", "a|b", "<| x |>"])
def test_a_control_token_spelled_out_is_text(splintr, tmp_path, text):
    tokenizer = splintr.Tokenizer.from_pretrained("o200k_base")
    row = {"prompt": text, "completion": ""}
    assert count_one(tmp_path, row) == len(tokenizer.encode_ordinary(text))
    assert len(tokenizer.encode_ordinary("<|endoftext|>")) > 1


@pytest.mark.parametrize(
    ("model", "encoding", "exact"),
    [
        (None, "o200k_base", True),
        ("gpt-4o-mini-2024-07-18", "o200k_base", True),
        ("ft:gpt-4.1-2025-04-14:acme::x", "o200k_base", True),
        ("gpt-3.5-turbo-0125", "cl100k_base", True),
        ("gpt-4", "cl100k_base", True),
        ("davinci-002", "cl100k_base", True),
        ("llama-9", "o200k_base", False),
    ],
)
def test_a_count_is_exact_when_the_models_tokenizer_is_known(splintr, tmp_path, model, encoding, exact):
    tokens = validate(write(tmp_path / "train.jsonl", good_rows()), model=model).tokens
    assert tokens.exact == exact
    assert tokens.method.startswith(encoding)
    assert (model in tokens.method) if not exact else tokens.method == encoding


@pytest.mark.parametrize(
    "row",
    [
        chat(tools=[{"type": "function", "function": {"name": "f"}}]),
        chat(say("user", [{"type": "image_url", "image_url": {"url": "https://example.com/a"}}]), say("assistant")),
        chat(say("assistant", None, tool_calls=[{"id": "1", "type": "function", "function": {"name": "f"}}])),
    ],
)
def test_tools_and_images_make_a_count_inexact(splintr, tmp_path, row):
    assert not validate(write(tmp_path / "train.jsonl", [*good_rows(), row])).tokens.exact


def test_a_lone_surrogate_is_counted_too(splintr, tmp_path):
    assert validate(write(tmp_path / "train.jsonl", [chat(say("assistant", "a\ud800b"))])).tokens.total > 7


def test_an_image_costs_what_its_detail_says_and_not_what_its_bytes_are(tmp_path):
    url = "data:image/png;base64," + "A" * 100_000

    def tokens(**detail):
        part = {"type": "image_url", "image_url": {"url": url, **detail}}
        return count_one(tmp_path, chat(say("user", [part]), say("assistant", "")), tokenizer=len)

    assert (tokens(), tokens(detail="high"), tokens(detail="low")) == (3 + 8 + 765, 3 + 8 + 765, 3 + 8 + 85)


def test_without_the_extra_a_count_says_that_it_is_an_estimate(without_splintr, tmp_path):
    path = write(tmp_path / "train.jsonl", good_rows())
    tokens = validate(path).tokens
    assert not tokens.exact
    assert "estimated" in tokens.method
    with pytest.raises(InvalidSpec, match="tokens extra") as caught:
        validate(path, tokenizer="o200k_base")
    assert caught.value.field == "tokenizer"


def test_the_estimate_is_near_on_english_chats(splintr):
    for name in ("support_train.jsonl", "support_valid.jsonl"):
        exact = validate(EXAMPLES / name).tokens
        estimate = validate(EXAMPLES / name, tokenizer="estimate").tokens
        assert estimate.total == pytest.approx(exact.total, rel=0.1)
        assert estimate.median == pytest.approx(exact.median, rel=0.1)


def test_the_estimate_follows_a_file_that_changes_along_the_way(splintr, tmp_path):
    # the second half has far more tokens to the byte than the first
    rows = [chat(say("user", f"{n} " + "understanding " * 80), say("assistant", "yes")) for n in range(3000)]
    rows += [chat(say("user", f"{n} " + "7 x ! " * 200), say("assistant", "no")) for n in range(3000)]
    path = write(tmp_path / "train.jsonl", rows)
    exact, estimate = (validate(path, tokenizer=name).tokens.total for name in ("o200k_base", "estimate"))
    assert estimate == pytest.approx(exact, rel=0.15)


def test_a_long_text_is_estimated_from_slices_of_it(splintr):
    text = " ".join(f"item {n} is understandable" for n in range(20_000))
    exact = len(splintr.Tokenizer.from_pretrained("o200k_base").encode_ordinary(text))
    assert _tokens._estimate(text) == pytest.approx(exact, rel=0.25)


lengths = st.lists(st.integers(0, 3000), min_size=1, max_size=60)


@given(lengths=lengths)
def test_the_spread_is_that_of_all_rows(tmp_path_factory, lengths):
    rows = [{"prompt": "x" * length, "completion": ""} for length in lengths]
    path = write(tmp_path_factory.mktemp("spread") / "train.jsonl", rows)
    tokens = validate(path, tokenizer=len).tokens
    ordered = sorted(lengths)
    assert (tokens.total, tokens.min, tokens.max) == (sum(lengths), ordered[0], ordered[-1])
    assert tokens.median == statistics.median_low(lengths)
    assert tokens.p95 == ordered[-(-95 * len(ordered) // 100) - 1]
    for bin_ in tokens.histogram:
        assert bin_.rows == sum(bin_.low <= length <= bin_.high for length in lengths)
    assert sum(bin_.rows for bin_ in tokens.histogram) == len(lengths)
    assert len(tokens.histogram) <= 22


def test_an_empty_file_has_no_tokens(tmp_path):
    tokens = validate(write(tmp_path / "train.jsonl", []), tokenizer=len).tokens
    assert (tokens.total, tokens.min, tokens.max, tokens.histogram) == (0, 0, 0, [])


def test_a_tokenizer_of_your_own_counts_every_text(tmp_path):
    told = []

    def count(text):
        told.append(text)
        return 1

    rows = [chat(say("user", "q", name="n"), say("assistant", "a"))]
    tokens = validate(write(tmp_path / "train.jsonl", rows), tokenizer=count).tokens
    assert tokens.total == 3 + (4 + 1 + 1 + 1) + (4 + 1)
    assert set(told) == {"q", "n", "a"}
    assert tokens.method == "your tokenizer"


def test_counts_are_the_same_on_the_fast_path_and_on_the_careful_one(splintr, tmp_path):
    rows = good_rows(count=50)
    marked = [row | {"parallel_tool_calls": True} for row in rows]
    count = partial(validate, tokenizer="o200k_base")
    plain, careful = (count(write(tmp_path / f"{n}.jsonl", some)).tokens for n, some in enumerate((rows, marked)))
    assert plain == careful
