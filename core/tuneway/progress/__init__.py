"""What is told while work goes on: one small class per piece of news, each readable when printed.

`on_event=print` is a fair start; a user interface looks at the classes. They are made when the first of them
is asked for, since a pipeline that is only parsed has nothing to tell.
"""

from typing import TYPE_CHECKING

from tuneway._lazy import Finder, on_demand
from tuneway.progress._base import Listener, News

if TYPE_CHECKING:
    from tuneway.progress._news import (
        Checking,
        DataChecked,
        FileReused,
        FileUploaded,
        Finished,
        JobAdopted,
        JobChanged,
        JobCreated,
        KeyNotKept,
        Logged,
        PollFailed,
        Retrying,
        RivalCancelled,
        RivalLeft,
        Sent,
        Settling,
    )

__all__ = [
    "Checking",
    "DataChecked",
    "FileReused",
    "FileUploaded",
    "Finished",
    "JobAdopted",
    "JobChanged",
    "JobCreated",
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
]

__getattr__: Finder = on_demand(__name__, dict.fromkeys(set(__all__) - {"Listener", "News"}, "tuneway.progress._news"))
