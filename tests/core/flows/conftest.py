"""What tests of flows start from."""

from __future__ import annotations

import pytest
from support.fake_service import FakeService
from support.stage import TRAIN, Stage
from support.virtual_driver import VirtualDriver


@pytest.fixture
def service() -> FakeService:
    service = FakeService()
    service.add_file(filename=TRAIN)
    return service


@pytest.fixture
def stage(service: FakeService) -> Stage:
    return Stage(service, VirtualDriver(service))
