"""From a connection to the arguments of a client."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Connection

_PASSED_ON = ("organization", "project", "timeout", "settle", "lookup_pages", "dialect", "api_version", "poll")


def client_settings(connection: Connection, poll: Mapping[str, float] | None = None) -> dict[str, Any]:
    """The arguments of `tuneway.Client`, as far as the connection says them."""
    extra = dict(connection.extra_dejson)
    extra |= extra.pop("openai_client_kwargs", None) or {}  # as Airflow's own OpenAI provider stores them
    if extra.get("auth_type", "api_key") != "api_key":
        from tuneway.errors import InvalidInput

        raise InvalidInput(
            f"connection {connection.conn_id!r} signs in by {extra['auth_type']}, and tuneway only knows API keys",
            hint="Give the connection a key, or make one of type tuneway beside it.",
        )
    settings = {name: extra[name] for name in _PASSED_ON if extra.get(name) not in (None, "")}
    if extra.get("service_options"):
        settings["service_options"] = _mapping(connection, extra["service_options"])
    settings["base_url"] = extra.get("base_url") or _address(connection)
    settings["api_key"] = extra.get("api_key") or connection.password or None
    return settings | ({"poll": poll} if poll else {})


def poll_of(poll: Mapping[str, float] | None, interval: float | None) -> Mapping[str, float] | None:
    """The schedule of a wait: as it is given, or one with a fixed interval in seconds."""
    if interval is None:
        return poll
    if poll is not None:
        from tuneway.errors import InvalidSpec

        raise InvalidSpec("poll and poll_interval can't both be given", field="poll_interval", hint="Give one of them.")
    return {"minimum": interval, "maximum": interval}


def _mapping(connection: Connection, given: object) -> Mapping[str, str]:
    """The service's options, which a form may store as text."""
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            given = None
    if isinstance(given, dict):
        return given
    from tuneway.errors import InvalidSpec

    raise InvalidSpec(
        f"connection {connection.conn_id!r}: service_options is not a mapping",
        field="service_options",
        hint='For example: {"auth": "entra"}',
    )


def _address(connection: Connection) -> str | None:
    """The host, if it is an address; else an address made of the parts of a connection's URI."""
    host = connection.host
    if not host or "://" in host:
        return host or None
    port = f":{connection.port}" if connection.port else ""
    return f"{connection.schema or 'https'}://{host}{port}/v1"
