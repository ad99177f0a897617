"""What Linux offers to a process without privileges. Elsewhere, and on old kernels, these functions return False."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

LINUX = sys.platform == "linux"
_SET_DEATH_SIGNAL, _SET_DUMPABLE, _DROP_BOUND, _SET_SUBREAPER, _NO_NEW_PRIVILEGES = 1, 4, 24, 36, 38
_NEW_USERS, _NEW_PROCESSES = 0x10000000, 0x20000000
_CAPABILITIES = 0x20080522, 64
PER_NAMESPACE = (5, 14)
"""Since this version of Linux the limit on processes counts those of a user namespace apart."""


def _call(name: str, *arguments: Any) -> int:
    """Call a function of the C library; -1 if it fails or doesn't exist."""
    if not LINUX:
        return -1
    function: Callable[..., int] | None = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    return -1 if function is None else function(*arguments)


def _control(option: int, value: int) -> bool:
    numbers = [ctypes.c_ulong(number) for number in (value, 0, 0, 0)]
    return _call("prctl", option, *numbers) == 0


def die_with_parent(number: signal.Signals) -> bool:
    """Have a signal sent to this process when the thread that started it ends."""
    return _control(_SET_DEATH_SIGNAL, number)


def adopt_orphans() -> bool:
    """Become the parent of every descendant whose own parent ends, also of those in another session."""
    return _control(_SET_SUBREAPER, 1)


def hide_memory() -> bool:
    """Keep other processes of this user from reading this one's memory and environment. It leaves no core dump."""
    return _control(_SET_DUMPABLE, 0)


def drop_privileges() -> bool:
    """Give up what root may do, also for programs that are started later. The user stays the same."""
    for capability in range(_CAPABILITIES[1]):
        _control(_DROP_BOUND, capability)
    none = ctypes.create_string_buffer(24)
    dropped = _call("capset", struct.pack("Ii", _CAPABILITIES[0], 0), none) == 0
    return _control(_NO_NEW_PRIVILEGES, 1) and dropped


def isolate_children() -> bool:
    """Put the children to come into namespaces of their own: they see no other process, and end with the first."""
    user, group = os.getuid(), os.getgid()
    if _call("unshare", _NEW_USERS | _NEW_PROCESSES) != 0:
        return False
    # without these a child would have no user; it could still run
    with suppress(OSError):
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return True


def counts_per_namespace() -> bool:
    """Whether the limit on processes holds for a user namespace and not for all processes of the user."""
    try:
        major, minor, *_ = os.uname().release.split("-")[0].split(".")
        return LINUX and (int(major), int(minor)) >= PER_NAMESPACE
    except ValueError:
        return False


# Landlock: the numbers of its calls are the same on every architecture

_CREATE_RULES, _ADD_RULE, _RESTRICT = 444, 445, 446
_EXECUTE, _WRITE, _READ, _READ_DIR = 1, 2, 4, 8
_ALL_FILES = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
_CONNECTIONS, _SIGNALS_AND_SOCKETS = 3, 3
_NETWORK_SINCE, _SCOPES_SINCE = 4, 6


def rules_version() -> int:
    """The version of the kernel's rules for files; 0 if it has none."""
    return max(0, _call("syscall", _CREATE_RULES, None, ctypes.c_size_t(0), 1))


def restrict(readable: Iterable[str], writable: Iterable[str]) -> bool:
    """Let this process and its children use nothing but some files and folders, and no TCP. Needs `drop_privileges`.

    Newer kernels also keep them from sending signals to processes outside.
    """
    version = rules_version()
    if not version:
        return False
    handled = _ALL_FILES[max(known for known in _ALL_FILES if known <= version)]
    attributes = struct.pack("Q", handled)
    if version >= _NETWORK_SINCE:
        attributes += struct.pack("Q", _CONNECTIONS)
    if version >= _SCOPES_SINCE:
        attributes += struct.pack("Q", _SIGNALS_AND_SOCKETS)
    rules = _call("syscall", _CREATE_RULES, attributes, ctypes.c_size_t(len(attributes)), 0)
    if rules < 0:
        return False
    try:
        for paths, access in ((readable, _EXECUTE | _READ | _READ_DIR), (writable, handled & ~_EXECUTE)):
            for path in paths:
                _allow(rules, path, access)
        return _call("syscall", _RESTRICT, rules, 0) == 0
    finally:
        os.close(rules)


def _allow(rules: int, path: str, access: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):  # noqa: PTH112 - this process is to start quickly
            access &= _EXECUTE | _WRITE | _READ | _TRUNCATE | _IOCTL
        _call("syscall", _ADD_RULE, rules, 1, struct.pack("=Qi", access, place), 0)
    finally:
        os.close(place)
