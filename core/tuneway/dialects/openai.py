"""OpenAI's own dialect, which most services speak."""

from __future__ import annotations

from tuneway.dialects._base import Dialect

OPENAI = Dialect(name="openai", speaks=lambda _host: True)
