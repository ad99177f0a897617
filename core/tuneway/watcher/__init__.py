"""Many waits, one poll: waits of one client share one watching flow.

`AsyncWatcher` runs the flow in a task of the loop. `Watcher` needs no thread of its own: the first thread
that waits leads, and runs the flow for all; when its own jobs have ended it hands the lead to another.
Either way a listener is called where its wait was started.
"""

from typing import TYPE_CHECKING

from tuneway._lazy import Finder, on_demand
from tuneway.watcher._sync import Watcher

if TYPE_CHECKING:
    from tuneway.watcher._async import AsyncWatcher

__all__ = ["AsyncWatcher", "Watcher"]

__getattr__: Finder = on_demand(__name__, {"AsyncWatcher": "tuneway.watcher._async"})
