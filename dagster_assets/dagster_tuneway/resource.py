"""The resource: from settings to a client that talks to the service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from dagster import ConfigurableResource, InitResourceContext
from pydantic import Field, PrivateAttr

if TYPE_CHECKING:
    from tuneway import AsyncClient, Client

_NOT_THE_CLIENTS = {"registry", "reports"}


class FineTuningResource(ConfigurableResource["FineTuningResource"]):
    """Fine-tuning jobs on one service, for one account.

        resources={"tuneway": FineTuningResource(api_key=EnvVar("OPENAI_API_KEY"))}

    Settings that aren't given come from the environment of the run, as for `tuneway.Client`: OPENAI_BASE_URL,
    OPENAI_API_KEY, OPENAI_ORG_ID, OPENAI_PROJECT_ID, TUNEWAY_REGISTRY_URI. Give a key as `EnvVar`: Dagster
    shows all other settings to everybody who may see the resource.
    """

    base_url: str | None = Field(default=None, description="The service's address; OpenAI's own, unless given.")
    api_key: str | None = Field(default=None, repr=False, description="A service on this machine needs none.")
    organization: str | None = Field(default=None, description="For an account with several.")
    project: str | None = Field(default=None, description="For an account with several.")
    timeout: float = Field(default=60.0, description="Seconds that one request may take in all.")
    settle: float | None = Field(
        default=None, description="Seconds within which the service shows what a request has done."
    )
    lookup_pages: int = Field(default=100, description="The most pages that a search reads; then nothing is created.")
    dialect: str | None = Field(default=None, description="Such as azure; guessed from the address.")
    api_version: str | None = Field(default=None, description="Azure's dated API version.")
    service_options: dict[str, str] | None = Field(
        default=None, description='What else the service needs: {"auth": "entra"}.'
    )
    poll: dict[str, float] | None = Field(
        default=None, description="How often a job is polled: minimum, maximum, growth, jitter, tolerance."
    )
    registry: str | None = Field(
        default=None, description="Where models are registered: sqlite:///models.db, mlflow:http://…"
    )
    reports: str | None = Field(
        default=None,
        description="Where the reports of trainings are written: a folder, or a URL such as s3://bucket/reports; the "
        "instance's storage, unless given.",
    )

    _client: Any = PrivateAttr(default=None)

    @property
    def client(self) -> Client:
        """A client, made once; it closes with the run."""
        if self._client is None:
            self._client = self.new_client()
        client: Client = self._client
        return client

    def new_client(self, **settings: Any) -> Client:
        """Make another client, for when the shared one may be in the middle of a request; close it after use."""
        from tuneway import Client

        return Client(**self._settings() | settings)

    @asynccontextmanager
    async def async_client(self) -> AsyncIterator[AsyncClient]:
        """An asyncio client: `async with tuneway.async_client() as client`; it closes with the block."""
        from tuneway import AsyncClient

        client = AsyncClient(**self._settings())
        try:
            yield client
        finally:
            await client.aclose()

    def teardown_after_execution(self, context: InitResourceContext) -> None:  # noqa: ARG002 - Dagster's own face
        """Close the client, if one was made; Dagster calls this when the run or the tick is over."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _settings(self) -> dict[str, Any]:
        """The arguments of a client; those that aren't given come from the environment."""
        given = {name: getattr(self, name) for name in type(self).model_fields if name not in _NOT_THE_CLIENTS}
        return {name: value for name, value in given.items() if value is not None}
