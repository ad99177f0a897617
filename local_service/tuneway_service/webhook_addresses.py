"""Which addresses webhooks may be sent to.

Programs on this machine and in its network are ordinary receivers of a local service. Link-local addresses aren't:
the machines of clouds give out their credentials there. So they are refused, and with them the addresses of metadata
services elsewhere. A name may stand for such an address, and for another one a moment later: so what counts is the
address that a delivery connects to.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

HOST = re.compile(r"[A-Za-z0-9._-]+")
REFUSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "169.254.0.0/16",
        "fe80::/10",
        # metadata services: Alibaba Cloud, Oracle Cloud, Azure, AWS, Google Cloud
        "100.100.100.200/32",
        "192.0.0.192/32",
        "168.63.129.16/32",
        "fd00:ec2::254/128",
        "fd20:ce::254/128",
    )
)
# prefixes of IPv6 addresses that end with the IPv4 address that they stand for
WRAPPED = tuple(
    ipaddress.ip_network(network)
    for network in ("::ffff:0:0/96", "::ffff:0:0:0/96", "::/96", "64:ff9b::/96", "64:ff9b:1::/48")
)


def problem(url: str, *, link_local: bool) -> str | None:
    """What is wrong with an address for webhooks; None if nothing is. Imports httpx, which blocks for a moment."""
    import httpx

    try:
        address = httpx.URL(url)
        host = address.raw_host.decode("ascii")
        # as the look-up of the name will encode it
        host.encode("idna")
        address.host  # noqa: B018 - raises for a name that can't be decoded
    except (httpx.InvalidURL, UnicodeError):
        return "it isn't an address"
    if address.scheme not in ("http", "https"):
        return "it must start with https:// (or http://)"
    number = literal(host)
    if number is None and not HOST.fullmatch(host):
        return "it has no host" if not host else "its host isn't a name or an address"
    if address.port is not None and not 1 <= address.port <= 65535:
        return f"there is no port {address.port}"
    if number is not None and not link_local and is_refused(number):
        return refusal(host)
    return None


def refusal(host: str) -> str:
    """The message for a host that webhooks aren't sent to."""
    return f"webhooks aren't sent to {host}, which is a link-local address or that of a metadata service"


def literal(host: str) -> Address | None:
    """The address that a host is, in any spelling that connections take; None if it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        # 2852039166, 0xa9fea9fe and 169.254.43518 are IPv4 addresses as well
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def is_refused(address: Address) -> bool:
    """Whether webhooks aren't sent to an address."""
    return any(form in network for form in _forms(address) for network in REFUSED)


def _forms(address: Address) -> list[Address]:
    """The address, and the IPv4 addresses that an IPv6 address stands for."""
    forms = [address]
    if isinstance(address, ipaddress.IPv6Address):
        forms.append(ipaddress.IPv6Address(int(address)))  # without a scope
        if any(forms[-1] in network for network in WRAPPED):
            forms.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        forms.extend(filter(None, (address.sixtofour, *(address.teredo or ()))))
    return forms
