"""How a step is written once and runs in two forms, one that blocks and one that is awaited.

A step is a generator. It yields what it wants done, and is sent the result:

    job = yield AtService(settings, lambda client, tell: client.submit(...), hear)   # a request to the service
    yield Here(lambda: create_link_artifact(...))                                     # blocking work on this side
    done = yield TaskCall(WAIT, {"job": job})                                             # another task

`run` and `arun` do that work. A task is declared as an ordinary function with its real signature:

    @blocking()
    def cancel_job(job: str) -> dict[str, Any]:
        return result_of(_cancel(job))                                                # the generator

    acancel_job = awaited(cancel_job)
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from inspect import unwrap
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

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
    """A request to the service that the settings name; `hear` is called with batches of news."""

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
    """Work on this side that blocks for a moment."""

    work: Callable[[], T]

    def do(self) -> T:
        """Do it, blocking."""
        return self.work()

    async def ado(self) -> T:
        """Do it in a thread."""
        return await asyncio.to_thread(self.work)


@dataclass(frozen=True, slots=True)
class TaskCall(Generic[T]):
    """The call of a task that has two forms."""

    forms: tuple[Task[..., T], Task[..., Coroutine[Any, Any, T]]]
    arguments: Mapping[str, Any]

    def do(self) -> T:
        """Call the form that blocks."""
        return cast("T", self.forms[0](**self.arguments))

    async def ado(self) -> T:
        """Call the form that is awaited."""
        return cast("T", await self.forms[1](**self.arguments))


Step = Generator[AtService[Any] | Here[Any] | TaskCall[Any], Any, T]


def run(step: Step[T]) -> T:
    """Run a step, blocking."""
    value, error = None, None
    with closing(step):  # a step that is given up runs its `finally` now, not when it is garbage
        while True:
            try:
                wanted = step.throw(error) if error else step.send(value)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            try:
                value, error = wanted.do(), None
            except Exception as failure:  # noqa: BLE001 - the step handles it
                value, error = None, failure


async def arun(step: Step[T]) -> T:
    """Run a step."""
    value, error = None, None
    with closing(step):
        while True:
            try:
                wanted = step.throw(error) if error else step.send(value)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            try:
                value, error = await wanted.ado(), None
            except Exception as failure:  # noqa: BLE001 - the step handles it
                value, error = None, failure


def result_of(step: Step[T]) -> T:
    """Hand a step to `blocking` and `awaited`, under the type of its result.

    The function that declares a task returns the step itself; each form of the task runs it in its own way.
    """
    return cast("T", step)


def worth_retrying(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001
    """Whether another try of a task can succeed: for a task's `retry_condition_fn`.

    An error that isn't Tuneway's is retried, as Prefect does by itself. A wait that ran out of time isn't: its
    deadline holds over all tries.
    """
    from tuneway.errors import TunewayError, WaitTimeout

    error = state.data
    if isinstance(error, WaitTimeout):
        return False
    return error.retryable if isinstance(error, TunewayError) else True


def blocking(*, retries: int = 3) -> Callable[[Callable[P, T]], Task[P, T]]:
    """Make a task of a function that returns `result_of` a step; the task blocks.

    Nothing is cached: each step finds what it did before, and credentials are part of no cache key.
    """

    def decorate(function: Callable[P, T]) -> Task[P, T]:
        @functools.wraps(function)
        def form(*args: P.args, **kwargs: P.kwargs) -> T:
            return run(cast("Step[T]", function(*args, **kwargs)))

        return task(**_options(function, retries))(form)

    return decorate


def awaited(blocks: Task[P, T]) -> Task[P, Coroutine[Any, Any, T]]:
    """The form to be awaited of a task that `blocking` made; its name begins with `a`."""
    function = cast("Callable[P, T]", unwrap(blocks.fn))

    @functools.wraps(blocks.fn)
    async def form(*args: P.args, **kwargs: P.kwargs) -> T:
        return await arun(cast("Step[T]", function(*args, **kwargs)))

    form.__name__ = form.__qualname__ = f"a{function.__name__}"
    form.__doc__ = f"{blocks.fn.__doc__}\n\nThis form is awaited."
    form.__wrapped__ = function  # not the other form
    return task(**_options(function, blocks.retries))(form)


def _options(function: Callable[..., Any], retries: int) -> dict[str, Any]:
    return {
        "name": function.__name__,  # the same for both forms: it is part of a job's key
        "description": (function.__doc__ or "").partition("\n")[0],
        "tags": {"tuneway"},
        "cache_policy": NO_CACHE,
        "retries": retries,
        "retry_delay_seconds": [5, 30, 120],
        "retry_jitter_factor": 0.5,
        "retry_condition_fn": worth_retrying,
    }
