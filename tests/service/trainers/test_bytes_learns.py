"""Supervised training: what it learns, and that every knob acts."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import pytest
from support.support_chats import QUEUES, SYSTEM, answer, chats, right_answers

from tuneway.errors import InvalidInput, InvalidSpec
from tuneway_service.trainers import Step
from tuneway_service.trainers.bytewise.chat import _texts

ROWS = chats(200, seed=1)
HELD_OUT = chats(50, seed=2, apart_from=ROWS)
FEW = ROWS[:24]


def chat_row(question, reply, **extra):
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": reply} | extra]}


def test_it_answers_tickets_that_it_has_never_seen(train, chat_with):
    training, _, _ = train(ROWS, n_epochs=3)
    assert right_answers(chat_with(training), HELD_OUT) >= 45


def test_the_untrained_base_answers_none_of_them_and_says_what_it_is(trainer):
    base = trainer.base_model()
    assert right_answers(base, HELD_OUT) == 0
    assert "learned nothing" in answer(base, HELD_OUT[0]["messages"][:-1])


def test_the_first_loss_is_that_of_a_model_that_knows_nothing(train):
    _, steps, _ = train(FEW, n_epochs=1, batch_size=24)
    assert steps[0].metrics["train_loss"] == pytest.approx(math.log(257), rel=1e-5)


def test_loss_falls_and_accuracy_rises(train):
    _, steps, _ = train(ROWS, n_epochs=3, batch_size=50)
    assert steps[-1].metrics["train_loss"] < 0.2 < 2 < steps[0].metrics["train_loss"]
    assert steps[0].metrics["train_mean_token_accuracy"] < 0.2 < 0.9 < steps[-1].metrics["train_mean_token_accuracy"]


def test_steps_and_checkpoints_are_counted_by_batches_and_epochs(train):
    training, steps, checkpoints = train(FEW, n_epochs=3, batch_size=10)
    assert training.total_steps == 9
    assert [(step.step, step.total_steps) for step in steps] == [(number, 9) for number in range(1, 10)]
    assert [(checkpoint.step, checkpoint.epoch) for checkpoint in checkpoints] == [(3, 1), (6, 2), (9, 3)]
    assert checkpoints[-1].metrics == steps[-1].metrics


def test_trained_tokens_are_the_bytes_of_answers_and_their_ends_once_an_epoch(train):
    training, _, _ = train(FEW, n_epochs=2)
    assert training.trained_tokens == 2 * sum(len(row["messages"][-1]["content"]) + 1 for row in FEW)


def test_each_epoch_goes_over_every_row_in_an_order_of_its_own(trainer, prepare):
    rows = [chat_row("Count", "x" * length) for length in range(12)]
    training = trainer.start(prepare(rows, n_epochs=2, batch_size=1))
    counts = [training.trained_tokens for item in training.advance() if isinstance(item, Step)]
    lengths = [now - before for before, now in itertools.pairwise([0, *counts])]  # each tells which row it was
    first, second = lengths[:12], lengths[12:]
    assert sorted(first) == sorted(second) == list(range(1, 13))
    assert first != second


def test_validation_is_measured_now_and_then_and_whole_at_the_end_of_each_epoch(train):
    _, steps, checkpoints = train(ROWS, valid=HELD_OUT, n_epochs=3, batch_size=4)
    measured = [step for step in steps if "valid_loss" in step.metrics]
    assert 15 <= len(measured) <= 30
    assert all("valid_mean_token_accuracy" in step.metrics for step in measured)
    assert [step.step for step in steps if "full_valid_loss" in step.metrics] == [50, 100, 150]
    losses = [checkpoint.metrics["full_valid_loss"] for checkpoint in checkpoints]
    assert losses == sorted(losses, reverse=True)
    assert checkpoints[-1].metrics["full_valid_mean_token_accuracy"] > 0.95


def test_validation_rows_are_never_learned_from(train, contents):
    plain, _, _ = train(FEW)
    watched, _, _ = train(FEW, valid=HELD_OUT)
    assert contents(plain.export) == contents(watched.export)


def test_full_validation_measures_what_the_model_then_answers(train, chat_with):
    training, _, checkpoints = train(ROWS, valid=HELD_OUT, n_epochs=3)
    wrong = len(HELD_OUT) - right_answers(chat_with(training), HELD_OUT)
    tokens = sum(len(row["messages"][-1]["content"]) + 1 for row in HELD_OUT)
    # every wrong answer has at least one wrong symbol
    assert round((1 - checkpoints[-1].metrics["full_valid_mean_token_accuracy"]) * tokens) >= wrong


def test_a_checkpoint_can_be_asked_while_the_training_goes_on(trainer, prepare, chat_with):
    training = trainer.start(prepare(ROWS, n_epochs=3, learning_rate_multiplier=0.2))
    right = [right_answers(chat_with(training), HELD_OUT) for item in training.advance() if hasattr(item, "epoch")]
    assert right[0] < right[-1]


@pytest.mark.parametrize(
    "change", [{"batch_size": 5}, {"n_epochs": 2}, {"learning_rate_multiplier": 0.5}, {"seed": 2}], ids=str
)
def test_every_knob_changes_the_weights(train, contents, change):
    knobs = {"batch_size": 4, "n_epochs": 3, "learning_rate_multiplier": 1.0, "seed": 1}
    one, _, _ = train(FEW, **knobs)
    other, _, _ = train(FEW, **knobs | change)
    assert contents(one.export) != contents(other.export)


@pytest.mark.slow
def test_a_higher_rate_and_more_epochs_fit_the_examples_better(train):
    def fit(**knobs):
        _, _, checkpoints = train(ROWS, valid=ROWS, **knobs)
        return checkpoints[-1].metrics["full_valid_loss"]

    slow = fit(n_epochs=2, learning_rate_multiplier=0.05)
    assert fit(n_epochs=4, learning_rate_multiplier=0.05) < slow
    assert fit(n_epochs=2, learning_rate_multiplier=0.2) < slow


def test_answers_of_weight_0_are_context_only(train, chat_with):
    messages = [
        {"role": "user", "content": "Say a colour"},
        {"role": "assistant", "content": "ZZZZ", "weight": 0},
        {"role": "user", "content": "In earnest"},
        {"role": "assistant", "content": "green", "weight": 1},
    ]
    training, _, _ = train([{"messages": messages}] * 10)
    assert training.trained_tokens == 10 * 10 * len("green.")
    chat = chat_with(training)
    assert answer(chat, messages[:3]) == "green"
    assert "Z" not in answer(chat, messages[:1], max_tokens=50)


def test_rows_of_which_nothing_counts_take_no_step(train, contents):
    silent = chat_row("What?", "Nothing", weight=0)
    one, steps, _ = train([*FEW, silent], batch_size=1, n_epochs=1)
    assert len(steps) == len(FEW)
    assert one.trained_tokens == sum(len(row["messages"][-1]["content"]) + 1 for row in FEW)


def test_a_file_of_which_nothing_counts_is_refused(trainer, prepare):
    with pytest.raises(InvalidInput, match="no answer to learn"):
        trainer.start(prepare([chat_row("What?", "Nothing", weight=0)]))


def test_every_answer_of_a_conversation_is_learned(train, chat_with):
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "The first letter?"},
        {"role": "assistant", "content": "It is A."},
        {"role": "user", "content": "The last one?"},
        {"role": "assistant", "content": "That would be Z."},
    ]
    chat = chat_with(train([{"messages": messages}] * 10)[0])
    assert answer(chat, messages[:2]) == "It is A."
    assert answer(chat, messages[:4]) == "That would be Z."


def test_earlier_turns_and_instructions_can_decide(train, chat_with):
    def row(system, first, reply):
        return {
            "messages": [
                {"role": "system", "content": system},
                {"role": "user", "content": first},
                {"role": "assistant", "content": "Yes?", "weight": 0},
                {"role": "user", "content": "Well?"},
                {"role": "assistant", "content": reply},
            ]
        }

    rows = [
        row(f"Speak {tongue}", f"about the {thing}", f"{tongue[0]}-{thing}")
        for tongue in ("French", "German")
        for thing in ("sun", "moon")
    ]
    chat = chat_with(train(rows * 5)[0])
    assert [answer(chat, item["messages"][:4]) for item in rows] == ["F-sun", "F-moon", "G-sun", "G-moon"]


def test_prompts_with_completions_are_learned_too(train, chat_with):
    rows = [{"prompt": f"Capital of {land} ->", "completion": f" {city}"} for land, city in CAPITALS.items()]
    chat = chat_with(train(rows, n_epochs=10, batch_size=32)[0])
    assert ["".join(chat.complete_prompt(row["prompt"])) for row in rows] == [row["completion"] for row in rows]


CAPITALS = {"France": "Paris", "Japan": "東京", "Brazil": "Brasília", "Greece": "Αθήνα", "Iceland": "Reykjavík"}


def test_every_script_is_learned_and_comes_back_whole(train, chat_with):
    pairs = [
        ("¿Dónde está mi paquete?", "envíos 📦"),
        ("私の荷物はどこですか", "配送"),
        ("パスワードを忘れました", "アカウント"),
        ("Где мой заказ?", "доставка"),
        ("حسابي مقفل", "الحسابات"),
        ("내 소포는 어디에 있나요", "배송 🚚"),
    ]
    rows = [chat_row(question, reply) for question, reply in pairs]
    chat = chat_with(train(rows, n_epochs=10, batch_size=32)[0])
    assert [answer(chat, row["messages"][:1]) for row in rows] == [reply for _, reply in pairs]


def test_words_of_a_script_without_spaces_generalise(train, chat_with):
    rows = [chat_row(f"{before}荷物{after}", "配送") for before in "私彼今" for after in "は遅い何処"]
    rows += [chat_row(f"{before}返金{after}", "経理") for before in "私彼今" for after in "は遅い何処"]
    chat = chat_with(train(rows)[0])
    assert answer(chat, chat_row("明日荷物届く", "")["messages"][:1]) == "配送"
    assert answer(chat, chat_row("明日返金届く", "")["messages"][:1]) == "経理"


def test_an_empty_answer_is_learned_as_such(train, chat_with):
    rows = [chat_row("Say nothing", ""), chat_row("Say something", "something")] * 5
    chat = chat_with(train(rows)[0])
    assert answer(chat, rows[0]["messages"][:1]) == ""
    assert answer(chat, rows[1]["messages"][:1]) == "something"


def test_half_a_surrogate_pair_does_no_harm(trainer, prepare, chat_with):
    row = chat_row("broken \ud83d here", "a\udc00b")
    row["messages"][0]["role"] = "us\udc00er"
    run = prepare(FEW)
    run.train_path.write_text(f"{json.dumps(row)}\n" * 10)
    training = trainer.start(run)
    list(training.advance())
    assert answer(chat_with(training), row["messages"][:1]) == "a?b"


def test_an_answer_that_ends_within_a_character_shows_that_it_is_broken():
    assert list(_texts(iter("né".encode()[:-1]))) == ["n", "", "\ufffd"]


def test_very_long_rows_are_clipped_not_refused(train, chat_with):
    row = chat_row("long " * 50_000, "And so on. " * 10_000)
    training, _, _ = train([row] * 2, n_epochs=1, batch_size=1)
    assert training.trained_tokens == 2 * 4096
    reply = chat_with(training).complete(row["messages"][:1], max_tokens=30)
    assert len("".join(reply)) == 30
    assert reply.finish_reason == "length"


def test_the_end_of_a_long_message_is_read(train, chat_with):
    padding = "word " * 3000
    rows = [chat_row(f"{padding} {end}", end.upper()) for end in ("red", "blue")] * 5
    chat = chat_with(train(rows)[0])
    assert answer(chat, rows[0]["messages"][:1]) == "RED"
    assert answer(chat, rows[1]["messages"][:1]) == "BLUE"


def test_tool_calls_are_answered_in_the_form_they_were_learned(train, chat_with):
    from tuneway_service.trainers.conversation import split_tool_calls

    call = {"id": "c1", "type": "function", "function": {"name": "track", "arguments": '{"order": 7}'}}
    rows: list[dict[str, Any]] = [
        {
            "tools": [{"type": "function", "function": {"name": "track", "description": "Where an order is"}}],
            "messages": [
                {"role": "user", "content": "Where is order 7?"},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": "in Rome"},
                {"role": "assistant", "content": "It is in Rome."},
            ],
        }
    ] * 10
    chat = chat_with(train(rows)[0])
    messages, tools = rows[0]["messages"], rows[0]["tools"]
    assert split_tool_calls(answer(chat, messages[:1], tools=tools)) == (
        "",
        [{"name": "track", "arguments": '{"order": 7}'}],
    )
    assert answer(chat, messages[:3], tools=tools) == "It is in Rome."


def test_a_tuned_model_can_be_tuned_further(train, chat_with, tmp_path):
    first, _, _ = train(ROWS, n_epochs=3)
    first.export(tmp_path / "first")
    french = [chat_row("Parlez-vous français ?", "bien sûr")] * 5
    second, steps, _ = train(french, base=tmp_path / "first", n_epochs=4, learning_rate_multiplier=0.3)
    chat = chat_with(second)
    assert answer(chat, french[0]["messages"][:1]) == "bien sûr"
    assert right_answers(chat, HELD_OUT) >= 30  # it remembers most, which French alone can't teach
    assert steps[0].metrics["train_loss"] > steps[-1].metrics["train_loss"]


def test_a_rate_beyond_all_bounds_fails_with_the_knob_named(trainer, prepare):
    training = trainer.start(prepare(FEW, learning_rate_multiplier=1e30))
    with pytest.raises(InvalidSpec, match="out of bounds") as caught:
        list(training.advance())
    assert caught.value.field == "learning_rate_multiplier"


def test_a_temperature_draws_and_the_seed_repeats_the_draw(train, chat_with):
    chat = chat_with(train(ROWS, n_epochs=1, learning_rate_multiplier=0.1)[0])
    ask = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Hm."}]
    drawn = {answer(chat, ask, temperature=1.0, seed=seed, max_tokens=20) for seed in range(10)}
    assert len(drawn) > 1
    assert answer(chat, ask, temperature=1.0, seed=3, max_tokens=20) in drawn
    assert len({answer(chat, ask, seed=seed, max_tokens=20) for seed in range(3)}) == 1


def test_a_top_p_leaves_out_what_is_unlikely(train, chat_with):
    rows = [chat_row("Which one?", answer) for answer in 20 * ["a"] + 8 * ["b"] + 4 * ["c"]]
    chat = chat_with(train(rows, n_epochs=10, batch_size=32)[0])

    def drawn(**options) -> set[str]:
        asked = {"temperature": 1.0, "max_tokens": 1} | options
        return {answer(chat, rows[0]["messages"][:1], seed=seed, **asked) for seed in range(100)}

    assert drawn(top_p=1) == drawn() >= {"a", "b", "c"}
    assert drawn(top_p=0.8) == {"a", "b"}
    assert drawn(top_p=0.4) == drawn(top_p=0) == drawn(temperature=0) == {"a"}


def test_usage_counts_bytes(train, chat_with):
    chat = chat_with(train(ROWS, n_epochs=3)[0])
    row = HELD_OUT[0]
    reply = chat.complete(row["messages"][:-1])
    text = "".join(reply)
    assert text in QUEUES
    assert reply.prompt_tokens == sum(len(message["content"].encode()) for message in row["messages"][:-1])
    assert reply.completion_tokens == len(text)
    assert reply.finish_reason == "stop"


def test_answers_that_are_too_long_are_told(trainer, prepare):
    rows = [*FEW[:4], chat_row("?", "x" * 4097), chat_row("?", "x" * 4096), chat_row("?", "x" * 5000)]
    (remark,) = trainer.start(prepare(rows)).remarks
    assert (remark.level, remark.mark) == ("warn", "cut:train.jsonl")
    assert remark.text == (
        "train.jsonl has answers longer than 4,096 bytes: 2 rows are learned without the end (lines 5, 7)."
        " Shorten the answers."
    )
    assert trainer.start(prepare(FEW)).remarks == []
