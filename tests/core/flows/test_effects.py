"""Effects: what a flow asks its driver for."""

from __future__ import annotations

from support.fake_service import FakeService
from support.virtual_driver import VirtualDriver

from tuneway.flows import work


def test_blocking_work_is_done_by_the_driver_and_its_result_comes_back():
    assert VirtualDriver(FakeService()).run(work(callable)) is True
