"""Identifiers.

A client's text never becomes part of a path: an id from a request is looked up in the database first, and only ids
that are found there, all made here, become names of files.
"""

from __future__ import annotations

import re
import secrets
import string
import time
from typing import Final

ALPHABET: Final = string.ascii_letters + string.digits


def new_id(prefix: str) -> str:
    """A new id such as `ftjob-…`; the prefix includes its dash or underscore."""
    return prefix + "".join(secrets.choice(ALPHABET) for _ in range(24))


def is_id(text: str, prefix: str) -> bool:
    """Whether a text is an id that `new_id` makes with this prefix."""
    return re.fullmatch(r"[A-Za-z0-9]{24}", text.removeprefix(prefix)) is not None and text.startswith(prefix)


def now() -> int:
    """The current time in whole seconds, as the API has it."""
    return int(time.time())
