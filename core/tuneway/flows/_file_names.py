"""The hash of a file's data, as a part of its name on the service."""

from __future__ import annotations

import re

HASH_IN_NAME = re.compile(r"\.sha256-([0-9a-f]{64})(?=\.|$)")


def hash_in(filename: str | None) -> str | None:
    """Find the sha256 in the name of an uploaded file."""
    found = HASH_IN_NAME.search(filename or "")
    return found[1] if found else None


def name_with_hash(filename: str, sha256: str) -> str:
    """Put a file's hash into its name: `train.jsonl` → `train.sha256-….jsonl`."""
    stem, dot, suffix = filename.rpartition(".")
    return f"{stem}.sha256-{sha256}.{suffix}" if dot else f"{filename}.sha256-{sha256}"
