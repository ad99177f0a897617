"""The public face: every operation of the API one to one, and the steps that a pipeline is made of."""

from typing import TYPE_CHECKING

from tuneway._lazy import Finder, on_demand

if TYPE_CHECKING:
    from tuneway.client._async import AsyncClient
    from tuneway.client._fine_tune import FilePair, FineTuned, StartedJob
    from tuneway.client._sync import Client

__all__ = ["AsyncClient", "Client", "FilePair", "FineTuned", "StartedJob"]

_RESULTS = dict.fromkeys(("FilePair", "FineTuned", "StartedJob"), "tuneway.client._fine_tune")

__getattr__: Finder = on_demand(
    __name__, {"AsyncClient": "tuneway.client._async", "Client": "tuneway.client._sync", **_RESULTS}
)
