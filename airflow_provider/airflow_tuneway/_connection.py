"""From a connection to the arguments of a client."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import Connection

_NUMBERS = ("timeout", "settle", "lookup_pages")
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
    settings = {name: _typed(name, extra[name]) for name in _PASSED_ON if extra.get(name) not in (None, "")}
    if extra.get("service_options"):
        settings["service_options"] = _mapping("service_options", extra["service_options"], '{"auth": "entra"}')
    settings["base_url"] = extra.get("base_url") or _address(connection)
    settings["api_key"] = extra.get("api_key") or connection.password or None
    return settings | ({"poll": as_schedule(poll)} if poll else {})


def poll_of(poll: Mapping[str, float] | None, interval: float | None) -> Mapping[str, float] | None:
    """The schedule of a wait: as it is given, or one with a fixed interval in seconds."""
    if interval is None:
        return poll
    if poll is not None:
        from tuneway.errors import InvalidSpec

        raise InvalidSpec("poll and poll_interval can't both be given", field="poll_interval", hint="Give one of them.")
    return {"minimum": interval, "maximum": interval}


def as_schedule(poll: Any) -> dict[str, float]:
    """The schedule of a wait, whose numbers may be text: in a connection's URI, in a template."""
    return {name: _number(value) for name, value in _mapping("poll", poll, '{"minimum": 30}').items()}


def _typed(name: str, value: Any) -> Any:
    """A setting as the client takes it. In a connection's URI all are text; in its JSON, text may be a number."""
    if name == "poll":
        return as_schedule(value)
    return _number(value) if name in _NUMBERS else str(value)


def _mapping(name: str, value: Any, example: str) -> Mapping[str, Any]:
    if isinstance(value, str):
        with suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, Mapping):
        return value
    from tuneway._escape import excerpt
    from tuneway.errors import InvalidSpec

    raise InvalidSpec(
        f"{name} can't be {excerpt(value)}: it takes a mapping", field=name, hint=f"For example: {example}"
    )


def _number(value: Any) -> Any:
    """Text as a number; what is none is left to the client, which names the field."""
    if not isinstance(value, str):
        return value
    with suppress(ValueError):
        return int(value)
    with suppress(ValueError):
        return float(value)
    return value


def _address(connection: Connection) -> str | None:
    """The host, if it is an address; else an address made of the parts of a connection's URI.

    A host without a path gets `/v1`. Airflow calls the path of a URI the schema; where it is http or https, it is that.
    """
    host = connection.host
    if not host or "://" in host:
        return host or None
    name, _, path = host.partition("/")
    scheme = "https"
    if connection.schema in ("http", "https"):
        scheme = connection.schema
    elif connection.schema:
        path = path or connection.schema
    port = f":{connection.port}" if connection.port else ""
    return f"{scheme}://{name}{port}/{path.strip('/') or 'v1'}"
