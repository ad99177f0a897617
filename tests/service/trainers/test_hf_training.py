"""Training a tiny language model: it learns, the same every time, whatever interrupts it; and it learns as TRL does."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("peft", reason="needs the extra `train`")

import torch
from support.datasets import write
from support.support_chats import answer, preferences
from support.tiny_llama import make_tiny_llama

from tuneway.errors import InvalidInput, InvalidSpec
from tuneway_service.graders import Grading
from tuneway_service.trainers import CheckpointDue, Step, TrainingRun, make_trainer
from tuneway_service.trainers.hf.hyperparameters import ANSWER_TOKENS

# PEFT asks Transformers by an older name
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

ROWS = [
    {"messages": [{"role": "user", "content": f"{number} {word}"}, {"role": "assistant", "content": reply}]}
    for number in range(8)
    for word, reply in (("red", "stop"), ("green", "go"))
]
PAIRS = preferences(12, seed=1)
QUESTIONS = [{"messages": row["messages"][:1], "answer": row["messages"][1]["content"]} for row in ROWS]
FAST = {"batch_size": 4, "n_epochs": 2, "learning_rate_multiplier": 5.0}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_tiny_llama(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def trainer(base):
    return make_trainer(str(base))


def likes_letters(item, text):
    """A grader: the share of letters in an answer."""
    letters = sum(character.isalpha() and character.isascii() for character in text)
    return Grading(reward=letters / max(1, len(text)), scores={"letters": float(letters)})


@pytest.fixture
def prepared(prepare, monkeypatch):
    """A run of a method, ready to start; answers that are tried are short."""
    monkeypatch.setitem(ANSWER_TOKENS, "low", 16)

    def prepared(method="supervised", **options):
        if method == "reinforcement":
            options = {"reasoning_effort": "low", "compute_multiplier": 0.5} | options
        rows, valid = {
            "supervised": (ROWS, ROWS[:3]),
            "dpo": (PAIRS, PAIRS[:3]),
            "reinforcement": (QUESTIONS[:6], QUESTIONS[:2]),
        }[method]
        run = prepare(options.pop("rows", rows), valid=options.pop("valid", valid), method=method, **FAST | options)
        return dataclasses.replace(run, grade=likes_letters) if method == "reinforcement" else run

    return prepared


METHODS = ["supervised", "dpo", "reinforcement"]


def told_of(training):
    return list(training.advance())


def steps_of(told):
    return [item for item in told if isinstance(item, Step)]


# it learns


@pytest.mark.parametrize("lora", [True, False], ids=["LoRA", "all weights"])
def test_it_learns_to_answer(trainer, prepared, chat_with, lora):
    knobs = {"n_epochs": 8, "learning_rate_multiplier": 10.0 if lora else 50.0, "lora": lora}
    training = trainer.start(prepared(valid=None, **knobs))
    steps = steps_of(told_of(training))
    assert steps[-1].metrics["train_loss"] < 0.1 < 1.0 < steps[0].metrics["train_loss"]
    chat = chat_with(training)
    for row in ROWS[:4]:
        assert answer(chat, row["messages"][:-1]) == row["messages"][-1]["content"]


def test_of_a_conversation_only_the_answers_that_count_are_learned(trainer, prepared, chat_with):
    def row(number, weight):
        question = {"role": "user", "content": f"{number}"}
        wrong = {"role": "assistant", "content": "never say this", "weight": weight}
        return {"messages": [question, wrong, {"role": "user", "content": "again"},
                             {"role": "assistant", "content": "fine"}]}  # fmt: skip

    knobs = {"n_epochs": 12, "learning_rate_multiplier": 10.0, "valid": None}
    quiet = trainer.start(prepared(rows=[row(number, 0) for number in range(16)], **knobs))
    loud = trainer.start(prepared(rows=[row(number, 1) for number in range(16)], **knobs))
    told_of(quiet)
    told_of(loud)
    # "fine" and its end, 16 rows, 12 epochs; "never say this" and its end besides
    assert (quiet.trained_tokens, loud.trained_tokens) == (5 * 16 * 12, 20 * 16 * 12)
    assert answer(chat_with(loud), [{"role": "user", "content": "3"}], max_tokens=30) == "never say this"
    assert "never" not in answer(chat_with(quiet), [{"role": "user", "content": "3"}], max_tokens=30)


def test_it_learns_to_prefer(trainer, prepared):
    told = told_of(trainer.start(prepared("dpo", n_epochs=4, beta=0.5, learning_rate_multiplier=50.0)))
    first, last = steps_of(told)[0].metrics, steps_of(told)[-1].metrics
    assert first["train_loss"] == pytest.approx(0.6931, abs=1e-3)  # it begins where the reference stands
    assert first["train_reward_margin"] == pytest.approx(0, abs=1e-4)
    assert last["train_reward_accuracy"] == 1.0
    assert last["train_loss"] < 0.5
    assert "full_valid_reward_margin" in last


def test_it_learns_what_a_grader_likes(trainer, prepared):
    knobs = {"n_epochs": 12, "learning_rate_multiplier": 100.0, "eval_interval": 6, "compute_multiplier": 1.0}
    told = told_of(trainer.start(prepared("reinforcement", **knobs)))
    rewards = [step.metrics["train_mean_reward"] for step in steps_of(told)]
    assert sum(rewards[-4:]) > 1.3 * sum(rewards[:4]) > 0
    assert [item.step for item in told if isinstance(item, CheckpointDue)] == [6, 12, 18, 24]
    assert {"full_valid_mean_reward", "full_valid_score.letters", "train_score.letters"} <= told[-1].metrics.keys()


def test_a_tuned_model_is_tuned_further(trainer, prepared, tmp_path, contents):
    first = trainer.start(prepared(n_epochs=4, learning_rate_multiplier=20.0))
    told_of(first)
    first.export(tmp_path / "first")
    before = steps_of(told_of(trainer.start(prepared())))[0].metrics["train_loss"]
    for changes, file in (
        ({}, "adapter_model.safetensors"),  # the adapter goes on
        ({"lora_r": 4}, "model.safetensors"),  # of another rank: the first is worked in, and all of it is written
        ({"lora": False}, "model.safetensors"),
    ):
        further = trainer.start(prepared(base=tmp_path / "first", **changes))
        assert steps_of(told_of(further))[0].metrics["train_loss"] < before - 0.5
        assert file in contents(further.export)


# the same every time


@pytest.mark.parametrize("method", METHODS)
def test_one_seed_gives_the_same_losses_and_the_same_model(trainer, prepared, contents, method):
    runs = [trainer.start(prepared(method, seed=seed)) for seed in (5, 5, 6)]
    told = [told_of(run) for run in runs]
    assert told[0] == told[1] != told[2]
    models = [contents(run.export) for run in runs]
    assert models[0] == models[1]
    assert models[0]["adapter_model.safetensors"] != models[2]["adapter_model.safetensors"]


@pytest.mark.parametrize("lora", [True, False], ids=["LoRA", "all weights"])
@pytest.mark.parametrize("method", METHODS)
def test_a_pause_anywhere_changes_nothing(trainer, prepared, contents, tmp_path, method, lora):
    run = prepared(method, lora=lora)
    straight = trainer.start(run)
    whole = told_of(straight)
    model = contents(straight.export)
    points = range(len(whole) + 1) if lora and method == "supervised" else (1, 3)
    for point in points:
        training = trainer.start(run)
        progress = training.advance()
        heard = [next(progress) for _ in range(point)]
        training.save(tmp_path / "saved")
        training = trainer.resume(run, tmp_path / "saved")
        heard += training.advance()
        assert heard == whole
        assert contents(training.export) == model
        assert training.trained_tokens == straight.trained_tokens


@pytest.mark.parametrize("change", [{"seed": 9}, {"n_epochs": 4}, {"rows": ROWS[:-1]}], ids=str)
def test_a_save_of_another_training_is_refused(trainer, prepared, tmp_path, change):
    trainer.start(prepared()).save(tmp_path / "saved")
    with pytest.raises(InvalidInput, match="another training"):
        trainer.resume(prepared(**change), tmp_path / "saved")


def test_reading_in_parts_changes_nothing_but_the_last_digits(trainer, prepared, monkeypatch):
    whole = steps_of(told_of(trainer.start(prepared())))
    monkeypatch.setattr("tuneway_service.trainers.hf.room.AT_ONCE", {"cpu": 1})  # one row at a time
    parts = steps_of(told_of(trainer.start(prepared())))
    for one, other in zip(whole, parts, strict=True):
        assert other.metrics == pytest.approx(one.metrics, abs=1e-4)


# what fits into memory


def close(some, others):
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        # at the first step of dpo the margins are 0, but for rounding, and so are right or wrong by chance
        steady = {name: value for name, value in one.metrics.items() if not name.endswith("reward_accuracy")}
        assert {name: other.metrics[name] for name in steady} == pytest.approx(steady, abs=1e-4)


@pytest.fixture
def memory(monkeypatch):
    """Memory is full as the test says; called with each part that a model is about to compute."""
    from tuneway_service.trainers.hf import preference, reinforcement, scoring, supervised

    def full(when):
        def score(tuned, examples):
            scored = scoring.score(tuned, examples)
            if when(tuned.room, len(examples)):
                # what was computed before stays as gradients, and a half of this too
                if torch.is_grad_enabled():
                    scored.log_probabilities.sum().backward()
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            return scored

        for module in (preference, reinforcement, supervised):
            monkeypatch.setattr(module, "score", score)

    return full


def told_about_memory(told):
    return [remark.text for step in steps_of(told) for remark in step.remarks if "memory" in remark.text]


@pytest.mark.parametrize("method", METHODS)
def test_what_does_not_fit_is_computed_in_smaller_parts_and_learned_as_before(
    trainer, prepared, memory, monkeypatch, method, tmp_path
):
    monkeypatch.setattr("tuneway_service.trainers.hf.room.ENOUGH", 0)
    whole = steps_of(told_of(trainer.start(prepared(method))))
    alone = 2 if method == "dpo" else 1  # a pair is computed together
    memory(lambda room, count: count > alone)
    training = trainer.start(prepared(method))
    told = told_of(training)

    close(whole, steps_of(told))
    said = told_about_memory(told)
    assert said
    assert all(text.startswith("Out of memory: from now on up to ") for text in said)
    training.save(tmp_path / "saved")
    again = trainer.resume(prepared(method), tmp_path / "saved")
    assert again._tuned.room.tokens == training._tuned.room.tokens


@pytest.mark.parametrize("lora", [True, False], ids=["LoRA", "all weights"])
@pytest.mark.parametrize("method", METHODS)
def test_gradient_checkpointing_changes_nothing_that_is_learned(trainer, prepared, method, lora):
    without = steps_of(told_of(trainer.start(prepared(method, lora=lora, gradient_checkpointing=False))))
    training = trainer.start(prepared(method, lora=lora, gradient_checkpointing=True))
    close(without, steps_of(told_of(training)))
    assert training._tuned.room.checkpointing


def test_gradient_checkpointing_is_switched_on_when_one_row_does_not_fit_without(trainer, prepared, memory, tmp_path):
    whole = steps_of(told_of(trainer.start(prepared())))
    memory(lambda room, _: torch.is_grad_enabled() and not room.checkpointing)
    training = trainer.start(prepared())
    told = told_of(training)

    close(whole, steps_of(told))
    assert told_about_memory(told)[-1].endswith("computed at once with gradient checkpointing")
    training.save(tmp_path / "saved")
    assert trainer.resume(prepared(), tmp_path / "saved")._tuned.room.checkpointing

    with pytest.raises(MemoryError, match="more memory than there is"):
        told_of(trainer.start(prepared(gradient_checkpointing=False)))


# what goes wrong


def test_a_training_that_diverges_says_what_to_lower(trainer, prepared):
    with pytest.raises(InvalidSpec, match="lower learning_rate_multiplier"):
        told_of(trainer.start(prepared(lora=False, n_epochs=20, learning_rate_multiplier=1e9)))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
                                   RuntimeError("DefaultCPUAllocator: can't allocate memory")])  # fmt: skip
def test_out_of_memory_names_what_to_lower(trainer, prepared, monkeypatch, error):
    from tuneway_service.worker import failure

    training = trainer.start(prepared())

    def full(*_, **__):
        raise error

    monkeypatch.setattr(torch.optim.AdamW, "step", full)
    with pytest.raises(MemoryError, match=r"Lower context_length \(now 512\)") as caught:
        told_of(training)
    outcome = failure(caught.value)
    assert outcome["code"] == "out_of_memory"
    for word in ("lora_r (now 16)", str(error)[:20]):
        assert word in outcome["message"]
    assert "batch_size" not in outcome["message"]  # it is computed row by row before this


@pytest.mark.parametrize("act", ["save", "export"])
def test_a_full_disk_is_told_as_what_it_is_and_the_older_folder_stays(trainer, prepared, tmp_path, monkeypatch, act):
    training = trainer.start(prepared())
    write = getattr(training, act)
    write(tmp_path / "out")
    before = sorted(path.name for path in (tmp_path / "out").iterdir())

    def broken(*_, **__):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")

    monkeypatch.setattr(torch, "save", broken)
    monkeypatch.setattr("peft.peft_model.safe_save_file", broken)
    with pytest.raises(RuntimeError, match="unexpected pos"):  # the disk has room: it was something else
        write(tmp_path / "out")

    def full(_, __):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tuneway_service.trainers.hf.models.replace", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == before


def test_a_grader_that_never_works_ends_the_training(trainer, prepared, monkeypatch):
    monkeypatch.setattr("tuneway_service.trainers.grades.ATTEMPTS", 1)

    def broken(item, text):
        grading = Grading()
        grading.fail("model_grader_server_error", "connection refused")
        return grading

    run = dataclasses.replace(prepared("reinforcement"), grade=broken)
    with pytest.raises(InvalidSpec, match="connection refused"):
        told_of(trainer.start(run))


def breaks_for(word):
    """A grader that fails for the questions with this word."""

    def grade(item, text):
        grading = likes_letters(item, text)
        if word in item["messages"][0]["content"]:
            grading.reward = 1e6  # would be seen in any mean that has it
            grading.fail("python_grader_runtime_error", "it broke")
        return grading

    return grade


def test_answers_that_a_grader_failed_for_have_no_part_in_the_training(trainer, prepared):
    options = {"batch_size": 3, "n_epochs": 1, "max_grader_failures": 0.9, "valid": None, "seed": 3}
    run = prepared("reinforcement", **options)
    training = trainer.start(dataclasses.replace(run, grade=breaks_for("red")))
    for step in steps_of(told_of(training)):
        left_out = sum(label.mark.startswith("graders:") for label in step.remarks)
        share = step.groups["mean_unresponsive_rewards"]
        assert left_out == (share > 0)
        assert step.metrics.get("train_mean_reward", 0) <= 1
        assert step.groups["scores"].get("train_reward_mean", 0) <= 1
        assert 0 <= share < 0.9
    learned = training._objective._learned
    asked = [item["messages"][0]["content"] for _, item in training._objective.train]
    assert all((tokens == 0) == ("red" in asked[row]) for row, tokens in learned.items())


def test_graders_that_fail_too_often_end_the_training(trainer, prepared):
    run = dataclasses.replace(prepared("reinforcement", max_grader_failures=0.1, batch_size=6), grade=breaks_for("red"))
    with pytest.raises(InvalidSpec, match=r"failed 12 times for 12 of the 24 answers of a step .*it broke"):
        told_of(trainer.start(run))


@pytest.mark.parametrize("share", [-0.1, 1.1, True, "half"])
def test_the_share_of_failures_is_a_share(trainer, share):
    with pytest.raises(InvalidSpec, match="max_grader_failures"):
        trainer.resolve("reinforcement", {"max_grader_failures": share}, 10)


def test_a_reinforcement_step_has_the_nested_metrics(trainer, prepared):
    *_, last = steps_of(told_of(trainer.start(prepared("reinforcement", n_epochs=1))))
    assert {"scores", "errors", "usage", "timing"} <= last.groups.keys()
    assert last.groups["scores"]["train_reward_mean"] == pytest.approx(last.metrics["train_mean_reward"])
    assert last.groups["scores"]["valid_reward_mean"] == pytest.approx(last.metrics["full_valid_mean_reward"])
    spent = last.groups["timing"]["step"]
    assert all(seconds > 0 for seconds in spent.values())
    assert spent["sampling"] + spent["training"] + spent["eval"] < spent["full_iteration"]
    assert 1 <= last.groups["completion_tokens_mean"] <= 16
    json.dumps(last.groups, allow_nan=False)


# rows that are too long


LONG = {"messages": [{"role": "user", "content": "q" * 70}, {"role": "assistant", "content": "a" * 70}]}
CUT = {"context_length": 60, "batch_size": 2, "n_epochs": 1}


def test_rows_that_do_not_fit_are_told_and_do_not_count(trainer, prepared):
    half = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a" * 70}]}
    fitting, left_out = ROWS[:4], "left out, because nothing to learn remains"
    with_long = [fitting[0], LONG, *fitting[1:], half, LONG]
    training = trainer.start(prepared(rows=with_long, valid=[*fitting, LONG], **CUT))
    assert [(remark.level, remark.mark) for remark in training.remarks] == [
        ("warn", "cut:train.jsonl"), ("warn", "cut:valid.jsonl"),
    ]  # fmt: skip
    assert [remark.text for remark in training.remarks] == [
        f"{file} has rows longer than the context of 60 tokens: {rows}."
        " Shorten them, or raise context_length up to the model's own."
        for file, rows in {
            "train.jsonl": f"1 row is learned without the end (line 6); 2 rows are {left_out} (lines 2, 7)",
            "valid.jsonl": f"1 row is {left_out} (line 5)",
        }.items()
    ]
    without = trainer.start(prepared(rows=[*fitting, half], valid=fitting, **CUT))
    assert [step.metrics for step in steps_of(told_of(training))] == [
        step.metrics for step in steps_of(told_of(without))
    ]
    assert trainer.start(prepared(rows=fitting, **CUT)).remarks == []


def test_a_pair_of_which_an_answer_does_not_fit_is_left_out(trainer, prepared):
    def pair(question, other):
        return {"input": {"messages": [{"role": "user", "content": question}]},
                "preferred_output": [{"role": "assistant", "content": "yes"}],
                "non_preferred_output": [{"role": "assistant", "content": other}]}  # fmt: skip

    pairs = [pair(str(number), "no") for number in range(4)]
    longer = [*pairs, pair("5", "a" * 70), pair("q" * 70, "no")]
    training = trainer.start(prepared("dpo", rows=longer, valid=None, **CUT))
    (remark,) = training.remarks
    assert "1 row is learned without the end (line 5)" in remark.text
    assert "1 row is left out, because nothing to learn remains (line 6)" in remark.text
    assert len(training._objective.train) == 5
    assert trainer.start(prepared("dpo", rows=pairs, valid=None, **CUT)).remarks == []


def test_rows_of_which_none_fits_are_refused_with_the_reason(trainer, prepared):
    with pytest.raises(InvalidInput, match="only rows longer than the context of 60 tokens"):
        trainer.start(prepared(rows=[LONG] * 10, valid=None, **CUT))


@pytest.mark.parametrize("method", METHODS)
def test_a_save_with_tokens_of_an_earlier_version_is_not_mixed_with_new_ones(trainer, prepared, tmp_path, method):
    run = prepared(method)
    trainer.start(run).save(tmp_path / "saved")
    state = torch.load(tmp_path / "saved" / "state.pt", weights_only=True)
    state["run"].pop("tokens", None)
    torch.save(state, tmp_path / "saved" / "state.pt")
    if method == "reinforcement":  # it learns what the model has sampled, then as now
        assert trainer.resume(run, tmp_path / "saved").total_steps > 0
        return
    with pytest.raises(InvalidInput, match="another training"):
        trainer.resume(run, tmp_path / "saved")


def test_rows_with_nothing_to_learn_are_refused(trainer, prepared):
    row = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "a", "weight": 0}]}
    with pytest.raises(InvalidInput, match="no answer to learn"):
        trainer.start(prepared(rows=[row] * 10))


def test_a_damaged_export_is_refused(trainer, prepared, tmp_path):
    training = trainer.start(prepared())
    training.export(tmp_path / "model")
    (tmp_path / "model" / "tuneway.json").write_text("{}")
    with pytest.raises(InvalidInput, match="model is not a readable model folder"):
        trainer.load_model(tmp_path / "model")


def test_settled_hyperparameters_follow_the_stated_rules(trainer):
    settled = trainer.resolve("reinforcement", {"batch_size": 4}, 50)
    assert (settled["eval_interval"], settled["reasoning_effort"]) == (13, "default")
    preferring = trainer.resolve("dpo", {}, 200)
    assert (preferring["beta"], preferring["batch_size"]) == (0.1, 4)
    assert trainer.resolve("supervised", {"lora_r": "auto"}, 200) == {
        "n_epochs": 3, "batch_size": 2, "learning_rate_multiplier": 1.0, "lora": True, "lora_r": 16,
        "context_length": 512,
        "gradient_checkpointing": "auto",
        "quantization": "none",
    }  # fmt: skip


def test_a_question_longer_than_the_model_can_read_is_refused(trainer, prepared, chat_with):
    chat = chat_with(trainer.start(prepared()))
    with pytest.raises(InvalidInput, match="context has 512"):
        chat.complete([{"role": "user", "content": "x" * 600}])


# chatting


def test_a_top_p_leaves_out_what_is_unlikely(trainer, prepared, chat_with):
    chat = chat_with(trainer.start(prepared()))

    def drawn(**options) -> set[str]:
        asked = {"temperature": 1.0, "max_tokens": 1} | options
        return {answer(chat, [{"role": "user", "content": "hi"}], seed=seed, **asked) for seed in range(60)}

    likely = drawn(temperature=0)
    assert len(likely) == 1
    assert drawn(top_p=0) == drawn(top_p=1e-9) == drawn(temperature=1e-300) == likely
    assert len(drawn(top_p=0.05)) < len(drawn())
    assert drawn(top_p=1) == drawn()


def test_a_cancelled_answer_computes_nothing_more(trainer, prepared, chat_with, monkeypatch):
    chat = chat_with(trainer.start(prepared()))
    computed = []
    logits = type(chat._tuned).logits

    def counted(*given):
        computed.append(given)
        return logits(*given)

    monkeypatch.setattr(type(chat._tuned), "logits", counted)
    reply = chat.complete([{"role": "user", "content": "hi"}], temperature=2.0, seed=1)
    next(reply)
    before = len(computed)
    reply.cancel()
    list(reply)
    assert len(computed) <= before + 1


def test_sampling_repeats_by_its_seed_and_pieces_are_whole_characters(trainer, prepared, chat_with):
    chat = chat_with(trainer.start(prepared()))
    asked = [{"role": "user", "content": "hi"}]
    hot = {"temperature": 2.0, "max_tokens": 60}
    texts = [answer(chat, asked, seed=seed, **hot) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    reply = chat.complete(asked, seed=1, **hot)
    pieces = list(reply)
    assert "".join(pieces) == texts[0]
    assert reply.finish_reason in ("stop", "length")
    assert len(pieces) > 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["unigram-always", "bpe-first", "bpe-prepended"])
@pytest.mark.parametrize("name", ["Llama 2", "Zephyr"])
def test_transformers_generates_exactly_the_tokens_that_were_learned(tmp_path, kind, name):
    from support.word_tokenizers import TEMPLATES, make_word_tokenizer
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = make_tiny_llama(tmp_path / "words", tokenizer=make_word_tokenizer(kind, TEMPLATES[name]))
    rows = [
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said},
                      {"role": "user", "content": "and?"}, {"role": "assistant", "content": f"{said} and {said}"}]}
        for asked, said in (("Hello", "Yes"), ("there", "No"), ("maybe", "user: 7"), ("INST", "Yes\u00e9\nNo"))
    ]  # fmt: skip
    trainer = make_trainer(str(folder))
    path = write(tmp_path / "rows.jsonl", rows)
    knobs = trainer.resolve("supervised", {"n_epochs": 50, "batch_size": 4, "learning_rate_multiplier": 50.0,
                                           "lora": False}, len(rows))  # fmt: skip
    training = trainer.start(TrainingRun(method="supervised", train_path=path, hyperparameters=knobs, seed=1))
    *_, last = steps_of(told_of(training))
    assert last.metrics["train_mean_token_accuracy"] == 1.0
    training.export(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    made: Any = training
    for number, row in enumerate(rows):
        (example,) = made._objective.train[number]
        learned = [label for label in example.labels if label != -100]
        generated = []
        for place in (1, 3):
            prompt = tokenizer.apply_chat_template(
                row["messages"][:place], add_generation_prompt=True, return_tensors="pt"
            )
            size = prompt["input_ids"].shape[1]
            written = model.generate(**prompt, max_new_tokens=40, do_sample=False)[0, size:].tolist()
            whole = tokenizer.apply_chat_template(row["messages"][: place + 1])["input_ids"]
            assert written == whole[size : size + len(written)]
            generated += written
        assert generated == learned


# beside TRL


def trl_losses(trainer_class, config_class, rows, base, tmp_path, **options):
    """The losses of TRL's own trainer on these rows, in this order."""
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    config = config_class(
        output_dir=str(tmp_path / "trl"), per_device_train_batch_size=4, num_train_epochs=1, logging_steps=1,
        lr_scheduler_type="linear", warmup_steps=0, weight_decay=0.0, max_grad_norm=1.0, report_to=[],
        save_strategy="no", disable_tqdm=True, train_sampling_strategy="sequential", use_cpu=True, bf16=False,
        gradient_checkpointing=False, **options,
    )  # fmt: skip
    made = trainer_class(
        model=model, args=config, train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(base),
    )  # fmt: skip
    made.train()
    return [entry["loss"] for entry in made.state.log_history if "loss" in entry]


