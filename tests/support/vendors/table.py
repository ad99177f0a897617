"""Every service with a dialect of its own, over a real socket, and what may happen to a create there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from support.fake_service import FakeService
from support.fault_server import Fault, FaultServer, Line, answer, cut, drop_after, drop_before, late, reset_after
from support.vendors.fireworks import ACCOUNT, ROOT, SUPERVISED, Fireworks
from support.vendors.nebius import Nebius
from support.vendors.together import MODEL, FakeTogether

from tuneway import JobSpec, Supervised

TROUBLE = {"error": {"message": "in trouble"}}


async def act_twice(line: Line) -> None:
    """Something between the client and the service sends the request again; the second answer is heard."""
    line.act()
    await line.write(line.act())


FAULTS: dict[str, Callable[[], Fault]] = {
    "twice": lambda: Fault(act_twice, stays=True),
    "dropped before": drop_before,
    "dropped after": drop_after,
    "reset after": reset_after,
    "late": lambda: late(2.0),
    "truncated": lambda: cut(60),
    "503 before": lambda: answer(TROUBLE, 503),
    "503 after": lambda: answer(TROUBLE, 503, acts=True),
    "500 before": lambda: answer(TROUBLE, 500),
    "429": lambda: answer(TROUBLE, 429, retry_after="0"),
    "a page": lambda: answer(b"<html>Sign in</html>", kind="text/html"),
}
"""What may happen to a create, instead of an honest exchange."""


@dataclass(frozen=True, kw_only=True)
class Vendor:
    """A service in memory, and how a client is told of it.

    Args:
        make: Makes it, with a file to train on.
        creates: The path to which a create is sent.
        prefix: What all paths begin with.
        options: Further arguments of a client.
        fields: What to train on there.
    """

    make: Callable[[], Any]
    creates: str = "/fine_tuning/jobs"
    prefix: str = "/v1"
    options: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=lambda: {"model": "base", "training_file": "file-1"})

    @property
    def spec(self) -> JobSpec:
        """What to train."""
        return JobSpec(**self.fields, method=Supervised(n_epochs=2))


def with_file(service: Any) -> Any:
    """A service with a file to train on."""
    service.add_file(id="file-1")
    return service


def with_dataset() -> Fireworks:
    """Fireworks with a dataset."""
    service = Fireworks()
    service.add_dataset("ds-1")
    return service


VENDORS = {
    "openai": Vendor(make=lambda: with_file(FakeService())),
    "azure": Vendor(make=lambda: with_file(FakeService()), prefix="/openai/v1"),
    "a gateway that drops metadata": Vendor(
        make=lambda: with_file(FakeService(keeps_metadata=False)),
        options={"dialect": "openai", "service_options": {"mark": "suffix"}},
    ),
    "nebius": Vendor(make=lambda: with_file(Nebius())),
    "together": Vendor(
        make=lambda: with_file(FakeTogether()),
        creates="/fine-tunes",
        fields={"model": MODEL, "training_file": "file-1"},
    ),
    "fireworks": Vendor(
        make=with_dataset,
        creates=f"{ROOT}/{SUPERVISED}",
        prefix="",
        options={"service_options": {"account": ACCOUNT}},
        fields={"model": "llama", "training_file": "ds-1"},
    ),
}
"""By dialect, unless the options name another."""


@contextmanager
def serving(name: str) -> Iterator[tuple[Vendor, FaultServer, dict[str, Any]]]:
    """A service, its server, and the arguments of a client."""
    vendor = VENDORS[name]
    with FaultServer(vendor.make(), prefix=vendor.prefix) as server:
        yield vendor, server, {"base_url": server.base_url, "api_key": "a-key", "dialect": name} | vendor.options
