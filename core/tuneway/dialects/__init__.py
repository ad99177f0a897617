"""Dialects: how each service differs from OpenAI's wire.

To add a service, write a module with a `Dialect` and put it into `DIALECTS` before OpenAI's, which matches every
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
    translated,
)
from tuneway.dialects.azure import AZURE, AZURE_DATED
from tuneway.dialects.openai import OPENAI

DIALECTS: tuple[Dialect, ...] = (AZURE_DATED, AZURE, OPENAI)

__all__ = [
    "AZURE",
    "AZURE_DATED",
    "DIALECTS",
    "OPENAI",
    "Dialect",
    "Exchange",
    "ServiceOption",
    "bearer",
    "guess",
    "is_local",
    "json_reply",
    "named",
    "translated",
]
