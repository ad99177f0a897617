"""Does several things at the same time, up to a number."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio

T = TypeVar("T")


async def together(works: Sequence[Callable[[], Awaitable[T]]], most: int) -> list[T]:
    """The results in order. The first failure stops the others, and is raised as it is."""
    found: dict[int, T] = {}
    failures: list[Exception] = []
    turn = anyio.Semaphore(most)

    async def one(number: int, work: Callable[[], Awaitable[T]]) -> None:
        async with turn:
            try:
                found[number] = await work()
            except Exception as error:  # noqa: BLE001 - a group would wrap it
                failures.append(error)
                group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for number, work in enumerate(works):
            group.start_soon(one, number, work)
    if failures:
        raise failures[0]
    return [found[number] for number in range(len(works))]
