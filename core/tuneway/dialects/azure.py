"""Azure's dialect: its own header for the key, and two sets of paths.

`…/openai/v1` needs no API version. `…/openai` with `?api-version=…` is the older one; its chat path contains the
model's deployment. Azure's additional statuses (`pending`, `notRunning`, `pausing`, `resuming`) are in the table
that all dialects share (`tuneway.models.PHASES`), because gateways with OpenAI's paths return them too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from tuneway.calls import Request, segment
from tuneway.dialects._base import Dialect, translated
from tuneway.flows import Offers

HOSTS = re.compile(r".+\.(openai|cognitiveservices|services\.ai)\.azure\.(com|us|cn)")


def _root(base_url: str) -> str:
    """Complete an endpoint without a path, as users copy it from the portal."""
    if re.search(r"/openai/", base_url):
        return base_url
    return f"{base_url.removesuffix('/openai')}/openai/v1"


def _dated_root(base_url: str) -> str:
    return base_url if re.search(r"/openai(/|$)", base_url) else f"{base_url}/openai"


def _dated(request: Request) -> Request:
    if request.path == "/chat/completions" and request.json:
        return replace(request, path=f"/deployments/{segment(request.json['model'])}{request.path}")
    return request


def _key_header(key: str) -> Mapping[str, str]:
    return {"api-key": key}


AZURE = Dialect(
    name="azure",
    speaks=lambda host: HOSTS.fullmatch(host) is not None,
    root=_root,
    authorise=_key_header,
    offers=Offers(chat="after deploying"),
    key_variables=("AZURE_OPENAI_API_KEY", "OPENAI_API_KEY"),
)
AZURE_DATED = replace(
    AZURE,
    suits=lambda base_url, version: version is not None and not base_url.endswith("/v1"),
    root=_dated_root,
    exchange=translated(_dated),
    version_parameter="api-version",
)
