"""What a runner is told to run, and what it says of it: plain data that goes through a pipe.

A runner is a process of its own that reads orders, one a line, and answers each with an outcome. Killed in
the middle of one, it leaves what the engine leaves; a new one that gets the same order is the engine's retry.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, TextIO


@dataclass(frozen=True, kw_only=True)
class Order:
    """One run of validate → upload → create → wait → register.

    `pipeline` and `run` say who asks: the same two are the same run again, in each engine's own terms. `form` is
    "steps", where each step is one of the runner's own and takes the output of the one before, or "one", where the
    runner's one-step form does it all. A run that is `stoppable` waits where a signal reaches it, and cancels its job
    when a person stops it.
    """

    pipeline: str
    base_url: str
    registry: str
    train: str
    valid: str | None = None
    run: int = 1
    form: str = "steps"
    stoppable: bool = False
    model: str = "gpt-4o-mini"
    name: str = "support-router"
    alias: str | None = "champion"
    n_epochs: int = 1
    seed: int = 7
    suffix: str = "parity"
    metadata: dict[str, str] = field(default_factory=lambda: {"team": "support"})
    reuse: str = "run"
    timeout: float = 120.0
    checkpoint: str = "last"
    settle: float = 0.3  # a service on this machine shows at once what was sent to it
    gate: tuple[str, float] | None = None  # a metric, and the most that it may be
    dialect: str | None = None  # of the service, where it isn't OpenAI's

    @property
    def spec(self) -> dict[str, Any]:
        """The job's fields, but for its files."""
        fields = {
            "model": self.model,
            "method": {"type": "supervised", "n_epochs": self.n_epochs},
            "seed": self.seed,
            "suffix": self.suffix,
        }
        return fields | ({"metadata": self.metadata} if self.metadata else {})

    @property
    def service(self) -> dict[str, Any]:
        """The arguments of a client."""
        dialect = {"dialect": self.dialect} if self.dialect else {}
        return {"base_url": self.base_url, "settle": self.settle, **dialect}

    @property
    def gates(self) -> list[Any]:
        """The gates, as the registry has them."""
        from tuneway.registry import Gate

        return [Gate(self.gate[0], max=self.gate[1])] if self.gate else []


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended, as its user sees it.

    `ref` is the registered version; `error` the text of the error; `final` says that the engine won't try
    again by itself, however many retries it is given.
    """

    ended: str  # succeeded, failed, gone
    ref: str | None = None
    error: str | None = None
    final: bool | None = None


GONE = Outcome(ended="gone")


def serve(run: Callable[[Order], Outcome], *, prepare: Callable[[], object] = bool) -> None:
    """Answer orders until there are no more. What an engine prints doesn't get between the answers."""
    orders, answers = _own_streams()
    prepare()
    for line in orders:
        answers.write(json.dumps(asdict(run(read(line)))) + "\n")
        answers.flush()


def read(text: str) -> Order:
    """An order, from JSON."""
    order = json.loads(text)
    gate = order.pop("gate")
    return Order(**order, gate=gate and tuple(gate))


def _own_streams() -> tuple[TextIO, TextIO]:
    orders, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return orders, answers
