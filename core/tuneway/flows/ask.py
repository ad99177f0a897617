"""Ask a model for its most likely answer, so that the same question gets the same answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tuneway import calls
from tuneway.errors import BadRequest, NotFound, Unprocessable
from tuneway.flows._account import Account
from tuneway.flows._effects import Flow
from tuneway.flows._request import request


def ask(account: Account, model: str, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> Flow[str]:
    """Ask by chat completion, at temperature 0 unless the options have one.

    A service's own default is usually 1. Reasoning models refuse the option: they are asked again without it. Where a
    tuned model answers only after it was deployed, a refusal says so.
    """
    try:
        return (yield from _ask(account, model, messages, options))
    except (BadRequest, NotFound, Unprocessable) as error:
        if account.offers.chat == "after deploying":
            error.hint = (
                f"{account.service} answers for a tuned model only after you have deployed it there; then ask for the "
                "name that the service gives the deployment."
            )
        raise


def _ask(account: Account, model: str, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> Flow[str]:
    if "temperature" not in options:
        try:
            return (yield from request(account, calls.models.chat(model, messages, temperature=0, **options)))
        except (BadRequest, Unprocessable) as error:
            if error.param != "temperature":
                raise
    return (yield from request(account, calls.models.chat(model, messages, **options)))
