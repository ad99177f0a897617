"""One job per intent at Together AI, whatever breaks: in virtual time, with the mark at the end of the suffix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.fake_service import reply
from support.vendors.together import MODEL, FakeTogether
from support.virtual_driver import Crashed, VirtualDriver, answered_after, lost_after

from tuneway import InvalidSpec, JobSpec, Supervised, calls
from tuneway.calls import Response
from tuneway.dialects import TOGETHER
from tuneway.errors import BadReply, ConnectionFailed, ConnectionLost, LookupFailed, RequestTimeout
from tuneway.flows import Account, Retry, cancel, request, submit
from tuneway.models import Job
from tuneway.requester import Requester

Fault = Callable[[Any, Any], Response]
ME, OTHER = Requester(pipeline="p", run="1", step="s"), Requester(pipeline="p", run="2", step="s")
BROKEN = reply({"error": {"message": "broken"}}, 503)
BUSY = reply({"error": {"message": "busy"}}, 429)


class Place:
    """A service, and the processes that use it; each has a memory of its own."""

    def __init__(self) -> None:
        self.service = FakeTogether()
        self.file = self.service.add_file()["id"]
        self.driver = VirtualDriver(self.service)

    def submit(
        self, requester: Requester = ME, *, dies_at: int | None = None, reuse: Any = "run", **fields: Any
    ) -> Job:
        spec = JobSpec(model=MODEL, training_file=self.file, method=Supervised(n_epochs=2), seed=7, **fields)
        return self.driver.run(submit(account(), spec, requester=requester, reuse=reuse), dies_at=dies_at)


def account() -> Account:
    return Account(
        retry=Retry(attempts=3),
        service=TOGETHER.name,
        exchange=TOGETHER.exchange,
        files=TOGETHER.files,
        carrier=TOGETHER.carrier,
        offers=TOGETHER.offers,
        quote=TOGETHER.quote,
    )


@pytest.fixture
def place() -> Place:
    return Place()


def lost_before(error: Exception) -> Fault:
    def fault(_request: Any, _exchange: Any) -> Response:
        raise error

    return fault


FAULTS: dict[str, Callable[[], Fault | Response]] = {
    "never sent": lambda: lost_before(ConnectionFailed("refused")),
    "lost before": lambda: lost_before(ConnectionLost("gone")),
    "lost after": lambda: lost_after(ConnectionLost("gone")),
    "late": lambda: lost_after(RequestTimeout("late")),
    "truncated": lambda: lost_after(BadReply("half a reply")),
    "another reply": lambda: answered_after(reply({"odd": 1})),
    "503": lambda: BROKEN,
    "503 after": lambda: answered_after(BROKEN),
    "500 after": lambda: answered_after(reply({"error": {"message": "broken"}}, 500)),
    "429": lambda: BUSY,
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.parametrize("kind", ["POST /fine-tunes", "GET /fine-tunes", "GET /fine-tunes/models/limits"])
@pytest.mark.parametrize("times", [1, 2])
def test_whatever_breaks_there_is_one_job(kind, fault, times, place):
    place.driver.trouble = {kind: [fault() for _ in range(times)]}
    first = place.submit()
    assert [job["id"] for job in place.service.alive] == [first.id]
    assert place.submit().id == first.id
    assert len(place.service.jobs) == 1


def test_a_process_that_is_killed_at_any_moment_leaves_one_job():
    number = 0
    while True:
        number += 1
        place = Place()
        try:
            place.submit(dies_at=number)
        except Crashed:
            place.submit()
            assert len(place.service.jobs) == 1, number
        else:
            break
    assert number > 10


def test_two_intents_are_two_jobs_and_each_is_found_by_its_own_key(place):
    mine, other = place.submit(), place.submit(OTHER)
    assert mine.id != other.id
    assert (place.submit().id, place.submit(OTHER).id) == (mine.id, other.id)


def test_content_is_found_among_what_was_made_with_it(place):
    mine = place.submit(reuse="content")
    assert place.submit(OTHER, reuse="content").id == mine.id
    assert len(place.service.jobs) == 1


def test_the_key_stands_after_the_users_own_suffix(place):
    place.submit(suffix="u" * 23)
    (job,) = place.service.jobs
    assert len(job["suffix"]) == 40
    assert job["suffix"].startswith("u" * 23 + "-")


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("acme/Meta-Llama-3.1-8B-Instruct-Reference-mine-{}-0a1b2c3d", "mine"),
        ("acme/another-name-mine-{}-0a1b2c3d", None),
    ],
)
def test_a_job_that_is_read_alone_has_the_mark_in_the_name_of_its_model(name, suffix, place):
    made = place.submit(suffix="mine")
    key = made.metadata["tuneway_key"][:16]
    place.service.job(made.id)["model_output_name"] = name.format(key)
    job = place.driver.run(request(account(), calls.jobs.retrieve(made.id)))
    assert job.metadata == {"tuneway_key": key}
    assert job.suffix == suffix


@pytest.mark.parametrize("name", [None, "", "acme/own-name", "acme/Meta-Llama-3.1-8B-Instruct-Reference-0a1b2c3d"])
def test_a_name_without_a_mark_has_none(name, place):
    job = place.service.add_job(model_output_name=name)
    assert place.driver.run(request(account(), calls.jobs.retrieve(job["id"]))).suffix is None


def test_a_suffix_that_leaves_no_room_is_refused_and_nothing_is_cut(place):
    with pytest.raises(InvalidSpec, match="suffix"):
        place.submit(suffix="u" * 24)
    assert place.service.log == []


def test_a_job_that_the_list_shows_late_is_adopted(place):
    place.service.visible = lambda job: place.driver.now > 1_000_005.0
    place.driver.trouble = {"POST /fine-tunes": [lost_after(ConnectionLost("gone"))]}
    place.submit()
    assert len(place.service.jobs) == 1


def test_a_job_that_has_failed_is_made_again_and_a_model_is_used_again(place):
    first = place.submit()
    place.service.finish(first.id, "error")
    second = place.submit()
    assert second.id != first.id
    place.service.finish(second.id)
    third = place.submit()
    assert (third.id, third.fine_tuned_model) == (second.id, place.service.job(second.id)["model_output_name"])


def test_a_list_that_can_not_be_read_creates_nothing(place):
    place.driver.trouble = {"GET /fine-tunes": [reply({"data": None})] * 9}
    with pytest.raises(LookupFailed):
        place.submit()
    assert place.service.jobs == []


def test_of_two_that_raced_one_is_left(place):
    """The rival's create comes between our look and our create."""

    def raced(request: Any, exchange: Any) -> Response:
        body = request.json
        place.service.add_job(**body, created_at="1970-01-12T13:46:40.000Z")
        return exchange(request)

    place.driver.trouble = {"POST /fine-tunes": [raced]}
    survivor = place.submit()
    assert [job["id"] for job in place.service.alive] == [survivor.id]
    assert len(place.service.jobs) == 2


