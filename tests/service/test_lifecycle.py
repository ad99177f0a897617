"""The whole life of a job, by the `openai` package: the judge of whether this is the API."""

from __future__ import annotations

import base64
import csv
import io

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from support.datasets import to_bytes
from support.openai_jobs import chats, openai_for, submit, wait_for
from support.service import running_service


@pytest.fixture(scope="module")
def done(client: OpenAI, training_file: str):
    """A job that has succeeded."""
    job = submit(
        client,
        training_file,
        suffix="routing",
        seed=7,
        metadata={"pipeline": "nightly"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 4, "batch_size": 8}}},
    )
    return wait_for(client, job.id)


def test_a_job_succeeds_and_says_what_it_did(done, training_file):
    assert done.status == "succeeded"
    assert done.error is None
    assert done.training_file == training_file
    assert done.seed == 7
    assert done.metadata == {"pipeline": "nightly"}
    assert done.finished_at >= done.created_at
    assert done.estimated_finish is None
    assert done.trained_tokens > 0
    assert done.fine_tuned_model.startswith("ft:gpt-4o-mini:local:routing:")
    assert done.method.supervised.hyperparameters.n_epochs == 4
    assert done.hyperparameters.batch_size == 8
    assert isinstance(done.hyperparameters.learning_rate_multiplier, float)


def test_a_job_names_its_true_trainer(client, done):
    assert done.usage_metrics["trainer"] == "bytes"
    model = client.models.retrieve(done.fine_tuned_model)
    assert model.owned_by == "tuneway:bytes"
    assert "language model" in str(model.trainer)


def test_each_job_on_a_well_known_name_says_that_bytes_only_stands_in_for_it(client, done):
    told = [event.message for event in client.fine_tuning.jobs.list_events(done.id) if event.level == "warn"]
    assert any("not gpt-4o-mini" in text and "--model gpt-4o-mini=FOLDER" in text for text in told), told


def test_the_tuned_model_answers_as_it_was_taught(client, done):
    reply = client.chat.completions.create(
        model=done.fine_tuned_model,
        messages=[{"role": "user", "content": "Ticket 4711: there is trouble with my invoice."}],
        temperature=0,
    )
    assert reply.choices[0].message.content == "billing"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 0


def test_an_answer_can_be_streamed(client, done):
    stream = client.chat.completions.create(
        model=done.fine_tuned_model,
        messages=[{"role": "user", "content": "Ticket 4712: there is trouble with my phone."}],
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "mobile"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage.completion_tokens > 0


def test_events_tell_the_story_in_order_and_once(client, done):
    events = list(client.fine_tuning.jobs.list_events(done.id, limit=3))
    assert len({event.id for event in events}) == len(events)
    story = [event.message for event in reversed(events)]
    assert story[0].startswith("Created fine-tuning job")
    landmarks = ("Validating", "Files validated", "Fine-tuning job started", "New fine-tuned model", "The job has succ")
    places = [next(place for place, text in enumerate(story) if text.startswith(mark)) for mark in landmarks]
    assert places == sorted(places)
    steps = [event.data["step"] for event in reversed(events) if event.type == "metrics"]
    assert steps == list(range(1, 21))  # 40 rows, 4 epochs, 8 at a time
    losses = [event.data["train_loss"] for event in reversed(events) if event.type == "metrics"]
    assert losses[-1] < losses[0]


def test_checkpoints_are_the_last_three_epochs_and_can_be_asked(client, done):
    page = client.fine_tuning.jobs.checkpoints.list(done.id)
    assert [checkpoint.step_number for checkpoint in page.data] == [20, 15, 10]
    assert page.first_id == page.data[0].id
    assert page.last_id == page.data[-1].id
    oldest = page.data[-1]
    assert oldest.fine_tuned_model_checkpoint == f"{done.fine_tuned_model}:ckpt-step-10"
    assert oldest.metrics.train_loss > 0
    reply = client.chat.completions.create(
        model=oldest.fine_tuned_model_checkpoint, messages=[{"role": "user", "content": "my router"}], max_tokens=5
    )
    assert reply.choices[0].message.content


def test_the_result_file_is_base64_of_a_table(client, done):
    file = client.files.retrieve(done.result_files[0])
    assert file.purpose == "fine-tune-results"
    table = base64.b64decode(client.files.content(file.id).read(), validate=True).decode()
    rows = list(csv.DictReader(io.StringIO(table)))
    assert list(rows[0]) == ["step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy"]
    assert [int(row["step"]) for row in rows] == list(range(1, 21))
    assert rows[0]["valid_loss"] == ""
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])


