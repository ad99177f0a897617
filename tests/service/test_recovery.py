"""`--recover` after a whole life of a service: the database is made again from the folders, and nothing is deleted."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI
from support.openai_jobs import chats, openai_for, slow_job, submit, wait_for
from support.recovering import recover
from support.service import RunningService, running_service, until

from tuneway_service import recovery
from tuneway_service.store.database import Database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

QUESTION = [{"role": "user", "content": "Ticket 1: there is trouble with my phone."}]
HOOK = {"name": "mine", "url": "http://127.0.0.1:9/", "event_types": ["fine_tuning.job.failed"]}


def copy(source: Path, target: Path) -> Path:
    """Copy a data folder; what is one file under two names stays one file."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)
    return target


def shown(client: OpenAI) -> dict[str, Any]:
    """What a client sees of a service."""
    jobs = {job.id: job.to_dict() for job in client.fine_tuning.jobs.list(limit=100)}
    return {
        "jobs": jobs,
        "order": list(jobs),
        "by metadata": [job.id for job in client.fine_tuning.jobs.list(metadata={"team": "support"})],
        "files": [file.to_dict() for file in client.files.list()],
        "models": sorted(model.id for model in client.models.list()),
        "metrics": {
            job_id: [event.data for event in client.fine_tuning.jobs.list_events(job_id, limit=100) if event.data]
            for job_id in jobs
        },
        "checkpoints": {
            job_id: [
                (point.fine_tuned_model_checkpoint, point.step_number, point.created_at)
                for point in client.fine_tuning.jobs.checkpoints.list(job_id)
            ]
            for job_id in jobs
        },
    }


def tuned(before: dict[str, Any]) -> list[str]:
    """The tuned models among those that a service showed."""
    return [name for name in before["models"] if name.startswith("ft:")]


@pytest.fixture(scope="module")
def life(tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """The data folder of a service that was stopped, and what it showed."""
    data = tmp_path_factory.mktemp("life") / "data"
    with running_service(data) as service, openai_for(service) as client:
        file = client.files.create(file=("train.jsonl", chats(30)), purpose="fine-tune").id
        valid = client.files.create(file=("valid.jsonl", chats(12, start=40)), purpose="fine-tune").id
        few = client.files.create(file=("few.jsonl", chats(2)), purpose="fine-tune").id
        gone = client.files.create(file=("gone.jsonl", chats(11)), purpose="fine-tune").id
        client.files.delete(gone)
        knobs = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 10}}}
        done = submit(
            client, file, validation_file=valid, suffix="router", metadata={"team": "support"}, method=knobs, seed=7
        )
        wait_for(client, done.id, "succeeded")
        wait_for(client, submit(client, few).id, "failed")
        slow = slow_job(client)
        wait_for(client, slow.id, "running")
        until(lambda: client.fine_tuning.jobs.list_events(slow.id, limit=1).data[0].type == "metrics")
        # while another one trains, so that it never starts
        other = submit(client, file, model=f"ft:gpt-4o-mini:local:router:{done.id.removeprefix('ftjob-')[:8]}")
        client.fine_tuning.jobs.cancel(other.id)
        client.fine_tuning.jobs.pause(slow.id)
        wait_for(client, slow.id, "paused")
        httpx.post(f"{service.base_url}/webhook_endpoints", json=HOOK).raise_for_status()
        before = shown(client)
        service.stop()
    assert [job["status"] for job in before["jobs"].values()] == ["cancelled", "paused", "failed", "succeeded"]
    assert len(before["checkpoints"][done.id]) == 2
    return data, before


@pytest.fixture
def data(life, tmp_path) -> Path:
    """A copy of that folder."""
    return copy(life[0], tmp_path / "data")


def remove_database(data: Path) -> None:
    for part in ("", "-wal", "-shm"):
        (data / f"tuneway.db{part}").unlink(missing_ok=True)


