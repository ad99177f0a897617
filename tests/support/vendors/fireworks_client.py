"""Serve the imitated Fireworks and open Tuneway's client for it; typical specifications and rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.fault_server import FaultServer
from support.vendors.fireworks import ACCOUNT, ROOT, SUPERVISED, Fireworks

from tuneway import Client, JobSpec, Requester, Supervised
from tuneway.flows import Poll, Retry

KEY = "fw-a-key-that-opens-doors"
SPEC = JobSpec(model="llama", training_file="ds-1", method=Supervised(n_epochs=3))
NIGHTLY = Requester(pipeline="nightly", run="2026-11-30", step="train")
JOBS = f"{ROOT}/{SUPERVISED}"
ROWS = '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}\n'


@contextmanager
def serving() -> Iterator[FaultServer]:
    """Fireworks, with two datasets."""
    with FaultServer(Fireworks(), prefix="") as server:
        server.service.add_dataset("ds-1")
        server.service.add_dataset("ds-2")
        yield server


def open_client(server: FaultServer, **options: Any) -> Client:
    """A client that doesn't wait long for anything."""
    quick: dict[str, Any] = {
        "poll": Poll(minimum=0.001, maximum=0.002), "settle": 0.1, "retry": Retry(first=0.001), "timeout": 2.0,
    }  # fmt: skip
    return Client(
        base_url=server.base_url, api_key=KEY, dialect="fireworks", service_options={"account": ACCOUNT},
        **quick | options,
    )  # fmt: skip
