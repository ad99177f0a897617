"""Paths in the home folder, and folders with data that are open to others who use this machine."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path as it is meant: `~` at its start is the home folder. Without a home it stays as it is."""
    text = os.fsdecode(path)
    try:
        return Path(os.path.expanduser(text))  # noqa: PTH111 - pathlib's raises without a home
    except ValueError:  # a null character: no path, which is told where it is opened
        return Path(text)


def open_to_others(folder: Path) -> str | None:
    """What everybody on this machine can do in a folder, as words; None if nothing.

    Where the system has no such permissions, or the folder can't be looked at, nothing is known.
    """
    if os.name != "posix":
        return None
    try:
        mode = folder.stat().st_mode
    except OSError:
        return None
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        return "change what is in it"
    return "read what is in it" if mode & (stat.S_IROTH | stat.S_IXOTH) else None


def warning_about(what: str, folder: Path, *, may_be_read: bool = False) -> str | None:
    """The sentence that says so; None if there is nothing to say.

    Args:
        what: What the folder is, such as "the registry's folder".
        folder: The folder.
        may_be_read: Whether it is no secret what is in it, so that only changes are reported.
    """
    can = open_to_others(folder)
    if can is None or (may_be_read and can.startswith("read")):
        return None
    close = "o-w" if may_be_read else "o-rwx"
    return f"{what} {folder} is open to everybody on this machine, who can {can}: chmod {close} {folder}"
