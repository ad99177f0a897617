"""OpenAI's own dialect, and that of the services that speak OpenAI's wire without having one of their own."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from tuneway.dialects._base import Dialect
from tuneway.dialects._mark import MARK, with_mark
from tuneway.flows import Offers

HOST = "api.openai.com"


def _is_openai(base_url: str, _api_version: str | None) -> bool:
    return (urlsplit(base_url).hostname or "").lower() == HOST


OPENAI = Dialect(name="openai", speaks=lambda _host: True, suits=_is_openai, options=(MARK,), configure=with_mark)
OPENAI_WIRE = replace(OPENAI, suits=lambda _base_url, _api_version: True, offers=Offers(rate="either"))
"""Of such a service it isn't known how it takes the learning rate."""
