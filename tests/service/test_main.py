"""Starting and stopping."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from support.openai_jobs import chats, openai_for, slow_job, submit, wait_for
from support.service import running_service, until

from tuneway.errors import InvalidSpec
from tuneway_service.commands import serve as serving
from tuneway_service.commands.options import ServeOptions, pairs
from tuneway_service.executors.ray_settings import RaySettings
from tuneway_service.main import run
from tuneway_service.settings import Settings


def start(*words: str) -> subprocess.CompletedProcess[str]:
    """Start a service that should refuse to."""
    return subprocess.run(
        [sys.executable, "-m", "tuneway_service", *words], capture_output=True, text=True, timeout=30, check=False
    )


def test_it_says_where_it_is_in_one_line(service):
    assert service.base_url.startswith("http://127.0.0.1:")
    assert (service.data_dir / "base_url.txt").read_text() == service.base_url + "\n"
    root = service.base_url.removesuffix("/v1")
    assert httpx.get(root + "/healthz").json()["status"] == "ok"


@pytest.mark.slow
def test_a_second_service_on_the_same_data_is_refused_and_told_where_the_first_is(service):
    done = start("--data-dir", str(service.data_dir), "--port", "0")
    assert done.returncode == 1
    assert f"is using {service.data_dir} already, at {service.base_url}" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "what"), [(0o755, "read"), (0o777, "change"), (0o750, None)])
def test_a_data_directory_that_is_open_to_others_is_told_of(mode, what, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(mode)
    with running_service(folder) as service:
        lines = [line for line in service.log.splitlines() if "is open to everybody" in line]
    assert len(lines) == (what is not None)
    for line in lines:
        assert f"who can {what} what is in it: chmod o-rwx {folder}" in line


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt-4o-mini", "ft:gpt-4.1", "meta-llama/Llama-3.3-70B", "o3", "mistral-small"])
def test_a_service_says_at_its_start_which_well_known_names_bytes_stands_in_for(name, tmp_path):
    with running_service(tmp_path / "data", models={name: "bytes", "mine": "bytes"}) as service:
        told = [line for line in service.log.splitlines() if "stands in for" in line]
    assert len(told) == 1
    assert f"models={name} " in told[0]


@pytest.mark.slow
def test_a_port_that_is_taken_is_refused(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = start("--data-dir", str(tmp_path), "--port", port)
    assert done.returncode == 1
    assert f"can't listen on 127.0.0.1 port {port}" in done.stderr
    assert "--port" in done.stderr


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"models": ["gpt-4o=magic"]}, "no trainer 'magic'"),
        ({"faults": "flood=1"}, "is not a fault"),
        ({"concurrency": 0}, "concurrency can.t be 0"),
        ({"port": 65536}, "no port 65536"),
        ({"host": "0.0.0.0"}, "needs a token"),
        ({"webhook_url": "http://127.0.0.1/"}, "secret"),
        ({"webhook_url": "gopher://x"}, "not a webhook address"),
        ({"data_dir": Path("/dev/null/x")}, "data directory"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(tmp_path, options, word):
    with pytest.raises(InvalidSpec, match=word):
        run(ServeOptions(**{"data_dir": tmp_path, "port": 0} | options).settings())


@pytest.mark.slow
def test_an_unreadable_database_is_refused_clearly(tmp_path):
    (tmp_path / "tuneway.db").write_bytes(b"not a database" * 1000)
    done = start("--data-dir", str(tmp_path), "--port", "0")
    assert done.returncode == 1
    assert "can't use the database" in done.stderr
    assert "--recover" in done.stderr
    assert "Traceback" not in done.stderr


def test_secrets_do_not_show_in_settings():
    settings = Settings(data_dir=Path("x"), token="hush-hush", webhook_secret="whsec_hush")
    assert "hush" not in repr(settings)


@pytest.mark.slow
def test_stopping_is_graceful_and_the_job_goes_on_at_the_next_start():
    with running_service() as service, openai_for(service) as client:
        job = wait_for(client, slow_job(client, epochs=3, rows=300).id, "running")
        assert service.stop() == 0
        assert "Traceback" not in service.log
        service.start()
        done = wait_for(client, job.id)
        assert done.status == "succeeded"
        texts = [event.message for event in client.fine_tuning.jobs.list_events(job.id, limit=100)]
        assert any("its state is saved" in text for text in texts)
        steps = [event.data["step"] for event in client.fine_tuning.jobs.list_events(job.id, limit=100) if event.data]
        assert sorted(steps) == list(range(1, 901))


@pytest.mark.slow
def test_everything_is_there_after_a_restart():
    with running_service() as service, openai_for(service) as client:
        file = client.files.create(file=("a.jsonl", chats(30)), purpose="fine-tune")
        job = wait_for(client, submit(client, file.id, metadata={"a": "b"}).id)
        before = [job, client.files.list().data, client.models.list().data[-1].id]
        service.kill()
        service.start()
        after = [client.fine_tuning.jobs.retrieve(job.id), client.files.list().data, client.models.list().data[-1].id]
        assert after == before
        answer = client.chat.completions.create(
            model=job.fine_tuned_model,
            messages=[{"role": "user", "content": "Ticket 1: there is trouble with my phone."}],
            temperature=0,
        )
        assert answer.choices[0].message.content == "mobile"


@pytest.mark.slow
def test_what_a_killed_service_left_half_done_is_swept_up(tmp_path):
    data = tmp_path / "data"
    with running_service(data) as service:
        service.kill()
        file_id, job_id = "file-" + "a" * 24, "ftjob-" + "a" * 24
        for name in (file_id, job_id):
            (data / "scratch" / f"{name}.new").touch()
        (data / "scratch" / ("scratch_" + "a" * 24)).write_bytes(b"half a file")
        (data / "files" / file_id).write_bytes(b"never recorded")
        (data / "jobs" / job_id).mkdir()
        service.start()
        for folder in ("scratch", "files", "jobs"):
            assert list((data / folder).iterdir()) == []


def test_only_its_owner_can_read_the_data(service):
    for name in ("tuneway.db", "files", "jobs"):
        assert (service.data_dir / name).stat().st_mode & 0o077 == 0


def test_a_base_model_name_stands_for_its_trainer():
    assert pairs(["gpt-4o-mini=bytes", "a=b=c"]) == {"gpt-4o-mini": "bytes", "a": "b=c"}
    for text in ("gpt", "=bytes", "gpt="):
        with pytest.raises(InvalidSpec, match="NAME=TRAINER"):
            pairs([text])


def settings_of(monkeypatch, *words: str) -> Settings:
    """The settings that a command line makes."""
    made: list[Settings] = []
    monkeypatch.setattr("tuneway_service.main.run", lambda settings, **_: made.append(settings))
    with pytest.raises(SystemExit) as ended:
        serving.main(words)
    assert ended.value.code == 0
    return made[0]


def test_the_command_line_sets_every_option(monkeypatch):
    secret = "whsec_" + "a" * 32
    monkeypatch.setenv("TUNEWAY_TOKEN", "from-the-environment")
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", secret)
    words = "--port 0 --host 0.0.0.0 --data-dir d --job-storage s --concurrency 2 --model m=bytes --model n=smol"
    words += " --fault drop=1 --fault-seed 3 --allow-python-graders --grader-url http://g --webhook-url http://w"
    assert settings_of(monkeypatch, *words.split()) == Settings(
        data_dir=Path("d"),
        job_storage=Path("s"),
        host="0.0.0.0",
        port=0,
        token="from-the-environment",
        concurrency=2,
        models={"m": "bytes", "n": "smol"},
        faults="drop=1",
        fault_seed=3,
        allow_python_graders=True,
        grader_url="http://g",
        webhook_url="http://w",
        webhook_secret=secret,
    )


def test_the_command_line_sets_every_option_of_a_ray_cluster(monkeypatch):
    words = "--executor ray --ray-address http://ray:8265 --ray-cpus 4 --ray-gpus 1 --ray-runtime-env {}"
    ray = settings_of(monkeypatch, *words.split(), "--ray-jobs-dir", "/mnt/jobs").ray
    assert ray == RaySettings(address="http://ray:8265", cpus=4, gpus=1, jobs_dir=Path("/mnt/jobs"))
    by_store = settings_of(monkeypatch, *words.split(), "--ray-jobs-url", "s3://bucket/jobs").ray
    assert by_store is not None
    assert by_store.jobs_url == "s3://bucket/jobs"


def test_an_option_that_does_not_exist_is_a_usage_error():
    done = start("--executor", "slurm")
    assert done.returncode == 2
    assert "slurm" in done.stderr


@pytest.mark.slow
def test_an_ipv6_address_works():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with running_service(host="::1") as service:
        assert service.base_url.startswith("http://[::1]:")
        assert until(lambda: httpx.get(service.base_url + "/models").status_code) == 200
