"""Grammars in the language of llguidance, which llama.cpp holds answers to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

HEAD = "%llguidance {}"
"""How the grammars of llguidance begin."""
STYLES = {"tight": (",", ":"), "spaced": (", ", ": ")}
"""What stands between items, and between names and values. With white space of any length, models may write nothing
else for ever."""


def in_guidance(rules: Sequence[str]) -> str:
    """A grammar of these rules; the first one is `start`."""
    return "\n".join([HEAD, *rules])


def json_rules(name: str, schema: Mapping[str, Any]) -> list[str]:
    """A rule of this name for JSON that fits a schema, in one of the usual styles, and the rules that it needs."""
    rules = [f"{name}: {' | '.join(f'{style}_{name}' for style in STYLES)}"]
    for style, (item, key) in STYLES.items():
        # what a schema has that isn't known is left out here, and checked when the answer is there
        guidance = {"whitespace_flexible": False, "item_separator": item, "key_separator": key, "lenient": True}
        rules.append(f"{style}_{name}: %json {json.dumps({**schema, 'x-guidance': guidance})}")
    return rules


def of_schema(schema: Mapping[str, Any]) -> str:
    """The grammar of an answer that fits a schema."""
    return in_guidance(json_rules("start", schema))
