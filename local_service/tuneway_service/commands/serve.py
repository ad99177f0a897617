"""`serve`: the local service."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress

import typer

from tuneway.cli._exits import Terminated
from tuneway.cli._help import Command
from tuneway.cli._options import unfolded
from tuneway.errors import TunewayError
from tuneway_service.commands.options import ServeOptions


def serve(*, options: ServeOptions) -> None:
    """Serve the fine-tuning API on this machine, and really train.

    Prints its base URL when it is ready. Files, jobs and models survive a restart. Stop it with Ctrl-C.

    Examples:
        tuneway serve --model gpt-4o-mini=bytes
        export OPENAI_BASE_URL=http://127.0.0.1:8765/v1     # in another terminal
        tuneway run train.jsonl --model gpt-4o-mini
        tuneway serve --recover                             # after the database was lost or damaged
    """
    from tuneway_service.main import run

    with suppress(KeyboardInterrupt, Terminated):  # how a service is stopped
        run(options.settings(), log_level=options.log_level.value, recover=options.recover)


def main(words: Sequence[str] | None = None) -> None:
    """`python -m tuneway_service`: this command alone, without the rest of the command line."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(cls=Command)(unfolded(serve))
    try:
        app(args=words, prog_name="python -m tuneway_service")
    except TunewayError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
