"""OpenAI's own dialect, which most services speak."""

from __future__ import annotations

from tuneway.dialects._base import Dialect
from tuneway.dialects._mark import MARK, with_mark

OPENAI = Dialect(name="openai", speaks=lambda _host: True, options=(MARK,), configure=with_mark)
