"""A language model tuned through the API: the `openai` package's client, the real service, its real worker."""

from __future__ import annotations

import base64
import csv
import io
import json
import math

import pytest
from support.answerers import answerers, busy
from support.datasets import to_bytes
from support.openai_jobs import chats, submit, ticket, wait_for
from support.service import running_service, until

pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("peft", reason="needs the extra `train`")

from support.tiny_llama import make_tiny_llama

pytestmark = pytest.mark.timeout(300)

PATIENCE = 240.0
GRADER = {"type": "string_check", "name": "exact", "input": "{{sample.output_text}}", "reference": "{{item.answer}}",
          "operation": "eq"}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_tiny_llama(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def service(base):
    with running_service(concurrency=1, serve_with="transformers", models={"gpt-4o-mini": str(base)}) as running:
        yield running


def supervised(**knobs):
    return {"type": "supervised", "supervised": {"hyperparameters": {"batch_size": 8, **knobs}}}


@pytest.fixture(scope="module")
def done(client, training_file):
    """A job that came to its end."""
    valid = client.files.create(file=("valid.jsonl", chats(8, start=100)), purpose="fine-tune").id
    method = supervised(n_epochs=4, learning_rate_multiplier=5)
    job = submit(client, training_file, validation_file=valid, method=method, seed=4)
    return wait_for(client, job.id, seconds=PATIENCE)


def test_a_job_says_what_truly_trained(client, done, base):
    assert done.status == "succeeded"
    assert done.usage_metrics["trainer"] == f"hf:{base}"
    settled = done.method.supervised.hyperparameters.to_dict()
    assert (settled["lora"], settled["lora_r"], settled["context_length"]) == (True, 16, 512)
    for name in ("gpt-4o-mini", done.fine_tuned_model):
        card = client.models.retrieve(name).trainer
        assert card["trainer"] == f"hf:{base}"
        assert card["base_model"]["name"] == "tiny"


def test_its_log_has_a_line_for_each_step_and_its_result_file_the_numbers(client, done):
    events = client.fine_tuning.jobs.list_events(done.id, limit=100).data
    told = {event.data["step"]: event.data for event in events if event.type == "metrics"}
    assert sorted(told) == list(range(1, 21))
    assert told[20]["train_loss"] < told[1]["train_loss"]
    assert {"full_valid_loss", "full_valid_mean_token_accuracy"} <= told[20].keys()
    table = base64.b64decode(client.files.content(done.result_files[0]).read()).decode().splitlines()
    assert len(table) == 21
    assert float(table[20].split(",")[1]) == told[20]["train_loss"]


def test_it_keeps_the_last_three_epochs_and_each_answers(client, done):
    checkpoints = client.fine_tuning.jobs.checkpoints.list(done.id).data
    assert [item.step_number for item in checkpoints] == [20, 15, 10]
    question = ticket(3)["messages"][:1]
    said = [
        client.chat.completions.create(model=name, messages=question, max_tokens=5, temperature=0)
        for name in (checkpoints[0].fine_tuned_model_checkpoint, done.fine_tuned_model)
    ]
    assert said[0].choices[0].message.content == said[1].choices[0].message.content  # the same weights
    assert said[0].usage.prompt_tokens == len("<user\n>\n<assistant\n") + len(question[0]["content"])


@pytest.mark.slow
def test_an_answer_is_streamed_as_it_is_written(client, done):
    asked = ticket(3)["messages"][:1]
    question = {"model": done.fine_tuned_model, "messages": asked, "max_tokens": 6, "temperature": 0}
    whole = client.chat.completions.create(**question).choices[0]
    chunks = list(client.chat.completions.create(**question, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.message.content


@pytest.mark.slow
def test_an_answer_that_a_client_leaves_stops_and_the_model_stays_loaded(service, client, done):
    question = {"messages": ticket(3)["messages"][:1], "temperature": 2, "seed": 1, "model": done.fine_tuned_model}
    assert client.chat.completions.create(**question, max_tokens=1).choices
    processes = set(answerers(service.pid))
    for _ in range(2):
        with client.chat.completions.create(**question, stream=True) as chunks:
            next(chunks)
        until(lambda: not busy(service.pid))
        assert client.chat.completions.create(**question, max_tokens=1).choices
        assert set(answerers(service.pid)) == processes


@pytest.mark.slow
def test_a_tuned_model_is_tuned_further_with_its_adapter(client, training_file, done):
    again = submit(client, training_file, model=done.fine_tuned_model, method=supervised(n_epochs=1), seed=4)
    again = wait_for(client, again.id, seconds=PATIENCE)
    first = client.fine_tuning.jobs.list_events(again.id, limit=100).data[::-1]
    losses = [event.data["train_loss"] for event in first if event.type == "metrics"]
    before = [event.data["train_loss"] for event in client.fine_tuning.jobs.list_events(done.id, limit=100).data
              if event.type == "metrics"]  # fmt: skip
    assert losses[0] < before[-1] - 0.4  # it began where the other had ended
    assert again.fine_tuned_model.startswith("ft:gpt-4o-mini:local:")


@pytest.mark.slow
def test_a_preference_job_trains(client):
    rows = [
        {
            "input": {"messages": ticket(number)["messages"][:1]},
            "preferred_output": [{"role": "assistant", "content": "yes"}],
            "non_preferred_output": [{"role": "assistant", "content": "no"}],
        }
        for number in range(16)
    ]
    file = client.files.create(file=("pairs.jsonl", to_bytes(rows)), purpose="fine-tune").id
    knobs = {"n_epochs": 2, "batch_size": 4, "beta": 0.2, "learning_rate_multiplier": 20}
    job = submit(client, file, method={"type": "dpo", "dpo": {"hyperparameters": knobs}})
    job = wait_for(client, job.id, seconds=PATIENCE)
    assert job.status == "succeeded"
    told = [event.data for event in client.fine_tuning.jobs.list_events(job.id, limit=100) if event.type == "metrics"]
    assert told[-1]["train_loss"] == pytest.approx(math.log(2), abs=1e-3)  # newest first: that is step 1
    assert told[0]["train_reward_accuracy"] == 1.0
    assert told[0]["train_loss"] < told[-1]["train_loss"]


def reinforcement(client, grader, **knobs):
    rows = [{"messages": ticket(number)["messages"][:1], "answer": "x"} for number in range(20)]
    files = [
        client.files.create(file=("rows.jsonl", to_bytes(part)), purpose="fine-tune").id
        for part in (rows[:16], rows[16:])
    ]
    inner = {"grader": grader, "hyperparameters": {"reasoning_effort": "low", "batch_size": 4, **knobs}}
    return submit(
        client, files[0], validation_file=files[1], method={"type": "reinforcement", "reinforcement": inner}, seed=1
    )


@pytest.mark.slow
def test_a_reinforcement_job_trains_and_keeps_its_best_three(client):
    grader = {
        "type": "multi",
        "name": "both",
        "graders": {"exact": GRADER, "alike": {"type": "text_similarity", "name": "alike", "reference": "xxxx",
                                               "input": "{{sample.output_text}}", "evaluation_metric": "fuzzy_match"}},
        "calculate_output": "exact + alike",
    }  # fmt: skip
    job = reinforcement(client, grader, n_epochs=2, eval_interval=1, compute_multiplier=0.25)
    job = wait_for(client, job.id, seconds=PATIENCE)
    assert job.status == "succeeded", job.error
    events = client.fine_tuning.jobs.list_events(job.id, limit=100).data
    told = {event.data["step"]: event.data for event in events if event.type == "metrics"}
    assert sorted(told) == list(range(1, 9))
    for numbers in told.values():
        for group in ("scores", "errors", "timing"):
            assert [entry["name"] for entry in numbers[group]["graders"]] == ["exact", "alike"]
        assert numbers["scores"]["train_reward_mean"] == pytest.approx(numbers["train_mean_reward"])
        assert numbers["scores"]["valid_reward_mean"] == pytest.approx(numbers["full_valid_mean_reward"])
        assert numbers["timing"]["step"]["full_iteration"] > numbers["timing"]["step"]["sampling"] > 0
        assert numbers["usage"]["samples"]["train_completion_tokens_count"] > 0
    rewards = {step: numbers["full_valid_mean_reward"] for step, numbers in told.items()}
    best = sorted(rewards, key=lambda step: (rewards[step], step), reverse=True)[:3]
    checkpoints = client.fine_tuning.jobs.checkpoints.list(job.id).data
    assert {item.step_number for item in checkpoints} == set(best)
    table = base64.b64decode(client.files.content(job.result_files[0]).read()).decode()
    rows = list(csv.DictReader(io.StringIO(table)))
    assert {int(row["step"]): float(row["full_valid_mean_reward"]) for row in rows} == rewards
    assert all(float(row["scores/graders/string_check/exact/train_reward_mean"]) >= 0 for row in rows)
    name = checkpoints[-1].fine_tuned_model_checkpoint
    assert client.chat.completions.create(model=name, messages=ticket(1)["messages"][:1], max_tokens=2).choices


def test_nothing_of_its_rows_is_left_in_its_folder(service, done):
    folder = service.data_dir / "jobs" / done.id
    assert (folder / "model").exists()
    assert not (folder / "prepared").exists()
    assert [path.name for path in folder.glob("*.jsonl")] == ["journal.jsonl"]


@pytest.mark.slow
def test_pause_resume_and_cancel(service, client, training_file):
    method = supervised(n_epochs=50, batch_size=1)
    job = submit(client, training_file, method=method)
    until(lambda: any(e.type == "metrics" for e in client.fine_tuning.jobs.list_events(job.id).data), seconds=PATIENCE)
    client.fine_tuning.jobs.pause(job.id)
    wait_for(client, job.id, "paused", seconds=PATIENCE)
    (prepared,) = (service.data_dir / "jobs" / job.id / "prepared").glob("training-*/ids")
    made = prepared.stat()
    assert made.st_mode & 0o077 == 0
    client.fine_tuning.jobs.resume(job.id)
    wait_for(client, job.id, "running", seconds=PATIENCE)
    again = prepared.stat()  # the second attempt read what the first one had made
    assert (again.st_ino, again.st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
    client.fine_tuning.jobs.cancel(job.id)
    assert wait_for(client, job.id, seconds=PATIENCE).status == "cancelled"


@pytest.mark.parametrize(
    ("method", "param", "words"),
    [
        (supervised(lora="perhaps"), "lora", "true or false"),
        (supervised(lora_r=1000), "lora_r", "between 1 and 256"),
        (supervised(context_length=513), "context_length", "between 1 and 512"),
        (supervised(colour="red"), "colour", "not a hyperparameter"),
    ],
)
def test_what_cannot_be_trained_is_refused_at_once(client, training_file, method, param, words):
    from openai import BadRequestError

    with pytest.raises(BadRequestError, match=words) as caught:
        submit(client, training_file, method=method)
    assert caught.value.param.endswith(param)


def test_graders_are_looked_over_when_the_job_is_made(client):
    from openai import BadRequestError

    code = {"type": "python", "name": "code", "source": "def grade(sample, item): return 1.0"}
    with pytest.raises(BadRequestError, match="--allow-python-graders"):
        reinforcement(client, code)
    with pytest.raises(BadRequestError, match="embedding model"):
        reinforcement(client, {"type": "text_similarity", "name": "a", "input": "a", "reference": "a",
                               "evaluation_metric": "cosine"})  # fmt: skip


@pytest.mark.slow
def test_a_grader_that_names_what_the_rows_lack_fails_the_job_with_the_line(client):
    job = reinforcement(client, GRADER | {"reference": "{{item.nothing}}"})
    job = wait_for(client, job.id, seconds=PATIENCE)
    assert job.status == "failed"
    assert "nothing" in job.error.message


@pytest.mark.slow
def test_rows_that_the_template_cannot_show_fail_the_job_with_the_line(client):
    rows = [ticket(number) for number in range(12)]
    rows[6] = {
        "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]},
            {"role": "assistant", "content": "a"},
        ]
    }
    file = client.files.create(file=("images.jsonl", to_bytes(rows)), purpose="fine-tune").id
    job = wait_for(client, submit(client, file).id, seconds=PATIENCE)
    assert (job.status, job.error.code) == ("failed", "invalid_training_file")
    assert "line 7" in job.error.message
    assert json.dumps(job.error.message).count("text only") == 1
