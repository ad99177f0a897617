"""The hook: from a connection to a client of its service."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseHook

from airflow_tuneway._connection import client_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager

    from airflow.sdk import Connection

    from tuneway import AsyncClient, Client

DEFAULT_CONN_ID = "tuneway_default"


class FineTuningHook(BaseHook):
    """Fine-tuning jobs on the service that a connection names.

    The connection's host is the service's address, its password the key. `extra` may hold `organization`,
    `project`, `registry`, `timeout` (of one request), `settle`, `poll`, `dialect`, `api_version` and
    `service_options`. A connection of type `openai` works as it is.

    Args:
        conn_id: The connection.
        poll: How often a wait looks: fields of `tuneway.Poll`, in place of those of the connection.
    """

    conn_name_attr: ClassVar[str] = "conn_id"
    default_conn_name: ClassVar[str] = DEFAULT_CONN_ID
    conn_type: ClassVar[str] = "tuneway"
    hook_name: ClassVar[str] = "Tuneway"

    def __init__(self, conn_id: str = DEFAULT_CONN_ID, *, poll: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.conn_id = conn_id
        self.poll = poll

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """How the connection's form looks in Airflow 3.1; later ones read it from `get_provider_info`."""
        from airflow_tuneway.provider_info import FORM

        return {name.replace("-", "_"): value for name, value in FORM.items()}

    @cached_property
    def connection(self) -> Connection:
        """The connection, as Airflow stores it."""
        return self.get_connection(self.conn_id)

    @property
    def registry(self) -> str | None:
        """The address of the model registry, if the connection says it."""
        value: str | None = self.connection.extra_dejson.get("registry")
        return value

    @cached_property
    def client(self) -> Client:
        """A client, made once; it closes with the process, or by `close`."""
        return self.new_client()

    def new_client(self, **settings: Any) -> Client:
        """Make another client, for a signal handler that may have interrupted the hook's own in a request."""
        from tuneway import Client

        return Client(**client_settings(self.connection, self.poll), **settings)

    def get_conn(self) -> Client:
        """The client, under the name that Airflow's hooks give it."""
        return self.client

    def shared_client(self) -> AbstractAsyncContextManager[AsyncClient]:
        """The async client that everything on this event loop with the same connection shares.

        Its waits share one poll: a thousand of them cost about as much as one.
        """
        from airflow_tuneway._clients import lease

        return lease(self.conn_id, self.poll)

    def close(self) -> None:
        """Close the client, if one was made."""
        client = self.__dict__.pop("client", None)
        if client is not None:
            client.close()

    def test_connection(self) -> tuple[bool, str]:
        """List one job: that needs the right address and key, and changes nothing."""
        from tuneway import Retry
        from tuneway.errors import TunewayError

        try:
            with self.new_client(retry=Retry(attempts=1)) as client:
                next(iter(client.jobs.list(limit=1)), None)
                return True, f"{client.base_url} answers."
        except TunewayError as error:
            return False, str(error)
