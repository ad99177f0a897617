"""Lists, page by page, whatever the service leaves out."""

from __future__ import annotations

from typing import Any

import pytest
from support.fake_service import FakeService, refuse, reply
from support.virtual_driver import VirtualDriver

from tuneway import calls
from tuneway.errors import ServerError
from tuneway.flows import Account, Flow, Pager
from tuneway.models import Job, Page


def read(pager: Pager[Job]) -> Flow[list[str]]:
    found: list[str] = []
    while not pager.done:
        found += [job.id for job in (yield from pager.next())]
    return found


def pager(**options: Any) -> Pager[Job]:
    return Pager(Account(), lambda after: calls.jobs.listing(after=after, limit=2), **options)


def noting_cursors() -> tuple[list[str | None], Pager[Job]]:
    """A pager, and the cursors that it has sent."""
    sent: list[str | None] = []

    def page(after: str | None) -> calls.Call[Page[Job]]:
        sent.append(after)
        return calls.jobs.listing(after=after)

    return sent, Pager(Account(), page)


@pytest.fixture
def service() -> FakeService:
    service = FakeService()
    for _ in range(5):
        service.add_job()
    return service


NEWEST_FIRST = ["ftjob-5", "ftjob-4", "ftjob-3", "ftjob-2", "ftjob-1"]


def test_pages_follow_each_other_until_the_service_says_no_more(service):
    assert VirtualDriver(service).run(read(pager())) == NEWEST_FIRST
    assert [dict(request.query).get("after") for request in service.log] == [None, "ftjob-4", "ftjob-2"]


def test_without_has_more_a_list_is_read_until_a_page_is_empty(service):
    service.tells_has_more = False
    assert VirtualDriver(service).run(read(pager())) == NEWEST_FIRST
    assert len(service.log) == 4


def test_an_empty_list_is_one_page(service):
    service.jobs.clear()
    assert VirtualDriver(service).run(read(pager())) == []
    assert len(service.log) == 1


def test_a_service_that_ignores_the_cursor_is_read_once(service):
    everything = reply({"data": [{"id": name, "status": "running"} for name in NEWEST_FIRST]})
    pages = pager()
    assert VirtualDriver(service, [everything] * 9).run(read(pages)) == NEWEST_FIRST
    assert pages.pages == 2
    assert not pages.stuck


def test_a_service_that_ignores_the_cursor_and_says_that_there_is_more_leaves_the_pager_stuck(service):
    everything = reply({"data": [{"id": name, "status": "running"} for name in NEWEST_FIRST], "has_more": True})
    pages = pager()
    assert VirtualDriver(service, [everything] * 9).run(read(pages)) == NEWEST_FIRST
    assert pages.stuck


def test_an_item_that_slid_onto_the_next_page_is_given_once(service):
    jobs = [{"id": name, "status": "running"} for name in ("ftjob-3", "ftjob-2", "ftjob-1")]
    pages = [reply({"data": jobs[:2], "has_more": True}), reply({"data": jobs[1:], "has_more": False})]
    assert VirtualDriver(service, pages).run(read(pager())) == ["ftjob-3", "ftjob-2", "ftjob-1"]


def test_a_page_that_fails_is_asked_for_again(service):
    assert VirtualDriver(service, [None, refuse(503, "in trouble")]).run(read(pager())) == NEWEST_FIRST


def test_a_pager_that_is_not_persistent_asks_once(service):
    with pytest.raises(ServerError):
        VirtualDriver(service, [None, refuse(503, "in trouble")]).run(read(pager(persistent=False)))


def test_a_cursor_that_a_page_carries_is_used_instead_of_the_last_id(service):
    jobs = [{"id": name, "status": "running"} for name in NEWEST_FIRST]
    pages = [
        reply({"data": jobs[:2], "has_more": True, "last_id": "cursor-2"}),
        reply({"data": jobs[2:4], "nextPageToken": "token-4"}),
        reply({"data": [], "next_page_token": "token-5"}),  # a page of a filtered list
        reply({"data": jobs[4:], "nextPageToken": ""}),
    ]
    sent, pages_of = noting_cursors()
    assert VirtualDriver(service, pages).run(read(pages_of)) == NEWEST_FIRST
    assert sent == [None, "cursor-2", "token-4", "token-5"]


@pytest.mark.parametrize("carried", [{"nextPageToken": "same"}, {"last_id": "same", "has_more": True}])
def test_a_cursor_that_stays_the_same_leaves_the_pager_stuck(service, carried):
    page = reply({"data": [{"id": "ftjob-1", "status": "running"}], **carried})
    pages = pager()
    assert VirtualDriver(service, [page] * 9).run(read(pages)) == ["ftjob-1"]
    assert (pages.pages, pages.stuck) == (2, True)


@pytest.mark.parametrize("carried", [{"last_id": ""}, {"last_id": None}, {"nextPageToken": None}, {"last_id": 7}])
def test_a_cursor_that_is_none_is_the_last_items_id(service, carried):
    jobs = [{"id": name, "status": "running"} for name in NEWEST_FIRST[:2]]
    pages = [reply({"data": jobs, "has_more": True, **carried}), reply({"data": [], "has_more": False})]
    sent, pages_of = noting_cursors()
    VirtualDriver(service, pages).run(read(pages_of))
    assert sent == [None, "ftjob-4"]
