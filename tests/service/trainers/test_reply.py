"""An answer on its way: stop texts, counts, the reason of its end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneway_service.trainers.reply import TextReply

LETTERS = st.text(alphabet="ab\n", max_size=20)


def reply_of(text, *, max_tokens=1000, stop=None):
    return TextReply(iter(text), prompt_tokens=7, max_tokens=max_tokens, stop=stop)


def test_text_comes_piece_by_piece():
    assert list(reply_of("abc")) == ["a", "b", "c"]


def test_tokens_that_end_no_character_are_counted_but_not_told():
    reply = TextReply(iter(["", "", "", "📦"]), prompt_tokens=0, max_tokens=10)
    assert list(reply) == ["📦"]
    assert reply.completion_tokens == 4


@given(text=LETTERS, stop=st.lists(st.text(alphabet="ab\n", min_size=1, max_size=3), max_size=3))
def test_it_ends_before_the_first_stop_text_and_never_tells_any_of_it(text, stop):
    # "first" is where one is complete first: what follows is never asked for
    ends = [text[: text.index(item) + len(item)] for item in stop if item in text]
    seen = min(ends, key=len, default=text)
    starts = [seen.index(item) for item in stop if item in seen]
    expected = seen[: min(starts)] if starts else text
    reply = reply_of(text, stop=stop)
    assert "".join(reply) == expected
    assert reply.finish_reason == "stop"
    assert reply.completion_tokens == len(seen)


@given(text=LETTERS, limit=st.integers(0, 25))
def test_it_stops_at_its_limit_and_says_so(text, limit):
    reply = reply_of(text, max_tokens=limit, stop=["zzz"])
    assert "".join(reply) == text[:limit]
    assert reply.finish_reason == ("length" if len(text) > limit else "stop")
    assert reply.completion_tokens == min(limit, len(text))


def test_the_reason_is_known_only_at_the_end():
    reply = reply_of("ab")
    assert next(reply) == "a"
    assert (reply.finish_reason, reply.completion_tokens, reply.prompt_tokens) == (None, 1, 7)
    assert next(reply) == "b"
    with pytest.raises(StopIteration):
        next(reply)
    assert reply.finish_reason == "stop"


def test_what_may_begin_a_stop_text_is_held_back_until_it_can_be_told():
    assert list(reply_of("a\nb", stop=["\n\n"])) == ["a", "\nb"]
    assert list(reply_of("a\n", stop=["\n\n"])) == ["a", "\n"]


def test_empty_stop_texts_mean_none():
    assert "".join(reply_of("abc", stop=[""])) == "abc"


@pytest.mark.parametrize("stop", [None, ["zzz"], ["abababab"]])
def test_a_cancelled_reply_takes_no_more_tokens(stop):
    taken = []

    def tokens():
        while True:
            taken.append("a")
            yield "a"

    reply = TextReply(tokens(), prompt_tokens=1, max_tokens=1000, stop=stop)
    assert next(reply) == "a"
    before = len(taken)
    reply.cancel()
    assert set("".join(reply)) <= {"a"}
    assert len(taken) <= before + 1
    assert reply.finish_reason == "stop"


def test_a_reply_is_cancelled_although_its_tokens_are_no_text():
    reply: TextReply | None = None

    def tokens():
        for number in range(1000):
            if number == 3:
                reply.cancel()
            yield ""

    reply = TextReply(tokens(), prompt_tokens=1, max_tokens=1000)
    assert list(reply) == []
    assert reply.completion_tokens == 3
