"""Watchers run the flow `watch` once for all waits of a client, so that the waits share polls.

`AsyncWatcher` runs the flow in a task of the event loop. `Watcher` has no thread of its own: the first thread that
waits leads, which means that it runs the flow for all. When its own jobs have ended, another waiting thread leads. A
listener is always called in the thread or event loop that started its wait.
"""

from typing import TYPE_CHECKING

from tuneway._lazy import Finder, on_demand
from tuneway.watcher._sync import Watcher

if TYPE_CHECKING:
    from tuneway.watcher._async import AsyncWatcher

__all__ = ["AsyncWatcher", "Watcher"]

__getattr__: Finder = on_demand(__name__, {"AsyncWatcher": "tuneway.watcher._async"})
