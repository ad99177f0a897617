"""The process in which the code of a client runs."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from contextlib import suppress
from typing import Any

from tuneway_service.sandbox import kernel

FILE_BYTES = 2**24
OPEN_FILES = 128
SHOWN = 500
SYSTEM = (
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/bin",
    "/nix/store",
    "/sys/devices/system",
    "/dev/urandom",
    "/dev/random",
)
SETTINGS = (
    "ld.so.cache",
    "ld.so.conf",
    "localtime",
    "timezone",
    "os-release",
    "passwd",
    "group",
    "nsswitch.conf",
    "ssl",
)
DEVICES = ("/dev/null", "/dev/zero")


def run(request: dict[str, Any], answer: int, *, isolated: bool) -> None:
    """Run the code and write what it returns to a descriptor. Never returns."""
    try:
        _confine(request, answer, isolated=isolated)
        reply = _compiled(request) if request["check"] else _scored(request)
    except BaseException as error:  # noqa: BLE001 - whatever the code raises is its result
        reply = {"error": _text(error)}
    with suppress(OSError):
        os.write(answer, json.dumps(reply).encode() + b"\n")
    os._exit(0)


def _confine(request: dict[str, Any], answer: int, *, isolated: bool) -> None:
    os.setsid()
    kernel.die_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    os.closerange(3, answer)
    os.closerange(answer + 1, answer + 256)
    os.environ["TMPDIR"] = request["folder"]
    os.nice(5)
    for limit, value in _limits(request, isolated=isolated).items():
        _, hard = resource.getrlimit(limit)
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (most, most))
    kernel.drop_privileges()
    if "files" in request["shields"]:
        readable = [*SYSTEM, *(f"/etc/{name}" for name in SETTINGS), sys.prefix, sys.base_prefix, *sys.path]
        kernel.restrict(readable, [request["folder"], *DEVICES])


def _limits(request: dict[str, Any], *, isolated: bool) -> dict[int, int]:
    seconds = int(request["seconds"]) + 1
    limits = {
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_AS: request["memory"],
        resource.RLIMIT_FSIZE: FILE_BYTES,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    if isolated and kernel.counts_per_namespace():
        limits[resource.RLIMIT_NPROC] = request["processes"]
    return limits


def _compiled(request: dict[str, Any]) -> dict[str, Any]:
    code = compile(request["source"], "grader.py", "exec", dont_inherit=True)
    return {} if "grade" in code.co_names else {"error": "it must define grade(sample, item)"}


def _scored(request: dict[str, Any]) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "grader"}
    exec(compile(request["source"], "grader.py", "exec", dont_inherit=True), names)  # noqa: S102 - the purpose
    return {"score": float(names["grade"](request["sample"], request["item"]))}


def _text(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:SHOWN]
    except BaseException:  # noqa: BLE001 - the code may have made its own kind of error
        return "an error without a text"
