"""A local service that runs as long as an example."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def local_service(home: Path, *, model: str) -> Iterator[str]:
    """Start the service and give its address. It keeps its data and its log in `home`.

    Args:
        home: A folder.
        model: A model's name and its trainer, as `tuneway serve --model` takes them.
    """
    home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tuneway_service", "--port", "0"]
    command += ["--data-dir", str(home / "service"), "--model", model]
    with (home / "service.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    try:
        base_url = process.stdout.readline().strip()
        if not base_url:
            sys.exit(f"The service did not start; {home / 'service.log'} says why.")
        yield base_url
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()
