"""The second host of a vendor, to which the bytes of uploads go, behind a socket of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.fault_server import FaultServer


@contextmanager
def storage_of(service: Any) -> Iterator[FaultServer]:
    """Serve the storage of a service, and tell the service its address."""
    with FaultServer(service.storage, prefix="") as server:
        service.storage.address = server.origin
        yield server
