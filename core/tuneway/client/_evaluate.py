"""Evaluating a model: several of these flows at once ask the questions of one evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuneway import flows
from tuneway.errors import TunewayError
from tuneway.flows import Account, Flow

if TYPE_CHECKING:
    from tuneway.registry.evaluate import EvaluationRun


def ask_what_is_left(account: Account, run: EvaluationRun) -> Flow[None]:
    """Ask one question after another until none is left."""
    for call in run:
        try:
            answer = yield from flows.ask(account, call.model, call.question.messages, {})
        except TunewayError as error:
            run.failed(call, error)
            raise
        yield from flows.notify(run.answered(call, answer))
