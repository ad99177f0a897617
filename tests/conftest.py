"""What every test stands on: no engine it doesn't have, no network, nobody's account, nobody's home."""

from __future__ import annotations

import gc
import ipaddress
import itertools
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import certifi
import pytest
from hypothesis import settings

HERE = Path(__file__).parent

# Tests in these folders need an extra; this module tells whether it is installed.
NEEDS = {
    "airflow": ("airflow", "airflow"),
    "prefect": ("prefect", "prefect"),
    "dagster": ("dagster", "dagster"),
    "service": ("local", "starlette"),
}

# Property tests are tried quickly among the fast tests, and thoroughly with the slow ones.
settings.register_profile("fast", deadline=None, max_examples=20)
settings.register_profile("ci", deadline=None, max_examples=500, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One worker more than there are cores: many tests wait for others, not for a core."""
    return (os.cpu_count() or 1) + 1


def installed(module: str) -> bool:
    """Whether it can be imported: a folder of tests of the same name doesn't count (it has no origin)."""
    spec = find_spec(module)
    return spec is not None and spec.origin is not None


LEFT_OUT = {
    HERE / folder: extra
    for folder, (extra, module) in NEEDS.items()
    if (HERE / folder).is_dir() and not installed(module)
}


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out the folders whose extra isn't installed."""
    return True if collection_path in LEFT_OUT else None


def pytest_report_header() -> str | None:
    """Say in one line what was left out, and how to have it."""
    if not LEFT_OUT:
        return None
    folders = ", ".join(f"tests/{path.name} (--extra {extra})" for path, extra in LEFT_OUT.items())
    return f"left out, not installed here: {folders}"


SLOW_SECONDS = 600


@pytest.hookimpl(trylast=True)  # when Hypothesis has marked what is its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give what is slow time enough on a slow machine, where it doesn't say itself how much it needs."""
    long = ("slow", "hypothesis") if settings.default.max_examples > 100 else ("slow",)
    for item in items:
        if any(map(item.get_closest_marker, long)) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))


def pytest_collection_finish() -> None:
    """Spare the collector all that has been collected: going through it takes as long as a short time-out."""
    gc.freeze()


# --- Nobody's network. ---


class NetworkUsed(BaseException):
    """A test reached out. It is no `Exception`, so that no code under test takes it for a network error."""


def _loopback_only(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "socket.connect":
        return
    sock, address = arguments
    if sock.family not in {socket.AF_INET, socket.AF_INET6} or not sock.type & socket.SOCK_STREAM:
        return
    host = address[0]
    if host != "localhost" and not ipaddress.ip_address(host.split("%")[0]).is_loopback:
        raise NetworkUsed(f"A test connected to {host}:{address[1]}; tests talk to loopback only.")


sys.addaudithook(_loopback_only)


# --- Nobody's home. ---


def pytest_configure(config: pytest.Config) -> None:
    """Before any engine is imported, since they read these once: an empty home, no statistics sent."""
    home = Path(tempfile.mkdtemp(prefix="tuneway-tests-"))
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    # Caches stay where they are: the tests of the built wheel would fetch everything again.
    os.environ.setdefault("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    os.environ["HOME"] = str(home)
    os.environ["DO_NOT_TRACK"] = "1"
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"
    os.environ["SCARF_NO_ANALYTICS"] = "true"
    # Each HTTP client reads all certificates, also one that never speaks TLS: one certificate is read much sooner.
    one, end, _ = Path(certifi.where()).read_text(encoding="ascii").partition("-----END CERTIFICATE-----\n")
    (home / "certificate.pem").write_text(one + end, encoding="ascii")
    certifi.where = lambda: str(home / "certificate.pem")
    # The tests' matrices are small: a second thread costs each worker more than it brings.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def own_homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Gives a new path at each `next`; `mktemp` would list all earlier ones to find a free number."""
    folder = tmp_path_factory.mktemp("homes")
    return (folder / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, own_homes: Iterator[Path]) -> None:
    """No account from the environment, and data of its own, for every test."""
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "AZURE_OPENAI_", "TUNEWAY_")):
            monkeypatch.delenv(name)
    home = next(own_homes)
    for kind in ("CONFIG", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(home / kind.lower()))
