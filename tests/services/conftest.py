"""What the tests beside other services' own clients share: a real server, and no account of anybody."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from support.fault_server import FaultServer

ACCOUNTS = ("TOGETHER_", "FIREWORKS_", "NEBIUS_", "WANDB_", "AZURE_")


@pytest.fixture(autouse=True)
def _no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key and no address from the environment."""
    for name in list(os.environ):
        if name.startswith(ACCOUNTS):
            monkeypatch.delenv(name)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A service that does what a test tells it."""
    with FaultServer() as server:
        yield server
