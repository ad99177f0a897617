"""How an engine's process tells the demo about its steps: a line of JSON for each piece of news."""

from __future__ import annotations

import json
import os
from typing import Any

_pipe = os.fdopen(int(os.environ["TUNEWAY_DEMO_TELL"]), "w", buffering=1, encoding="utf-8")


def tell(**news: Any) -> None:
    """Tell a piece of news: `step`, `state` and `seconds`, or a `note`."""
    print(json.dumps(news), file=_pipe)
