"""News of the progress of work: one small class for each kind of news. Each can be printed.

Give `on_event=print` to see them all; a user interface can check their classes. The classes are imported on first use,
since a pipeline that is only parsed has no news.
"""

from typing import TYPE_CHECKING

from tuneway._lazy import Finder, on_demand
from tuneway.progress._base import Listener, News

if TYPE_CHECKING:
    from tuneway.progress._news import (
        Answered,
        Checking,
        CreatePlanned,
        DataChanged,
        DataChecked,
        FileReused,
        FileUploaded,
        Finished,
        JobAdopted,
        JobChanged,
        JobCreated,
        JobRecognised,
        KeyNotKept,
        Logged,
        PollFailed,
        Retrying,
        RivalCancelled,
        RivalLeft,
        Sent,
        Settling,
    )
    from tuneway.progress._summarised import Summarised

__all__ = [
    "Answered",
    "Checking",
    "CreatePlanned",
    "DataChanged",
    "DataChecked",
    "FileReused",
    "FileUploaded",
    "Finished",
    "JobAdopted",
    "JobChanged",
    "JobCreated",
    "JobRecognised",
    "KeyNotKept",
    "Listener",
    "Logged",
    "News",
    "PollFailed",
    "Retrying",
    "RivalCancelled",
    "RivalLeft",
    "Sent",
    "Settling",
    "Summarised",
]

_HOMES = dict.fromkeys(set(__all__) - {"Listener", "News"}, "tuneway.progress._news")
_HOMES["Summarised"] = "tuneway.progress._summarised"

__getattr__: Finder = on_demand(__name__, _HOMES)