def in_our_order(training, rows):
    return [rows[number] for number in training._shuffled(0)]


@pytest.mark.filterwarnings("default")  # TRL's own
def test_losses_are_those_of_trl_s_supervised_trainer(trainer, prepared, base, tmp_path, monkeypatch):
    from trl import SFTConfig, SFTTrainer

    monkeypatch.setattr("tuneway_service.trainers.hf.training.rate_at", lambda step, total: (total - step) / total)
    training = trainer.start(prepared(n_epochs=1, valid=None))
    rows = [
        {"input_ids": list(example.ids), "labels": list(example.labels)}
        for row in range(len(ROWS))
        for example in training._objective.train[row]
    ]
    theirs = trl_losses(
        SFTTrainer, SFTConfig, in_our_order(training, rows), base, tmp_path, learning_rate=training._rate,
        max_length=None,
    )  # fmt: skip
    ours = [step.metrics["train_loss"] for step in steps_of(told_of(training))]
    assert theirs == pytest.approx(ours, abs=1e-3)
    assert ours[-1] < ours[0] - 0.1


@pytest.mark.filterwarnings("default")
def test_losses_are_those_of_trl_s_preference_trainer(trainer, prepared, base, tmp_path, monkeypatch):
    from trl import DPOConfig, DPOTrainer

    monkeypatch.setattr("tuneway_service.trainers.hf.training.rate_at", lambda step, total: (total - step) / total)
    training = trainer.start(prepared("dpo", n_epochs=1, valid=None, beta=0.3, learning_rate_multiplier=20.0))
    tokenizer = training._tuned.tokenizer
    rows = [
        {
            "prompt": tokenizer.apply_chat_template(
                row["input"]["messages"], tokenize=False, add_generation_prompt=True
            ),
            "chosen": row["preferred_output"][0]["content"],
            "rejected": row["non_preferred_output"][0]["content"],
        }
        for row in PAIRS
    ]
    theirs = trl_losses(
        DPOTrainer, DPOConfig, in_our_order(training, rows), base, tmp_path, learning_rate=training._rate, beta=0.3,
        max_length=None,
    )  # fmt: skip
    ours = [step.metrics["train_loss"] for step in steps_of(told_of(training))]
    assert theirs == pytest.approx(ours, abs=1e-3)
    assert len(set(ours)) == len(ours) > 2


def test_exports_hold_nothing_of_the_machine_but_where_the_base_is(trainer, prepared, contents, base):
    files = contents(trainer.start(prepared()).export)
    facts = json.loads(files["tuneway.json"])
    assert facts["trainer"] == f"hf:{base}"
    assert set(files) == {
        "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "tokenizer.json",
        "tokenizer_config.json", "tuneway.json",
    }  # fmt: skip