def dump(data: Path) -> list[str]:
    """All rows of a database, without the ids that are made anew."""
    with sqlite3.connect(data / "tuneway.db") as connection:
        lines = list(connection.iterdump())
    connection.close()
    return lines


def row_count(data: Path, table: str) -> int:
    with sqlite3.connect(data / "tuneway.db") as connection:
        count: int = connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
    connection.close()
    return count


@pytest.fixture(scope="module")
def recovered(life, tmp_path_factory) -> Iterator[tuple[RunningService, OpenAI]]:
    """A service whose database was lost, started with `--recover`."""
    data = copy(life[0], tmp_path_factory.mktemp("lost") / "data")
    remove_database(data)
    with running_service(data, recover=True) as service, openai_for(service) as client:
        yield service, client


def test_a_lost_database_is_made_again_from_the_folders(recovered, life):
    service, client = recovered
    assert shown(client) == life[1]
    assert "Recovered 5 files (5 from their records)." in service.log
    assert "Recovered 4 jobs (4 from their records)." in service.log
    models = len(tuned(life[1]))
    assert f"Recovered {models} models ({models} with their exports)." in service.log


def test_a_recovered_job_says_so(recovered, life):
    _, client = recovered
    for job_id in life[1]["jobs"]:
        newest = client.fine_tuning.jobs.list_events(job_id, limit=1).data[0]
        assert newest.message == "The service's database was lost; this job was recovered from its records"


def test_recovered_models_answer_and_recovered_jobs_go_on(recovered, life):
    _, client = recovered
    jobs = list(life[1]["jobs"].values())
    answer = client.chat.completions.create(model=jobs[3]["fine_tuned_model"], messages=QUESTION, temperature=0)
    assert answer.choices[0].message.content == "mobile"
    client.fine_tuning.jobs.resume(jobs[1]["id"])
    done = wait_for(client, jobs[1]["id"], seconds=120)
    assert done.status == "succeeded"
    texts = [event.message for event in client.fine_tuning.jobs.list_events(done.id, limit=100)]
    assert any("Resuming from step" in text for text in texts) or len(texts) == 100


