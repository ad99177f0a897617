"""Azure's dialect: its own header for the key, and two sets of paths.

`…/openai/v1` needs no API version. `…/openai` with `?api-version=…` is the older one; its chat path contains the
model's deployment. Azure's additional statuses (`pending`, `notRunning`, `pausing`, `resuming`) are in the table
that all dialects share (`tuneway.models.PHASES`), because gateways with OpenAI's paths return them too.

A tuned model answers only after its user has deployed it, by Azure's portal or its management API.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from tuneway._escape import excerpt
from tuneway.calls import Request, Response, segment
from tuneway.dialects._base import Dialect, Exchange, ServiceOption, translated
from tuneway.dialects._mark import MARK, with_mark
from tuneway.errors import InvalidSpec, MissingExtra
from tuneway.flows import Flow, Offers

SCOPE = "https://cognitiveservices.azure.com/.default"
"""What a token of Entra ID is for."""

HOSTS = re.compile(r".+\.(openai|cognitiveservices|services\.ai)\.azure\.(com|us|cn)")


def _root(base_url: str) -> str:
    """Complete an endpoint without a path, as users copy it from the portal.

    Airflow completes a host by `/v1`, which no resource of Azure's has alone.
    """
    if re.search(r"/openai/", base_url):
        return base_url
    if HOSTS.fullmatch(urlsplit(base_url).hostname or ""):
        base_url = base_url.removesuffix("/v1")
    return f"{base_url.removesuffix('/openai')}/openai/v1"


def _dated_root(base_url: str) -> str:
    return base_url if re.search(r"/openai(/|$)", base_url) else f"{base_url}/openai"


def _dated(request: Request) -> Request:
    if request.path == "/chat/completions" and request.json:
        return replace(request, path=f"/deployments/{segment(request.json['model'])}{request.path}")
    return request


def _key_header(key: str) -> Mapping[str, str]:
    return {"api-key": key}


def _entra() -> Callable[[], object]:
    """A function that gives tokens of Entra ID, by whatever way of signing in this machine has."""
    try:
        from azure.identity import DefaultAzureCredential
    except ImportError:
        raise MissingExtra("azure-identity, which signs in with Entra ID, isn't installed", extra="azure") from None
    credential = DefaultAzureCredential()
    return lambda: credential.get_token(SCOPE)


def _of_training_type(exchange: Exchange, training_type: str) -> Exchange:
    """Have jobs created with this `trainingType`, unless they say their own."""

    def typed(request: Request) -> Flow[Response]:
        if (request.method, request.path) == ("POST", "/fine_tuning/jobs"):
            request = replace(request, json={"trainingType": training_type, **(request.json or {})})
        return (yield from exchange(request))

    return typed


def _configured(dialect: Dialect, options: Mapping[str, str]) -> Dialect:
    auth = options.get("auth", "key")
    if auth not in ("key", "entra"):
        raise InvalidSpec(
            f"service_options: auth can't be {excerpt(auth)}", field="service_options", hint="It is key or entra."
        )
    if auth == "entra":
        dialect = replace(dialect, token=_entra())
    if "training_type" in options:
        dialect = replace(dialect, exchange=_of_training_type(dialect.exchange, options["training_type"]))
    return with_mark(dialect, options)


AZURE = Dialect(
    name="azure",
    speaks=lambda host: HOSTS.fullmatch(host) is not None,
    root=_root,
    authorise=_key_header,
    offers=Offers(chat="after deploying"),
    options=(
        ServiceOption("auth", "key, or entra: sign in with Entra ID"),
        ServiceOption("training_type", "standard, globalStandard or developerTier"),
        MARK,
    ),
    configure=_configured,
    key_variables=("AZURE_OPENAI_API_KEY", "OPENAI_API_KEY"),
)
AZURE_DATED = replace(
    AZURE,
    suits=lambda base_url, version: version is not None and not base_url.endswith("/v1"),
    root=_dated_root,
    exchange=translated(_dated),
    version_parameter="api-version",
)
