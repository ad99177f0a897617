"""One look at many jobs: what it gives for each, and how few requests it takes."""

from __future__ import annotations

import pytest
from support.fault_server import answer

from tuneway import Job, JobCancelled, JobFailed, WaitTimeout, WaitToken
from tuneway.errors import InvalidSpec, NotFound, RequestTimeout, ServerError, Unauthorized

LONG_AGO = 1_000_000_000.0


def test_a_look_gives_each_job_as_it_is_or_why_it_has_no_model(connect, server):
    for _ in range(4):
        server.service.add_job()
    server.service.finish("ftjob-2", "succeeded")
    server.service.finish("ftjob-3", "failed", error={"code": "bad", "message": "line 7 is odd"})
    server.service.finish("ftjob-4", "cancelled")

    with connect(base_url=server.base_url) as client:
        running, done, failed, cancelled = client.look(["ftjob-1", "ftjob-2", "ftjob-3", "ftjob-4"])

    assert isinstance(running, Job)
    assert not running.done
    assert done.fine_tuned_model == "ft:base:org::ftjob-2"
    assert isinstance(failed, JobFailed)
    assert "line 7 is odd" in str(failed)
    assert isinstance(cancelled, JobCancelled)


def test_a_look_keeps_the_order_it_was_asked_in_and_gives_a_job_asked_twice_twice(connect, server):
    for _ in range(3):
        server.service.add_job()

    with connect(base_url=server.base_url) as client:
        seen = client.look(["ftjob-2", WaitToken(job_id="ftjob-3"), "ftjob-2"])

    assert [job.id for job in seen] == ["ftjob-2", "ftjob-3", "ftjob-2"]


def test_a_look_at_250_jobs_takes_three_requests(connect, server):
    for _ in range(250):
        server.service.add_job()

    with connect(base_url=server.base_url) as client:
        seen = client.look([f"ftjob-{number}" for number in range(1, 251)])

    assert len(seen) == 250
    assert len(server.arrived) == 3


def test_a_look_heeds_the_deadline_of_a_token_unless_the_job_has_ended(connect, server):
    for _ in range(2):
        server.service.add_job()
    server.service.finish("ftjob-2", "succeeded")

    with connect(base_url=server.base_url) as client:
        late, done = client.look([WaitToken(job_id=job, deadline=LONG_AGO) for job in ("ftjob-1", "ftjob-2")])

    assert isinstance(late, WaitTimeout)
    assert done.fine_tuned_model


def test_a_job_that_cannot_be_seen_says_nothing_of_the_others(connect, server):
    server.service.add_job()

    with connect(base_url=server.base_url) as client:
        there, gone = client.look(["ftjob-1", "ftjob-99"])

    assert there.id == "ftjob-1"
    assert isinstance(gone, NotFound)
    assert gone.job_id == "ftjob-99"


@pytest.mark.parametrize(("status", "error"), [(503, ServerError), (401, Unauthorized)])
def test_a_look_at_a_service_that_refuses_gives_its_refusal_and_does_not_ask_again(connect, server, status, error):
    server.service.add_job()
    server.fault(answer({"error": {"message": "no"}}, status), "GET", times=9)

    with connect(base_url=server.base_url) as client:
        (seen,) = client.look(["ftjob-1"])

    assert isinstance(seen, error)
    assert len(server.arrived) == 1


def test_a_look_at_nothing_asks_nothing(connect, server):
    with connect(base_url=server.base_url) as client:
        assert client.look([]) == []
        with pytest.raises(InvalidSpec):
            client.look([7])
    assert not server.arrived


def test_a_look_ends_in_time_where_jobs_have_to_be_asked_for_one_by_one(connect, server):
    for _ in range(3):
        server.service.add_job()
    jobs = [f"ftjob-{number}" for number in (1, 2, 3)]

    with connect(base_url=server.base_url) as client:
        server.fault(answer({"error": {"message": "no lists here"}}, 405), "GET", "/fine_tuning/jobs", times=9)
        seen = client.look(jobs, timeout=0)

    assert [type(one) for one in seen] == [RequestTimeout] * 3
    assert [one.job_id for one in seen] == jobs
    assert len(server.arrived) == 1, "only the list was tried"
