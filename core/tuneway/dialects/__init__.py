"""Dialects: how each service differs from OpenAI's wire.

To add a service, write a module with a `Dialect` and put it into `DIALECTS` before OpenAI's, which match every
address.
"""

from tuneway.dialects._base import (
    Dialect,
    Exchange,
    ServiceOption,
    bearer,
    guess,
    is_local,
    json_reply,
    named,
    reason,
    translated,
)
from tuneway.dialects.azure import AZURE, AZURE_DATED
from tuneway.dialects.fireworks import FIREWORKS
from tuneway.dialects.nebius import NEBIUS
from tuneway.dialects.openai import OPENAI, OPENAI_WIRE
from tuneway.dialects.together import TOGETHER

DIALECTS: tuple[Dialect, ...] = (AZURE_DATED, AZURE, FIREWORKS, NEBIUS, TOGETHER, OPENAI, OPENAI_WIRE)

__all__ = [
    "AZURE",
    "AZURE_DATED",
    "DIALECTS",
    "FIREWORKS",
    "NEBIUS",
    "OPENAI",
    "OPENAI_WIRE",
    "TOGETHER",
    "Dialect",
    "Exchange",
    "ServiceOption",
    "bearer",
    "guess",
    "is_local",
    "json_reply",
    "named",
    "reason",
    "translated",
]
