"""What tests of flows start from."""

from __future__ import annotations

import pytest
from support.fake_service import FakeService
from support.named_service import NamedService
from support.stage import TRAIN, Stage
from support.virtual_driver import VirtualDriver

from tuneway.flows import Account, Named, Retry


@pytest.fixture
def service() -> FakeService:
    service = FakeService()
    service.add_file(filename=TRAIN)
    return service


@pytest.fixture
def stage(service: FakeService) -> Stage:
    return Stage(service, VirtualDriver(service))


@pytest.fixture
def named_stage() -> Stage:
    """A stage with a service where the client chooses the names of jobs."""
    service = NamedService()
    service.add_file(filename=TRAIN)
    account = Account(carrier=Named(kinds={"dpo": "dpoJobs/"}), retry=Retry(first=0.5, attempts=3))
    return Stage(service, VirtualDriver(service), account)
