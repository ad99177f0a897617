"""Hides the keys of this process from other processes of the same user."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

SECRET = re.compile(rb"[^=]*(?:KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL|HEADERS)[^=]*", re.IGNORECASE)
OPTION = b"--token"
_ARGUMENTS, _ENVIRONMENT = 45, 47


def hide(*, forget: Iterable[str] = ()) -> None:
    """Blot out keys in what `/proc` shows of the environment and the command line that this process was started with.

    The process itself keeps its environment, but for the variables to `forget`: its children don't get those. Without
    `/proc` nothing is blotted out.
    """
    for variable in forget:
        os.environ.pop(variable, None)
    try:
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return
    arguments, environment = ((int(fields[place]), int(fields[place + 1])) for place in (_ARGUMENTS, _ENVIRONMENT))
    for start, value in _secret_arguments(arguments):
        ctypes.memset(start, ord("*"), len(value))
    for start, name, value in _variables(environment):
        if SECRET.fullmatch(name):
            # a copy takes the place of the text that is blotted out
            if os.environb.get(name) is not None:
                os.environb[name] = os.environb[name]
            ctypes.memset(start, ord("*"), len(value))


def _entries(block: tuple[int, int]) -> Iterator[tuple[int, bytes]]:
    """The texts of a block of memory, each with its address."""
    start, end = block
    if not 0 < start < end:
        return
    for text in ctypes.string_at(start, end - start).split(b"\0"):
        yield start, text
        start += len(text) + 1


def _secret_arguments(block: tuple[int, int]) -> Iterator[tuple[int, bytes]]:
    follows = False
    for start, text in _entries(block):
        if follows:
            yield start, text
        elif text.startswith(OPTION + b"="):
            yield start + len(OPTION) + 1, text[len(OPTION) + 1 :]
        follows = text == OPTION


def _variables(block: tuple[int, int]) -> Iterator[tuple[int, bytes, bytes]]:
    for start, text in _entries(block):
        name, equals, value = text.partition(b"=")
        if equals:
            yield start + len(name) + 1, name, value
