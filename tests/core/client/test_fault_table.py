"""One paid job at every service, whatever happens to the create: dropped, late, truncated, refused, killed, twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support.vendors.table import FAULTS, VENDORS, serving

from tuneway import Client, Job, Requester
from tuneway.flows import Retry
from tuneway.progress import CreatePlanned, JobCreated

ME = Requester(pipeline="nightly", run="2026-11-30", step="train")
QUICK: dict[str, Any] = {"settle": 0.1, "retry": Retry(first=0.001), "timeout": 10.0}


class Killed(BaseException):
    """The process ends."""


# all of them have tables in virtual time as well
pytestmark = pytest.mark.slow


@pytest.fixture(params=VENDORS)
def vendor(request):
    with serving(request.param) as found:
        yield found


def alive(server) -> int:
    return len(server.service.alive)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_create_with_a_fault_leaves_one_job(fault, vendor):
    vendor, server, options = vendor
    server.fault(FAULTS[fault](), "POST", vendor.creates)
    timeout = {"timeout": 0.5} if fault == "late" else {}
    with Client(**options, **QUICK | timeout) as client:
        job = client.submit(vendor.spec, requester=ME)
    with Client(**options, **QUICK) as another:
        assert another.submit(vendor.spec, requester=ME).id == job.id
    assert alive(server) == 1


@pytest.mark.parametrize("moment", [CreatePlanned, JobCreated])
def test_a_process_that_is_killed_leaves_one_job_to_the_next(moment, vendor):
    vendor, server, options = vendor

    def kill(news: object) -> None:
        if isinstance(news, moment):
            raise Killed

    with Client(**options, **QUICK) as client, pytest.raises(Killed):
        client.submit(vendor.spec, requester=ME, on_event=kill)
    with Client(**options, **QUICK) as client:
        client.submit(vendor.spec, requester=ME)
    assert alive(server) == 1


def test_several_processes_at_once_leave_one_job(vendor):
    vendor, server, options = vendor

    def submit(_: int) -> Job:
        with Client(**options, **QUICK) as client:
            return client.submit(vendor.spec, requester=ME)

    with ThreadPoolExecutor(3) as pool:
        jobs = list(pool.map(submit, range(3)))
    assert len({job.id for job in jobs}) == alive(server) == 1
