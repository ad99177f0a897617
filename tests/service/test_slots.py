"""Which job has which devices: one job each, first come first served."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import BadRequestError
from support.hand_executor import Bench
from support.openai_jobs import chats, openai_for, submit
from support.service import running_service, until

from tuneway.errors import InvalidSpec
from tuneway_service import gang
from tuneway_service.commands.options import ServeOptions
from tuneway_service.settings import Settings
from tuneway_service.slots import Slots
from tuneway_service.states import JobStatus

FOUR = ("0", "1", "2", "3")


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setattr(gang, "ALONE", ())  # so that this trainer's jobs have devices
    return Bench(tmp_path, gpus=FOUR, concurrency=4)


def devices_of(bench, job_id):
    return json.loads((bench.folder(job_id).path / "job.json").read_bytes()).get("devices")


def ready(bench, *jobs):
    for job_id in jobs:
        until(lambda job_id=job_id: (bench.supervisor.tick(), bench.status(job_id) != "validating_files")[1])


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=30))
def test_no_device_has_two_jobs(steps):
    slots = Slots(FOUR)
    for number, (ends, count) in enumerate(steps):
        if ends and slots.held:
            slots.release(next(iter(slots.held)))
        elif (found := slots.find(count)) is not None:
            assert len(found) == count
            slots.hold(f"job {number}", found)
        held = [name for names in slots.held.values() for name in names]
        assert len(held) == len(set(held))
        assert sorted(held + slots.free()) == sorted(FOUR)


def test_each_job_has_devices_of_its_own_and_gives_them_back(bench):
    jobs = [bench.create(gpus=count) for count in (1, 2, None)]
    ready(bench, *jobs)
    bench.supervisor.tick()
    assert [devices_of(bench, job_id) for job_id in jobs] == [["0"], ["1", "2"], ["3"]]
    assert bench.supervisor.slots.holder("2") == jobs[1]

    bench.executor.living.discard(jobs[1])
    bench.folder(jobs[1]).write("outcome", {"outcome": "failed", "code": "server_error", "message": "x"})
    until(lambda: (bench.supervisor.tick(), bench.status(jobs[1]) == JobStatus.FAILED)[1])
    assert bench.supervisor.slots.free() == ["1", "2"]


def test_a_large_job_is_not_overtaken_by_small_ones(bench):
    first, large, small = bench.create(gpus=2), bench.create(gpus=3), bench.create(gpus=1)
    ready(bench, first, large, small)
    for _ in range(3):
        bench.supervisor.tick()
    assert bench.executor.launched == [first]

    bench.executor.living.discard(first)
    bench.folder(first).write("outcome", {"outcome": "failed", "code": "server_error", "message": "x"})
    until(lambda: (bench.supervisor.tick(), len(bench.executor.launched) == 3)[1])
    assert bench.executor.launched == [first, large, small]
    assert (devices_of(bench, large), devices_of(bench, small)) == (["0", "1", "2"], ["3"])


def test_a_restart_knows_which_devices_the_workers_of_before_have(bench):
    before = bench.create(gpus=3)
    ready(bench, before)
    bench.supervisor.tick()
    bench.fresh_supervisor()
    later = bench.create(gpus=2)
    ready(bench, later)
    bench.supervisor.tick()
    assert bench.executor.launched == [before]
    assert bench.supervisor.slots.held == {before: ("0", "1", "2")}


def test_a_job_that_needs_more_than_there_are_fails_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(gang, "ALONE", ())
    bench = Bench(tmp_path, gpus=("0",), concurrency=1)
    large, small = bench.create(gpus=2), bench.create()
    ready(bench, large, small)
    until(lambda: (bench.supervisor.tick(), bench.executor.launched == [small])[1])
    assert bench.row(large).error == {
        "code": "invalid_value",
        "message": "The job needs 2 GPUs, and the service was started with 1.",
        "param": "gpus",
    }


def test_jobs_of_the_small_trainer_have_no_device(tmp_path):
    bench = Bench(tmp_path, gpus=("0",), concurrency=2)
    jobs = [bench.create(), bench.create()]
    ready(bench, *jobs)
    bench.supervisor.tick()
    assert [devices_of(bench, job_id) for job_id in jobs] == [[], []]


def test_a_model_that_answers_has_a_free_device_before_one_that_trains():
    slots = Slots(FOUR)
    assert slots.for_answers([]) == ("0",)
    assert slots.for_answers(["0"]) == ("1",)
    slots.hold("a job", ["0", "1", "2"])
    assert slots.for_answers(["3", "3"]) == ("3",)
    slots.hold("another", ["3"])
    assert slots.for_answers(["0", "3"]) == ("1",)
    assert Slots(()).for_answers([]) == ()
    assert Slots(None).for_answers([]) is None


@pytest.mark.parametrize(
    ("options", "concurrency"),
    [({}, 1), ({"gpus": "cpu:4"}, 4), ({"gpus": "cpu:4", "concurrency": 2}, 2), ({"gpus": "none"}, 1)],
)
def test_as_many_jobs_train_at_once_as_there_is_room_for(options, concurrency):
    assert ServeOptions(**options).settings().concurrency == concurrency


@pytest.mark.parametrize(
    ("gpus", "count", "says"),
    [(("0", "1"), 3, "there are 2"), (None, 2, "the service has none"), (("0",), 0, "a job can't have 0 GPUs")],
)
def test_a_job_cannot_have_more_devices_than_there_are(tmp_path, gpus, count, says):
    with pytest.raises(InvalidSpec, match=says) as caught:
        Settings(data_dir=tmp_path, gpus=gpus, gpus_per_job=count)
    assert caught.value.field == "gpus_per_job"


def test_who_has_which_device_is_shown_and_more_than_there_are_is_refused():
    import httpx

    with running_service(gpus="cpu:2") as service, openai_for(service) as client:
        root = service.base_url.removesuffix("/v1")
        assert httpx.get(f"{root}/healthz").json()["gpus"] == {"cpu:0": None, "cpu:1": None}
        assert "cpu:1" in httpx.get(root).text
        file = client.files.create(file=("train.jsonl", chats(20)), purpose="fine-tune").id
        with pytest.raises(BadRequestError, match="The trainer 'bytes' uses no GPU") as caught:
            submit(client, file, extra_body={"gpus": 1})
        assert caught.value.param == "gpus"
