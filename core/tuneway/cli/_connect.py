"""From options and environment to a client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tuneway.client import Client

PANEL = "Connection"


@dataclass(frozen=True, kw_only=True)
class Connection:
    """Which service, and for whom. The key has no option: it would show in the list of processes."""

    base_url: Annotated[
        str | None,
        typer.Option(
            envvar="OPENAI_BASE_URL", metavar="URL", help="The service; OpenAI's own unless set.", rich_help_panel=PANEL
        ),
    ] = None
    organization: Annotated[
        str | None,
        typer.Option(envvar="OPENAI_ORG_ID", metavar="ID", help="Whose account.", rich_help_panel=PANEL),
    ] = None
    project: Annotated[
        str | None,
        typer.Option(envvar="OPENAI_PROJECT_ID", metavar="ID", help="Which of its projects.", rich_help_panel=PANEL),
    ] = None
    request_timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="How long one request may take in all.", rich_help_panel=PANEL),
    ] = 60.0
    dialect: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="How the service talks, openai or azure, if its URL doesn't tell.",
            rich_help_panel=PANEL,
        ),
    ] = None
    api_version: Annotated[
        str | None,
        typer.Option(envvar="OPENAI_API_VERSION", metavar="DATE", help="Azure's API version.", rich_help_panel=PANEL),
    ] = None

    settle: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="How long it may take to show what a request has done: 10, on this machine 1.",
            rich_help_panel=PANEL,
        ),
    ] = None

    def client(self) -> Client:
        """A client; the key comes from the environment alone."""
        from tuneway.client import Client

        return Client(
            base_url=self.base_url,
            organization=self.organization,
            project=self.project,
            timeout=self.request_timeout,
            settle=self.settle,
            dialect=self.dialect,
            api_version=self.api_version,
        )
