"""One test for both clients: the asyncio client behind a blocking face, so that a test is written once.

def test_something(connect):            # runs twice
    with connect(base_url=...) as client:
        client.jobs.retrieve("ftjob-1")
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from tuneway import AsyncClient, Client

Connect = Callable[..., AbstractContextManager[Any]]


class Blocking:
    """An asyncio client, or a part of it, whose calls block."""

    def __init__(self, inner: object, runner: asyncio.Runner) -> None:
        self._inner = inner
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if type(value).__module__.startswith("tuneway.client"):
            return Blocking(value, self._runner)
        if not callable(value):
            return value
        return lambda *args, **kwargs: self._settle(lambda: value(*args, **kwargs))

    def __repr__(self) -> str:
        return repr(self._inner)

    def _settle(self, call: Callable[[], Any]) -> Any:
        async def settled() -> Any:
            value = call()  # on the loop, as users do
            return await value if inspect.isawaitable(value) else value

        value = self._runner.run(settled())
        return self._iterate(value) if inspect.isasyncgen(value) else value

    def _iterate(self, items: Any) -> Iterator[Any]:
        async def step() -> Any:
            return await anext(items)

        try:
            while True:
                try:
                    item = self._runner.run(step())
                except StopAsyncIteration:
                    return
                yield item
        finally:
            self._runner.run(items.aclose())


@contextmanager
def blocking(**options: Any) -> Iterator[Blocking]:
    """An asyncio client with a loop of its own."""
    with asyncio.Runner() as runner:

        async def make() -> AsyncClient:
            return AsyncClient(**options)

        client = runner.run(make())
        try:
            yield Blocking(client, runner)
        finally:
            runner.run(client.aclose())


@pytest.fixture(params=[Client, blocking], ids=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Makes a client: the blocking one, then the other."""
    return request.param  # type: ignore[no-any-return]
