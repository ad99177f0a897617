"""Names made of a group's name and a partition, for services and registries that allow less than Dagster does."""

from __future__ import annotations

import hashlib
import re

PARTITION = "{partition_key}"

_SUFFIX_LENGTH = 64
_BETWEEN = "-._ "
"""What stands between the partition and the rest of a name."""
_OTHERS = re.compile(r"[^A-Za-z0-9_.-]+")


def filled(template: str, partition: str | None) -> str:
    """A text with the partition in its place."""
    return template if partition is None else template.replace(PARTITION, partition)


def with_partition(name: str, partition: str | None) -> str:
    """A word for a model: another one for each partition, whatever the partition is called.

    What a word can't hold is replaced, and what is too long is cut; a piece of a hash keeps it apart.
    """
    if partition is None:
        return _word(name)
    return _word(filled(name, partition) if PARTITION in name else f"{name}-{partition}")


def without_partition(name: str) -> str:
    """A name without the place of the partition in it, such as "router" for "router-{partition_key}"."""
    words = [part.strip(_BETWEEN) for part in name.split(PARTITION)]
    return name if PARTITION not in name else "-".join(filter(None, words))


def _word(text: str) -> str:
    word = _OTHERS.sub("-", text).strip("-._") or "model"
    if word == text and len(word) <= _SUFFIX_LENGTH:
        return word
    mark = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{word[: _SUFFIX_LENGTH - 9]}-{mark}"
