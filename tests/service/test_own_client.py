"""Our own client on the same service: the whole way, and one job whatever the service does to its replies."""

from __future__ import annotations

import pytest
from support.openai_jobs import chats, openai_for
from support.service import running_service

from tuneway import AsyncClient, Client, JobSpec, Supervised
from tuneway.errors import JobCancelled, JobFailed
from tuneway.flows import Poll

SOON = Poll(minimum=0.05, maximum=0.1)


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_bytes(chats(40))
    return path


@pytest.fixture
def tuneway_client(service):
    with Client(base_url=service.base_url, settle=0.1, poll=SOON) as made:
        yield made


def test_from_a_file_to_a_registered_model(tuneway_client, rows, tmp_path):
    client = tuneway_client
    file = client.upload(rows)
    assert client.upload(rows).id == file.id
    spec = JobSpec(model="gpt-4o-mini", training_file=file, method=Supervised(n_epochs=4), seed=1)
    job = client.submit(spec, key="nightly/1")
    assert client.submit(spec, key="nightly/1").id == job.id
    told = []
    done = client.wait(job, timeout=60, on_event=told.append)
    assert done.status == "succeeded"
    assert told
    rows_of_metrics = client.result_metrics(done)
    assert rows_of_metrics[-1].train_loss < rows_of_metrics[0].train_loss
    answer = client.ask(
        done.fine_tuned_model, [{"role": "user", "content": "Ticket 8: there is trouble with my router."}]
    )
    assert "network" in answer
    version = client.register(done, name="routing", registry=f"sqlite:///{tmp_path / 'models.db'}")
    assert (version.record.model_id, version.record.trainer) == (done.fine_tuned_model, "bytes")


def test_a_job_that_fails_says_why(tuneway_client, tmp_path):
    path = tmp_path / "few.jsonl"
    path.write_bytes(chats(5))
    file = tuneway_client.upload(path, validate=False)
    job = tuneway_client.submit(JobSpec(model="gpt-4o-mini", training_file=file), key="few")
    with pytest.raises(JobFailed) as caught:
        tuneway_client.wait(job, timeout=60)
    assert caught.value.code == "invalid_n_examples"
    assert not caught.value.retryable


def test_a_job_that_somebody_cancels_says_so(tuneway_client, service, rows):
    file = tuneway_client.upload(rows)
    spec = JobSpec(model="gpt-4o-mini", training_file=file, method=Supervised(n_epochs=50, batch_size=1))
    job = tuneway_client.submit(spec, key="cancelled")
    tuneway_client.cancel(job.id)
    with pytest.raises(JobCancelled):
        tuneway_client.wait(job, timeout=60)


@pytest.mark.slow
def test_the_service_is_diagnosed_without_a_job_and_with_one(rows):
    with running_service() as service, Client(base_url=service.base_url, settle=0.1) as client:
        before = client.doctor()
        job = client.submit(JobSpec(model="gpt-4o-mini", training_file=client.upload(rows)), key="seen")
        after = client.doctor()
    assert (before.key, before.marks, before.jobs) == ("accepted", "unknown", 0)
    assert "gpt-4o-mini" in before.models
    assert (after.marks, after.evidence, after.jobs) == ("kept", f"{job.id} has Tuneway's mark", 1)


@pytest.mark.slow
async def test_the_async_client_does_the_same(service, rows):
    async with AsyncClient(base_url=service.base_url, settle=0.1, poll=SOON) as client:
        file = await client.upload(rows)
        job = await client.submit(JobSpec(model="gpt-4o-mini", training_file=file), key="async")
        assert (await client.wait(job, timeout=60)).status == "succeeded"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_one_job_whatever_happens_to_the_replies(rows, seed):
    faults = "drop=0.15,503=0.15,truncate=0.1,429=0.1"
    with running_service(faults=faults, fault_seed=seed) as service:
        with Client(base_url=service.base_url) as client:

            def step():
                file = client.upload(rows)
                spec = JobSpec(model="gpt-4o-mini", training_file=file, seed=1)
                return client.submit(spec, key="nightly/2")

            step()
            job = step()
            assert client.wait(job, timeout=100).status == "succeeded"
        service.options.pop("faults")
        service.restart()
        with openai_for(service) as judge:
            assert [made.id for made in judge.fine_tuning.jobs.list() if made.status != "cancelled"] == [job.id]
            assert len(judge.files.list(purpose="fine-tune").data) == 1
