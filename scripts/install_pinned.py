"""Install what `scripts/pinned/NAME.txt` pins, into the environment of this Python: `install_pinned.py uv`.

pip chooses a build, as it is set up to on this machine, and then checks it: with hashes from the start it would leave
a build in a folder aside, such as one of PyTorch for CPUs, for the much larger one that PyPI has.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

PINNED = Path(__file__).parent / "pinned"
QUIETLY = ("--quiet", "--quiet", "--disable-pip-version-check", "--no-deps")


def install(name: str) -> None:
    """Fetch the one pinned version, check its hash, and install it alone."""
    pins = PINNED / f"{name}.txt"
    lines = pins.read_text(encoding="utf-8").splitlines()
    (wanted,) = (line.split()[0] for line in lines if "==" in line and not line.startswith("#"))
    with tempfile.TemporaryDirectory(prefix="pinned-", dir=sys.prefix) as folder:
        pip("download", "--only-binary", ":all:", "--dest", folder, wanted)
        pip("install", "--no-index", "--find-links", folder, "--require-hashes", "--requirement", str(pins))


def pip(command: str, *words: str) -> None:
    """Run a command of pip; its own message says what went wrong."""
    done = subprocess.run([sys.executable, "-m", "pip", command, *QUIETLY, *words], check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    for each in sys.argv[1:]:
        install(each)
