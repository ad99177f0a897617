"""The service's address and the key for it, as a block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, model_validator

if TYPE_CHECKING:
    from tuneway import AsyncClient, Client

DOCUMENTATION = "https://pypi.org/project/tuneway/"

# Prefect's own logos for blocks, at the commit that Prefect itself names: square, as its interface wants them, and
# nobody else's trademark
_LOGOS = (
    "https://raw.githubusercontent.com/PrefectHQ/prefect/420d0d6a78bb6df1fc18bcf188fdad43c1d22ea9/assets/block-logos"
)
CREDENTIALS_LOGO, JOB_LOGO = f"{_LOGOS}/secret.png", f"{_LOGOS}/process.png"


class FineTuningCredentials(Block):
    """Access to a service that speaks OpenAI's fine-tuning API. What is left out comes from the environment.

    Example:
        Load stored credentials and ask the service:

        ```python
        from prefect_tuneway import FineTuningCredentials

        credentials = FineTuningCredentials.load("BLOCK_NAME")
        with credentials.get_client() as client:
            print(client.jobs.retrieve("ftjob-abc").status)
        ```
    """

    _block_type_name = "Fine-Tuning Credentials"
    _block_type_slug = "fine-tuning-credentials"
    _documentation_url = DOCUMENTATION  # type: ignore[assignment]  # as all collections give it
    _logo_url = CREDENTIALS_LOGO  # type: ignore[assignment]

    base_url: str | None = Field(
        default=None,
        title="Base URL",
        description="The service's address, else OPENAI_BASE_URL, else OpenAI's own.",
    )
    api_key: SecretStr | None = Field(
        default=None,
        title="API key",
        description="The key, else OPENAI_API_KEY. A service on the same machine needs none.",
    )
    organization: str | None = Field(default=None, description="The organisation, else OPENAI_ORG_ID.")
    project: str | None = Field(default=None, description="The project, else OPENAI_PROJECT_ID.")
    service_options: dict[str, str] = Field(
        default_factory=dict,
        title="Service options",
        description='What else the service needs: {"auth": "entra"}. The guide "moving" names each service\'s options.',
    )
    registry: str | None = Field(
        default=None,
        title="Registry URI",
        description="Where models are registered: sqlite:///… or mlflow:…, else TUNEWAY_REGISTRY_URI.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description=(
            "Further settings of a client: timeout, settle, lookup_pages, dialect, api_version; "
            "and poll, with the fields of tuneway.Poll."
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _read_old_documents(cls, stored: Any) -> Any:
        return renamed(stored, registry_url="registry")

    def get_client(self) -> Client:
        """A client; close it, or use it in a `with`."""
        from tuneway import Client

        return Client(**self.client_settings())

    def get_async_client(self) -> AsyncClient:
        """An async client; close it, or use it in an `async with`."""
        from tuneway import AsyncClient

        return AsyncClient(**self.client_settings())

    def client_settings(self) -> dict[str, Any]:
        """What a client is made from: the arguments of `tuneway.Client`."""
        given = {name: getattr(self, name) for name in ("base_url", "organization", "project")}
        settings = self.options | {name: value for name, value in given.items() if value}
        if self.service_options:
            settings["service_options"] = self.service_options
        if self.api_key is not None and self.api_key.get_secret_value():
            settings["api_key"] = self.api_key.get_secret_value()
        return settings


Credentials = FineTuningCredentials | str | None
"""How a step gets its service: a block, the name of a stored one, or None for what the environment says."""


def resolve(credentials: Credentials) -> FineTuningCredentials:
    """The block for these credentials; blocking, since a name is looked up at Prefect's API."""
    if isinstance(credentials, str):
        load: Any = FineTuningCredentials.load  # its types don't show what its decorator adds
        stored: FineTuningCredentials = load(credentials, _sync=True)
        return stored
    return credentials or FineTuningCredentials()


def renamed(stored: Any, **names: str) -> Any:
    """A stored block's data, with the fields that were renamed since under the names of today."""
    if not isinstance(stored, Mapping):
        return stored
    return {names.get(name, name): value for name, value in stored.items()}
