"""How services differ on the wire, as one small table each.

A further service is a further module with a `Dialect` in it, added to `DIALECTS` ahead of OpenAI's, which
matches everything.
"""

from tuneway.dialects._base import Dialect, guess, named
from tuneway.dialects.azure import AZURE, AZURE_DATED
from tuneway.dialects.openai import OPENAI

DIALECTS: tuple[Dialect, ...] = (AZURE_DATED, AZURE, OPENAI)

__all__ = ["AZURE", "AZURE_DATED", "DIALECTS", "OPENAI", "Dialect", "guess", "named"]
