"""Import a package's names on first use, since pipelines are parsed far more often than they run."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

Finder = Callable[[str], Any]


def on_demand(package: str, homes: Mapping[str, str]) -> Finder:
    """Make a `__getattr__` for a package. `homes` maps each name to the module that defines it."""

    def find(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(home), name)
        setattr(sys.modules[package], name, value)
        return value

    return find