@pytest.mark.parametrize("kind", ["garbage", "cut off"])
def test_a_damaged_database_is_kept_and_made_again(data, life, kind):
    content = (data / "tuneway.db").read_bytes()
    damaged = b"\x00" * len(content) if kind == "garbage" else content[: len(content) // 2]
    (data / "tuneway.db").write_bytes(damaged)
    lines = recover(data)
    kept = list((data / "damaged").iterdir())
    assert len(kept) == 1
    assert (kept[0] / "tuneway.db").read_bytes() == damaged
    assert (kept[0] / recovery.REPORT).read_text().splitlines() == lines[2:]
    with running_service(data) as service, openai_for(service) as client:
        assert shown(client) == life[1]


def test_what_can_be_read_of_a_damaged_database_is_used(data, life):
    """Webhook endpoints and idempotency keys are in no folder."""
    for path in [*data.glob("jobs/*/record.json"), *data.glob("records/*")]:
        path.unlink()
    damage_page_of(data, "events")
    lines = recover(data)
    assert "Also from the damaged database: 1 webhook endpoints." in lines
    assert "Recovered 4 jobs (4 from the damaged database)." in lines
    with running_service(data) as service, openai_for(service) as client:
        assert shown(client) == life[1]
        found = httpx.get(f"{service.base_url}/webhook_endpoints").json()["data"]
        assert [hook["name"] for hook in found] == ["mine"]


def damage_page_of(data: Path, table: str) -> None:
    """Overwrite one page of a table, not its first."""
    with sqlite3.connect(data / "tuneway.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
    connection.close()
    with (data / "tuneway.db").open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)


def test_folders_of_before_there_were_records_are_recovered_too(data, life):
    """What no folder says is lost: the metadata, the names of files, jobs that were never started."""
    for path in [*data.glob("jobs/*/record.json"), *data.glob("records/*")]:
        path.unlink()
    remove_database(data)
    lines = recover(data)
    before = {job["status"]: job for job in life[1]["jobs"].values()}
    assert "Recovered 5 files (5 from their contents, under names of their own)." in lines
    assert "Recovered 2 jobs (2 from their folders, without their metadata)." in lines
    for status in ("failed", "cancelled"):
        text = f"  jobs/{before[status]['id']}: it was never started, and nothing says what it should train"
        assert text in lines
        assert (data / "jobs" / before[status]["id"]).is_dir()
    with running_service(data) as service, openai_for(service) as client:
        after = {job.status: job.to_dict() for job in client.fine_tuning.jobs.list()}
        assert after.keys() == {"succeeded", "paused"}
        same = ("id", "fine_tuned_model", "result_files", "trained_tokens", "usage_metrics", "seed", "method", "model")
        for name in same:
            assert after["succeeded"][name] == before["succeeded"][name], name
            assert after["paused"][name] == before["paused"][name], name
        assert after["paused"]["training_file"] == before["paused"]["training_file"]
        assert {file.id: file.purpose for file in client.files.list()} == {
            file["id"]: file["purpose"] for file in life[1]["files"]
        }
        model = after["succeeded"]["fine_tuned_model"]
        answer = client.chat.completions.create(model=model, messages=QUESTION, temperature=0)
        assert answer.choices[0].message.content == "mobile"
        # it is left for another try, however often the service starts
        service.restart()
        assert (data / "jobs" / before["failed"]["id"]).is_dir()


def test_a_whole_database_stays_and_gets_only_what_it_lacks(data, life):
    before = dump(data)
    assert "It is whole: adding what it lacks." in recover(data)
    assert dump(data) == before
    lost = next(iter(life[1]["jobs"]))
    with sqlite3.connect(data / "tuneway.db") as connection:
        seq = connection.execute("SELECT seq FROM jobs WHERE id = ?", (lost,)).fetchone()[0]
        connection.execute("DELETE FROM events WHERE job = ?", (seq,))
        connection.execute("DELETE FROM jobs WHERE id = ?", (lost,))
    connection.close()
    assert "Recovered 1 jobs (1 from their records)." in recover(data)
    assert not (data / "damaged").exists()
    with running_service(data) as service, openai_for(service) as client:
        assert shown(client) == life[1]


def test_to_recover_twice_changes_nothing(data):
    (data / "tuneway.db").write_bytes(b"\x00" * 100_000)
    recover(data)
    once = dump(data)
    recover(data)
    assert dump(data) == once
    assert len(list((data / "damaged").iterdir())) == 1


def test_a_model_that_was_deleted_is_not_recovered(data, life):
    job = next(job for job in life[1]["jobs"].values() if job["status"] == "succeeded")
    shutil.rmtree(data / "jobs" / job["id"] / "model")
    remove_database(data)
    left = len(tuned(life[1])) - 1
    assert f"Recovered {left} models ({left} with their exports)." in recover(data)


def test_what_was_never_finished_is_not_recovered(data):
    """Nobody was told that it exists; the next start removes it."""
    file_id, job_id = "file-" + "a" * 24, "ftjob-" + "a" * 24
    (data / "files" / file_id).write_bytes(chats(20))
    (data / "jobs" / job_id).mkdir()
    for name in (file_id, job_id):
        (data / "scratch" / f"{name}.new").touch()
    remove_database(data)
    lines = recover(data)
    assert f"  jobs/{job_id}: its creation was never finished" in lines
    assert (data / "files" / file_id).exists()
    with running_service(data):
        assert not (data / "files" / file_id).exists()
        assert not (data / "jobs" / job_id).exists()


def test_the_records_of_an_earlier_version_s_jobs_are_written_at_its_first_start(data, life):
    for path in [*data.glob("jobs/*/record.json"), *data.glob("records/*")]:
        path.unlink()
    with sqlite3.connect(data / "tuneway.db") as connection:
        connection.execute("UPDATE jobs SET recorded = 0")
        connection.execute("UPDATE files SET recorded = 0")
    connection.close()
    with running_service(data):
        until(lambda: len(list(data.glob("jobs/*/record.json"))) == len(life[1]["jobs"]))
        until(lambda: len(list(data.glob("records/*"))) == len(life[1]["files"]))


def test_a_record_says_nothing_of_a_deleted_file(life):
    data, before = life
    assert {path.stem for path in (data / "records").iterdir()} == {file["id"] for file in before["files"]}
    assert {path.name for path in (data / "files").iterdir()} == {file["id"] for file in before["files"]}


def test_a_job_that_trains_while_the_database_is_lost_goes_on(tmp_path):
    with running_service(tmp_path / "data") as service, openai_for(service) as client:
        job = slow_job(client, epochs=3, rows=300, metadata={"team": "support"})
        until(lambda: client.fine_tuning.jobs.list_events(job.id, limit=1).data[0].type == "metrics")
        service.kill()  # its worker lives on
        remove_database(service.data_dir)
        service.options["recover"] = True
        service.start()
        done = wait_for(client, job.id)
        assert (done.status, done.metadata) == ("succeeded", {"team": "support"})
        steps = [event.data["step"] for event in client.fine_tuning.jobs.list_events(job.id, limit=100) if event.data]
        assert sorted(steps, reverse=True) == steps


KILLED = """
import os, signal, sys
from pathlib import Path
from tuneway_service import recovery
from tuneway_service.settings import Settings

left, data = int(sys.argv[1]), sys.argv[2]
CALLS = ("open", "os.rename", "os.link", "os.remove", "os.mkdir", "shutil.rmtree", "sqlite3.connect", "os.utime")

def hook(event, arguments):
    global left
    if event in CALLS and str(arguments[0]).startswith(data):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
recovery.recover(Settings(data_dir=Path(data)), lambda line: None)
print(left)
"""


def test_a_recovery_that_is_killed_at_any_moment_is_started_again(life, tmp_path):
    damaged = copy(life[0], tmp_path / "damaged")
    for path in [*damaged.glob("jobs/*/record.json"), *damaged.glob("records/*")][::2]:
        path.unlink()
    damage_page_of(damaged, "events")
    whole = copy(damaged, tmp_path / "whole")
    recover(whole)
    told = facts(whole)
    probe = copy(damaged, tmp_path / "probe")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, "1000000", str(probe)], capture_output=True, text=True, check=True
    )
    most = 1_000_000 - int(done.stdout)
    moments = [*range(1, most, max(1, most // 12)), *range(most - 8, most + 1)]
    for moment in moments:
        data = copy(damaged, tmp_path / f"at-{moment}")
        killed = subprocess.run([sys.executable, "-c", KILLED, str(moment), str(data)], check=False)
        assert killed.returncode == -9
        recover(data)
        assert facts(data) == told, moment
        kept = [path for path in (data / "damaged").glob("*/tuneway.db") if path.parent.name != ".new"]
        assert any(path.read_bytes() == (damaged / "tuneway.db").read_bytes() for path in kept)
        shutil.rmtree(data)


def facts(data: Path) -> dict[str, Any]:
    """What a database has, without what is made anew."""
    database = Database(data / "tuneway.db")
    queries = {
        "jobs": "SELECT * FROM jobs ORDER BY seq",
        "files": "SELECT id, created_at, filename, purpose, bytes, sha256, deleted_at FROM files ORDER BY id",
        "models": "SELECT id, created_at, deleted_at, job_id, trainer, folder FROM models ORDER BY id",
        "metadata": "SELECT * FROM job_metadata ORDER BY 1, 2, 3",
        "webhooks": "SELECT * FROM webhook_endpoints ORDER BY seq",
        "metrics": "SELECT job, data FROM events WHERE data IS NOT NULL ORDER BY job, seq",
    }
    try:
        return {
            name: database.read_now(lambda connection, query=query: [tuple(row) for row in connection.execute(query)])
            for name, query in queries.items()
        }
    finally:
        database.close()
