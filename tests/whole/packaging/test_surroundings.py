"""What `tests/conftest.py` promises to every test."""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parents[3]
ELSEWHERE = "192.0.2.1"  # an address that RFC 5737 keeps free for examples


def test_a_test_that_reaches_out_fails_whatever_it_catches():
    with pytest.raises(BaseException, match="loopback only"), socket.socket() as sock, suppress(Exception):
        sock.connect((ELSEWHERE, 80))


async def test_neither_does_an_event_loop_reach_out():
    with pytest.raises(BaseException, match="loopback only"):
        await asyncio.open_connection(ELSEWHERE, 80)


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_loopback_is_open(family: socket.AddressFamily, address: str):
    with socket.create_server((address, 0), family=family) as server:
        socket.create_connection(server.getsockname()[:2]).close()


def test_home_and_data_are_nobodys():
    theirs = Path(pwd.getpwuid(os.getuid()).pw_dir)
    assert not Path.home().is_relative_to(theirs)
    for kind in ("CONFIG", "DATA", "STATE"):
        assert not Path(os.environ[f"XDG_{kind}_HOME"]).is_relative_to(theirs)


@given(st.none())
def test_an_account_in_the_environment_is_not_seen(nothing: None):
    assert not [name for name in os.environ if name.startswith(("OPENAI_", "AZURE_OPENAI_", "TUNEWAY_"))]


@pytest.mark.slow
def test_an_account_in_the_environment_is_taken_away():
    again = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "not_seen", __file__],
        cwd=ROOT,
        env=os.environ | {"OPENAI_API_KEY": "sk-example", "TUNEWAY_REGISTRY": "sqlite:///theirs.db"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stdout
    assert "1 passed" in again.stdout


@pytest.mark.slow
def test_what_is_not_installed_is_left_out_and_named():
    """As an interpreter sees it that has pytest and hypothesis, and no engine."""
    hide = "import sys; sys.modules['starlette'] = None; import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    seen = subprocess.run(
        [sys.executable, "-c", hide, "-p", "no:cacheprovider", "--collect-only", "tests"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "left out, not installed here:" in seen.stdout, seen.stdout
    assert "tests/service (--extra local)" in seen.stdout
    assert "::" not in "".join(line for line in seen.stdout.splitlines() if line.startswith("tests/service"))
