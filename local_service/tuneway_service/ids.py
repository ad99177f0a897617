"""Identifiers, made here.

A client's word never becomes part of a path: an id from outside is looked up first, and only one that the
database knows, and so was made here, names a file.
"""

from __future__ import annotations

import secrets
import string
import time
from typing import Final

ALPHABET: Final = string.ascii_letters + string.digits


def new_id(prefix: str) -> str:
    """A fresh id such as `ftjob-…`; the prefix brings its own dash or underscore."""
    return prefix + "".join(secrets.choice(ALPHABET) for _ in range(24))


def now() -> int:
    """The time as the API tells it: whole seconds."""
    return int(time.time())
