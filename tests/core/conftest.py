"""What tests of clients share: a real server, and both clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.both_clients import connect
from support.fault_server import FaultServer

__all__ = ["connect"]


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A service that does what a test tells it."""
    with FaultServer() as server:
        yield server
