"""The public face: every operation of the API one to one, and the steps that a pipeline is made of."""

from tuneway.client._async import AsyncClient
from tuneway.client._sync import Client

__all__ = ["AsyncClient", "Client"]
