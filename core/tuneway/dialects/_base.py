"""The `Dialect` class, and how a dialect is chosen."""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias
from urllib.parse import urlsplit

from tuneway._escape import excerpt
from tuneway.calls import Request, Response
from tuneway.errors import InvalidSpec
from tuneway.flows import OPENAI_FILES, Account, Carrier, FileStore, Flow, Marks, Offers, Quote, send
from tuneway.models import JobSpec

Exchange: TypeAlias = Callable[[Request], Flow[Response]]
"""Sends a request in OpenAI's terms, and gives the reply in OpenAI's JSON. It may send several; a create is one."""


@dataclass(frozen=True, slots=True)
class ServiceOption:
    """An option that a service needs besides the address and the key.

    Args:
        name: The name that users give in `service_options`.
        meaning: What it is, in a few words, for help texts and errors.
        variable: The environment variable that the service's own SDK reads it from, if there is one.
    """

    name: str
    meaning: str
    variable: str | None = None


def bearer(key: str) -> Mapping[str, str]:
    """The header of most services, and of tokens that expire."""
    return {"authorization": f"Bearer {key}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """Everything by which a service differs from OpenAI's wire.

    Args:
        name: The name that users give: `dialect="azure"`.
        speaks: Whether a service on this host uses the dialect.
        suits: Whether this variant of the dialect is right for a base URL and an API version.
        root: Gives the base of all request URLs, from the base URL of the user.
        exchange: Sends a request in OpenAI's terms, and gives the reply in OpenAI's JSON. It translates paths,
            bodies, replies, lists with their cursors, times and the format of errors.
        files: How the service takes files.
        carrier: Where a job has the mark by which a retry finds it.
        offers: What the service can do.
        quote: Asks the service for its own price of a job, if it gives one.
        authorise: Gives the headers for a key. A token that expires goes into `Authorization: Bearer`, always.
        token: Gives a token that expires, in place of a key, if the options ask for that.
        key_variables: Environment variables for the key; the first that is set counts.
        version_parameter: The query parameter for the API version, if there is one.
        file_limit: The most bytes of a file that one request may have; larger files are sent in parts.
        part_size: The bytes of one part.
        options: The options that the service takes.
        configure: Gives the dialect for these options; only those that have a value are there.
    """

    name: str
    speaks: Callable[[str], bool]
    suits: Callable[[str, str | None], bool] = lambda _base_url, _api_version: True
    root: Callable[[str], str] = str
    exchange: Exchange = send
    files: FileStore = OPENAI_FILES
    carrier: Carrier = field(default_factory=Marks)
    offers: Offers = field(default_factory=Offers)
    quote: Callable[[Account, JobSpec], Flow[Quote]] | None = None
    authorise: Callable[[str], Mapping[str, str]] = bearer
    token: Callable[[], object] | None = None
    key_variables: tuple[str, ...] = ("OPENAI_API_KEY",)
    version_parameter: str | None = None
    file_limit: int = 512 * 1024 * 1024
    part_size: int = 64 * 1024 * 1024
    options: tuple[ServiceOption, ...] = ()
    configure: Callable[[Dialect, Mapping[str, str]], Dialect] = lambda dialect, _options: dialect

    def configured(self, given: Mapping[str, str] | None) -> Dialect:
        """Give the dialect for these options; those that are left out come from the environment.

        Raises:
            InvalidSpec: The service doesn't take an option, or its value is wrong.
        """
        given = given or {}
        known = {option.name: option for option in self.options}
        for name, value in given.items():
            if name not in known:
                takes = f"It takes {', '.join(sorted(known))}." if known else "It takes none."
                raise InvalidSpec(
                    f"service_options: {self.name} takes no option {excerpt(name)}", field="service_options", hint=takes
                )
            if not isinstance(value, str):
                raise InvalidSpec(f"service_options: {name} is not a text", field="service_options")
        found = {name: os.environ.get(option.variable) for name, option in known.items() if option.variable}
        return self.configure(self, {name: value for name, value in {**found, **given}.items() if value})


def translated(
    out: Callable[[Request], Request], back: Callable[[Request, Response], Response] | None = None
) -> Exchange:
    """Make an exchange of two functions, where each request is one request on the service.

    Args:
        out: Gives the service's request for one in OpenAI's terms.
        back: Gives OpenAI's JSON for the service's reply to a request in OpenAI's terms, refusals too. Without it
            the reply stays as it is.
    """

    def exchange(request: Request) -> Flow[Response]:
        response = yield from send(out(request))
        return response if back is None else back(request, response)

    return exchange


def json_reply(response: Response, body: object) -> Response:
    """Give a reply another body, which is JSON."""
    return replace(response, content=json.dumps(body).encode())


def guess(dialects: Iterable[Dialect], base_url: str, api_version: str | None) -> Dialect:
    """Give the first dialect that a service at this address speaks."""
    host = (urlsplit(base_url).hostname or "").lower()
    return next(dialect for dialect in dialects if dialect.speaks(host) and dialect.suits(base_url, api_version))


def named(dialects: Iterable[Dialect], name: str, base_url: str, api_version: str | None) -> Dialect:
    """Give the dialect with this name, in the variant for the address and the API version."""
    known = list(dialects)
    for dialect in known:
        if dialect.name == name and dialect.suits(base_url, api_version):
            return dialect
    names = ", ".join(sorted({dialect.name for dialect in known}))
    raise InvalidSpec(f"unknown dialect {excerpt(name)}; known: {names}", field="dialect")


def reason(dialects: Iterable[Dialect], dialect: Dialect, base_url: str, api_version: str | None) -> str:
    """Say why a dialect is used for an address, in a few words."""
    host = urlsplit(base_url).hostname or ""
    if guess(dialects, base_url, api_version).name != dialect.name:
        return f"asked for; the host {host} doesn't say"
    takes_every_host = dialect.speaks("")
    known = not takes_every_host or host == "api.openai.com"
    return f"its host is {host}" if known else f"no other dialect knows the host {host}"


def is_local(base_url: str) -> bool:
    """Whether this address is on this machine."""
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
