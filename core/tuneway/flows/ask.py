"""Ask a model for its most likely answer, so that the same question gets the same answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tuneway import calls
from tuneway.errors import BadRequest, Unprocessable
from tuneway.flows._account import Account
from tuneway.flows._effects import Flow
from tuneway.flows._request import request


def ask(account: Account, model: str, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> Flow[str]:
    """Ask by chat completion, at temperature 0 unless the options have one.

    A service's own default is usually 1. Reasoning models refuse the option: they are asked again without it.
    """
    if "temperature" not in options:
        try:
            return (yield from request(account, calls.models.chat(model, messages, temperature=0, **options)))
        except (BadRequest, Unprocessable) as error:
            if error.param != "temperature":
                raise
    return (yield from request(account, calls.models.chat(model, messages, **options)))
