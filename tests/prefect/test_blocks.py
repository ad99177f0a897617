"""The blocks: by Prefect's own standards, stored without showing a secret, and triggered."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import pytest
from prefect import flow
from prefect.blocks.core import Block
from prefect.blocks.system import Secret
from prefect.settings import PREFECT_API_URL
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from prefect.utilities.dispatch import get_registry_for_type
from prefect.workers.process import ProcessWorker
from support.datasets import good_rows, write

from prefect_tuneway import FineTuningCredentials, FineTuningJob
from tuneway import Poll
from tuneway.dialects import AZURE
from tuneway.errors import InvalidDataset, InvalidSpec, JobFailed, WaitTimeout


@pytest.mark.parametrize("block", [FineTuningCredentials, FineTuningJob])
class TestStandards(BlockStandardTestSuite):
    @pytest.fixture
    def block(self, block):
        return block


def test_their_logos_are_those_that_prefect_draws_its_own_with():
    logos = {FineTuningCredentials: Secret._logo_url, FineTuningJob: ProcessWorker._logo_url}
    if "block-logos" not in str(Secret._logo_url):
        pytest.skip("this Prefect is from before it had them in its repository")
    assert {block: str(block._logo_url) for block in logos} == {block: str(logo) for block, logo in logos.items()}


def test_credentials_make_both_clients(credentials, server):
    with credentials.get_client() as client:
        assert client.base_url == server.base_url


async def test_the_async_one_likewise(credentials, server):
    async with credentials.get_async_client() as client:
        assert client.base_url == server.base_url


def test_credentials_keep_their_secret(prefect, credentials):
    credentials.save("secretive", overwrite=True, _sync=True)
    again = FineTuningCredentials.load("secretive", _sync=True)
    assert again.client_settings() == credentials.client_settings()
    for text in (repr(credentials), str(credentials), credentials.model_dump_json()):
        assert "sk-hidden" not in text


def test_options_reach_the_client(monkeypatch):
    options = {"settle": 3, "timeout": 7, "poll": {"maximum": 99}}
    credentials = FineTuningCredentials(base_url="http://127.0.0.1:1/v1", options=options)
    settings = credentials.client_settings()
    with credentials.get_client() as client:
        pass
    assert settings == {"settle": 3, "timeout": 7, "base_url": "http://127.0.0.1:1/v1", "poll": {"maximum": 99}}
    assert client._account.poll == Poll(maximum=99)


def test_service_options_reach_the_client():
    options = {"training_type": "standard"}
    credentials = FineTuningCredentials(
        base_url="http://127.0.0.1:1/v1", options={"dialect": "azure"}, service_options=options
    )
    with credentials.get_client() as client:
        assert client._wire.dialect.exchange is not AZURE.exchange
    with pytest.raises(InvalidSpec, match="azure takes no option 'colour'"):
        credentials.model_copy(update={"service_options": {"colour": "red"}}).get_client()


@pytest.fixture
def training(credentials, data):
    method = {"type": "supervised", "n_epochs": 3}
    return FineTuningJob(credentials=credentials, model="gpt-4o-mini", training_data=str(data), method=method)


def test_a_stored_training_is_triggered_waited_for_and_gives_its_model(server, training):
    training.save("support", overwrite=True, _sync=True)

    @flow
    def train():
        job = FineTuningJob.load("support", _sync=True)
        run = job.trigger()
        run.wait_for_completion()
        again = job.trigger()
        assert again.job_id == run.job_id
        assert again.fetch_result() == run.fetch_result()
        return run.fetch_result()

    told = train()
    assert told["fine_tuned_model"] == server.service.jobs[0]["fine_tuned_model"]
    assert told["requested"] == {"n_epochs": 3}
    assert len(server.service.jobs) == 1


def test_it_writes_its_report(server, training, tmp_path):
    run = training.model_copy(update={"report_to": f"{tmp_path}/{{job_id}}.html"}).trigger()
    run.wait_for_completion()
    assert (tmp_path / f"{run.job_id}.html").read_text().startswith("<!doctype html>")


def test_a_report_without_a_kind_is_refused_before_anything_is_sent(server, training):
    with pytest.raises(InvalidSpec) as caught:
        training.model_copy(update={"report_to": "report.pdf"}).trigger()
    assert caught.value.field == "report_to"
    assert not server.arrived


async def test_in_async_flows_it_is_awaited(server, training):
    @flow
    async def train():
        run = await training.trigger()
        await run.wait_for_completion()
        return await run.fetch_result()

    assert (await train())["status"] == "succeeded"


def test_its_data_is_checked_as_a_pair_and_registered_with_its_rows(server, credentials, tmp_path):
    rows = good_rows(count=30)
    train, valid = write(tmp_path / "train.jsonl", rows[:20]), write(tmp_path / "valid.jsonl", rows[20:])
    training = FineTuningJob(
        credentials=credentials, model="base", training_data=str(train), validation_data=str(valid)
    )
    assert [fact["rows"] for fact in training.trigger().fetch_result()["data"]] == [20, 10]
    with pytest.raises(InvalidDataset, match=r"row\.overlap"):
        training.model_copy(update={"validation_data": str(train)}).trigger()


def test_it_takes_files_that_are_uploaded_instead_and_not_both(server, credentials, data):
    server.service.add_file(id="file-1")
    uploaded = FineTuningJob(credentials=credentials, model="base", training_file="file-1")
    assert uploaded.trigger().job_id == server.service.jobs[0]["id"]
    for stray in ({"training_data": str(data)}, {"validation_data": str(data)}, {"max_usd": 1.0}):
        with pytest.raises(InvalidSpec, match="doesn't go with training_file"):
            uploaded.model_copy(update=stray).trigger()
    with pytest.raises(InvalidSpec, match="training_data"):
        FineTuningJob(credentials=credentials, model="base").trigger()
    assert len(server.service.jobs) == 1


def blocks_of_before():
    """The blocks with the names that fields had before."""

    class Credentials(Block):
        _block_type_name = "Fine-Tuning Credentials"
        _block_type_slug = "fine-tuning-credentials"
        registry_url: str

    class Job(Block):
        _block_type_name = "Fine-Tuning Job"
        _block_type_slug = "fine-tuning-job"
        model: str
        training_path: str
        validation_path: str

    return Credentials, Job


def test_blocks_that_were_stored_under_the_names_of_before_are_read(prefect, monkeypatch):
    known = get_registry_for_type(Block)
    for slug in ("fine-tuning-credentials", "fine-tuning-job"):
        monkeypatch.setitem(known, slug, known[slug])  # it is restored after the test
    with pytest.warns(UserWarning, match="will be overridden"):
        credentials, job = blocks_of_before()
    credentials(registry_url="sqlite:///models.db").save("before", overwrite=True, _sync=True)
    job(model="m", training_path="t.jsonl", validation_path="v.jsonl").save("before", overwrite=True, _sync=True)
    assert FineTuningCredentials.load("before", _sync=True).registry == "sqlite:///models.db"
    read = FineTuningJob.load("before", _sync=True)
    assert (read.training_data, read.validation_data) == ("t.jsonl", "v.jsonl")


def test_a_result_that_is_not_there_yet_says_so(server, training):
    server.service.ends = None
    run = training.trigger()
    with pytest.raises(WaitTimeout, match="hasn't ended"):
        run.fetch_result()
    server.service.train(run.job_id)
    assert run.fetch_result()["status"] == "succeeded"


def test_a_failed_training_raises_what_the_service_said(server, training):
    server.service.ends = "failed"
    run = training.trigger()
    for look in (run.wait_for_completion, run.fetch_result):
        with pytest.raises(JobFailed, match="line 3"):
            look()


@pytest.mark.slow
def test_blocks_can_be_registered_from_the_command_line(prefect):
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "block", "register", "-m", "prefect_tuneway"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PREFECT_API_URL": PREFECT_API_URL.value()},
    )
    assert "Fine-Tuning Credentials" in done.stdout
    assert "Fine-Tuning Job" in done.stdout


IMPORTED = """
import sys
import prefect.main
from prefect import task, flow
before = set(sys.modules)
import prefect_tuneway
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(new))
print(sorted(name for name in sys.modules if name.startswith("tuneway.")))
"""


@pytest.mark.slow
def test_importing_the_collection_imports_little_besides_prefect():
    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True)
    new, ours = done.stdout.strip().splitlines()
    assert set(ast.literal_eval(new)) <= {"prefect", "prefect_tuneway", "pydantic", "tuneway"}
    assert set(ast.literal_eval(ours)) <= {"tuneway._escape", "tuneway._lazy", "tuneway._version", "tuneway.choices"}
