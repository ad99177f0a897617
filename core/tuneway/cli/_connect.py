"""Options that say which service to talk to, and a client made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tuneway.cli._options import group
from tuneway.errors import InvalidInput

if TYPE_CHECKING:
    from tuneway.client import Client


@group("Connection")
class Connection:
    """The service and the account. The key has no option, since options show in the list of processes."""

    base_url: Annotated[
        str | None,
        typer.Option(envvar="OPENAI_BASE_URL", metavar="URL", help="The service's address. Default: OpenAI's own."),
    ] = None
    organization: Annotated[
        str | None,
        typer.Option(envvar="OPENAI_ORG_ID", metavar="ID", help="The organisation, if the key belongs to several."),
    ] = None
    project: Annotated[
        str | None,
        typer.Option(envvar="OPENAI_PROJECT_ID", metavar="ID", help="The organisation's project."),
    ] = None
    request_timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="Time limit for one request, its reply included."),
    ] = 60.0
    dialect: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The dialect that the service speaks, such as azure. Default: guessed from its address.",
        ),
    ] = None
    api_version: Annotated[
        str | None,
        typer.Option(envvar="OPENAI_API_VERSION", metavar="DATE", help="The version of Azure's API."),
    ] = None
    service_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="What else the service needs: --service-option auth=entra. Default: what the variables of the "
            "service's own SDK say. Repeatable.",
        ),
    ] = None
    settle: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Time in which the service shows what a request has done. Default: 10; 1 on this machine.",
        ),
    ] = None

    def client(self) -> Client:
        """A client for this service; its key comes from the environment."""
        from tuneway.client import Client

        return Client(
            base_url=self.base_url,
            organization=self.organization,
            project=self.project,
            timeout=self.request_timeout,
            settle=self.settle,
            dialect=self.dialect,
            api_version=self.api_version,
            service_options=dict(map(_named, self.service_option or [])),
        )


def _named(option: str) -> tuple[str, str]:
    name, mark, value = option.partition("=")
    if not mark or not name or not value:
        raise InvalidInput("--service-option is not NAME=VALUE", hint="For example: --service-option auth=entra")
    return name, value
