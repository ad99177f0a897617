"""The command line: `tuneway --help`."""

from __future__ import annotations


def main() -> None:
    """The console script `tuneway`."""
    from tuneway.cli._app import app
    from tuneway.cli._exits import terminate_quietly

    terminate_quietly()
    app(prog_name="tuneway")
