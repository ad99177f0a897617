"""How a step is written once and has two forms.

A step is a generator that yields what it wants done, and is sent what came of it:

    job = yield AtService(settings, lambda client, tell: client.submit(...), hear)   # while others do, too
    yield Here(lambda: create_link_artifact(...))                                     # at Prefect's API

`both` makes two tasks of it, one that blocks and one to be awaited, with the same options and signature.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from prefect_tuneway import _room

if TYPE_CHECKING:
    from tuneway.progress import News

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AtService(Generic[T]):
    """Something done at the service that the settings name; `hear` is called with batches of news."""

    settings: Mapping[str, Any]
    service: _room.Service[T]
    hear: Callable[[list[News]], object]

    def do(self) -> T:
        """Do it, blocking."""
        return _room.serve(self.settings, self.service, self.hear)

    async def ado(self) -> T:
        """Do it."""
        return await _room.aserve(self.settings, self.service, self.hear)


@dataclass(frozen=True, slots=True)
class Here(Generic[T]):
    """Something that blocks for a moment, done on this side."""

    work: Callable[[], T]

    def do(self) -> T:
        """Do it, blocking."""
        return self.work()

    async def ado(self) -> T:
        """Do it in a thread."""
        return await asyncio.to_thread(self.work)


Step = Generator[AtService[Any] | Here[Any], Any, T]


def run(step: Step[T]) -> T:
    """Do a step, blocking."""
    value, error = None, None
    with closing(step):  # given up, it leaves now, and not when it is collected one day
        while True:
            try:
                wanted = step.throw(error) if error else step.send(value)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            try:
                value, error = wanted.do(), None
            except Exception as failure:  # noqa: BLE001 - the step's to handle
                value, error = None, failure


async def arun(step: Step[T]) -> T:
    """Do a step."""
    value, error = None, None
    with closing(step):
        while True:
            try:
                wanted = step.throw(error) if error else step.send(value)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            try:
                value, error = await wanted.ado(), None
            except Exception as failure:  # noqa: BLE001 - the step's to handle
                value, error = None, failure


def worth_retrying(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001
    """Whether doing a step again can cure what went wrong: for a task's `retry_condition_fn`.

    What isn't an error of ours is tried again, as Prefect would. A wait whose time is up isn't: its deadline
    holds over all its tries.
    """
    from tuneway.errors import TunewayError, WaitTimeout

    error = state.data
    if isinstance(error, WaitTimeout):
        return False
    return error.retryable if isinstance(error, TunewayError) else True


def both(
    step: Callable[P, Step[T]], *, tags: tuple[str, ...] = (), retries: int = 3
) -> tuple[Task[P, T], Task[P, Coroutine[Any, Any, T]]]:
    """Two tasks of one step: `name`, which blocks, and `aname`, to be awaited.

    Nothing is cached: each step finds what it has done before, and credentials are no part of any key.
    """

    @functools.wraps(step)
    def blocking(*args: P.args, **kwargs: P.kwargs) -> T:
        return run(step(*args, **kwargs))

    @functools.wraps(step)
    async def awaited(*args: P.args, **kwargs: P.kwargs) -> T:
        return await arun(step(*args, **kwargs))

    awaited.__name__ = awaited.__qualname__ = f"a{step.__name__}"
    awaited.__doc__ = f"{step.__doc__}\n\nThis form is awaited."
    options: dict[str, Any] = {
        "name": step.__name__,  # the same for both: it is part of a job's key
        "description": (step.__doc__ or "").partition("\n")[0],
        "tags": {"tuneway", *tags},
        "cache_policy": NO_CACHE,
        "retries": retries,
        "retry_delay_seconds": [5, 30, 120],
        "retry_jitter_factor": 0.5,
        "retry_condition_fn": worth_retrying,
    }
    return task(**options)(blocking), task(**options)(awaited)