def test_a_create_that_arrives_twice_leaves_one_job_alive(place):
    """A proxy sends the request twice."""

    def twice(request: Any, exchange: Any) -> Response:
        exchange(request)
        return exchange(request)

    place.driver.trouble = {"POST /fine-tunes": [twice]}
    survivor = place.submit()
    assert len(place.service.jobs) == 2
    assert [job["id"] for job in place.service.alive] == [survivor.id]
    assert place.submit().id == survivor.id


def test_a_job_that_has_ended_is_given_as_it_is_when_it_is_cancelled(place):
    job = place.submit()
    place.service.finish(job.id)
    assert place.driver.run(cancel(account(), job.id)).status == "completed"


def test_a_job_that_is_being_cancelled_ends_before_the_next_one_is_created(place):
    first = place.submit()
    place.service.looks_until_cancelled = 3
    assert place.driver.run(cancel(account(), first.id)).ending
    second = place.submit()
    assert second.id != first.id
    assert [job["status"] for job in place.service.jobs] == ["cancelled", "pending"]


def test_nothing_is_created_beside_a_job_that_is_being_cancelled_for_ever(place):
    first = place.submit()
    place.service.looks_until_cancelled = 1_000_000
    place.driver.run(cancel(account(), first.id))
    with pytest.raises(LookupFailed, match="still being cancelled") as caught:
        place.submit()
    assert caught.value.retryable
    assert len(place.service.jobs) == 1


def test_a_job_that_succeeds_while_it_is_being_cancelled_is_adopted(place):
    first = place.submit()
    place.service.job(first.id)["status"] = "cancel_requested"
    place.service._waits[first.id] = 9
    place.driver.at[place.driver.now + 2] = lambda: place.service.finish(first.id)
    assert place.submit().id == first.id
    assert len(place.service.jobs) == 1


def test_a_job_that_is_deleted_while_it_is_being_cancelled_makes_room(place):
    first = place.submit()
    place.service.job(first.id)["status"] = "cancel_requested"
    place.service._waits[first.id] = 9
    place.driver.at[place.driver.now + 2] = place.service.jobs.clear
    assert place.submit().status == "pending"
    assert len(place.service.jobs) == 1


def test_a_job_that_can_not_be_read_while_it_is_being_cancelled_has_none_beside_it(place):
    first = place.submit()
    place.service.job(first.id)["status"] = "cancel_requested"
    place.driver.trouble = {f"GET /fine-tunes/{first.id}": [reply({"odd": 1})] * 9}
    with pytest.raises(LookupFailed, match=f"whether {first.id} has ended"):
        place.submit()
    assert len(place.service.jobs) == 1


def test_a_younger_job_lives_on_beside_an_older_one_that_is_being_cancelled(place):
    """What cancelled the older one doesn't know of the younger one."""
    first = place.submit()
    younger = place.service.add_job(
        **{name: place.service.job(first.id)[name] for name in ("suffix", "training_file")},
        status="running",
        created_at="1970-01-12T13:50:00.000Z",
    )
    place.service.job(first.id)["status"] = "cancel_requested"
    place.service._waits[first.id] = 1_000_000
    assert place.submit().id == younger["id"]
    assert younger["status"] == "running"
