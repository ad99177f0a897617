"""A service that sends escape sequences, line ends, formulas and markup in every text that it may choose."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from support.quick_service import QuickService

BAD = "\x1b]8;;http://evil.example\x07x\x1b[2J\x9b2J\u202e\u2028\rforged\nerror: forged =1+1 [x](http://evil.example)"
FORMULA = "=HYPERLINK(1)"
FORBIDDEN = ("\x1b]", "\x1b[2J", "\x07", "\x9b", "\u202e", "\u2028")
"""What no terminal may get of it."""

_KEPT = frozenset({"id", "object", "type", "filename", "purpose", "has_more", "training_file", "tuneway_key"})
_KEPT |= {"tuneway_content", "result_files", "fine_tuning_job_id", "first_id", "last_id", "content"}


class HostileService(QuickService):
    """A service that trains at once and sends hostile text: model names, messages, levels, metric names, codes."""

    kept = _KEPT | {"status"}

    def handle(self, request):
        """Answer a request."""
        response = super().handle(request)
        if response.headers.get("content-type") != "application/json":
            return response
        body = self._spoilt(json.loads(response.content))
        return replace(response, content=json.dumps(body).encode())

    def _spoilt(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            spoilt = {name: self._spoilt(inner, name) for name, inner in value.items()}
            return spoilt | ({BAD: 0.5, FORMULA: 0.25} if key in {"data", "metrics"} else {})
        if isinstance(value, list):
            return [self._spoilt(inner, key if key != "data" else "") for inner in value]
        return value + BAD if isinstance(value, str) and key not in self.kept else value