@pytest.mark.slow
def test_validation_data_is_measured_and_never_learned_from(client, training_file):
    held_out = client.files.create(file=("valid.jsonl", chats(12, start=900)), purpose="fine-tune")
    job = wait_for(client, submit(client, training_file, validation_file=held_out.id, seed=1).id)
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=100))
    assert any("full_valid_loss" in event.data for event in events)
    checkpoint = client.fine_tuning.jobs.checkpoints.list(job.id).data[0]
    assert checkpoint.metrics.full_valid_loss is not None
    without = wait_for(client, submit(client, training_file, seed=1).id)
    assert without.trained_tokens == job.trained_tokens


@pytest.mark.slow
def test_a_tuned_model_can_be_tuned_further(client, done):
    more = client.files.create(file=("more.jsonl", chats(20, start=500)), purpose="fine-tune")
    job = wait_for(client, submit(client, more.id, model=done.fine_tuned_model).id)
    assert job.status == "succeeded"
    assert job.model == done.fine_tuned_model
    assert job.fine_tuned_model.startswith("ft:gpt-4o-mini:local::")


@pytest.mark.slow
def test_a_model_that_is_being_tuned_further_can_be_deleted(client, training_file):
    first = wait_for(client, submit(client, training_file, suffix="first").id)
    more = client.files.create(file=("more.jsonl", chats(20, start=500)), purpose="fine-tune")
    job = submit(client, more.id, model=first.fine_tuned_model)
    assert client.models.delete(first.fine_tuned_model).deleted
    done = wait_for(client, job.id)
    assert done.status == "succeeded"
    answer = client.chat.completions.create(
        model=done.fine_tuned_model,
        messages=[{"role": "user", "content": "Ticket 3: there is trouble with my phone."}],
        temperature=0,
    )
    assert answer.choices[0].message.content == "mobile"


def test_preference_training_prefers_what_is_preferred(client):
    rows = [
        {
            "input": {"messages": [{"role": "user", "content": f"{number} shall I?"}]},
            "preferred_output": [{"role": "assistant", "content": "yes"}],
            "non_preferred_output": [{"role": "assistant", "content": "no"}],
        }
        for number in range(20)
    ]
    file = client.files.create(file=("pairs.jsonl", to_bytes(rows)), purpose="fine-tune")
    job = wait_for(
        client, submit(client, file.id, method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2}}}).id
    )
    assert job.status == "succeeded"
    assert job.method.dpo.hyperparameters.beta == 0.2


def test_a_model_can_be_deleted_and_is_gone(client, training_file):
    job = wait_for(client, submit(client, training_file).id)
    name = job.fine_tuned_model
    assert name in [model.id for model in client.models.list()]
    assert client.models.delete(name).deleted
    assert name not in [model.id for model in client.models.list()]
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model=name, messages=[{"role": "user", "content": "hello?"}])
    assert client.fine_tuning.jobs.retrieve(job.id).fine_tuned_model == name


async def test_the_async_client_sees_the_same(service, training_file):
    async with AsyncOpenAI(base_url=service.base_url, api_key="none", max_retries=0) as client:
        made = [
            await client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=training_file) for _ in range(3)
        ]
        job = made[-1]
        assert job.status == "validating_files"
        ids = [other.id async for other in client.fine_tuning.jobs.list(limit=2)]
        assert ids[0] == job.id
        assert len(ids) == len(set(ids)) > 2
        await client.fine_tuning.jobs.cancel(job.id)
        assert (await client.fine_tuning.jobs.retrieve(job.id)).status == "cancelled"


@pytest.mark.slow
def test_two_services_train_the_same_weights_from_the_same_seed():
    answers = []
    for _ in range(2):
        with running_service() as service, openai_for(service) as client:
            file = client.files.create(file=("train.jsonl", chats(30)), purpose="fine-tune")
            job = wait_for(client, submit(client, file.id, seed=11).id)
            table = client.files.content(job.result_files[0]).read()
            answers.append((table, job.trained_tokens))
    assert answers[0] == answers[1]
