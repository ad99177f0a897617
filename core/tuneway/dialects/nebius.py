"""The dialect of Nebius Token Factory: OpenAI's wire, with rules of its own for the body of a create.

Hyperparameters are at the top of the body. A body that has `method` as well is refused, so `method` isn't sent.
Metadata is dropped, so the mark is in the suffix, which jobs show. What is called `learning_rate_multiplier` there is
the learning rate itself: a multiplier is refused here, and `learning_rate` is sent as it is given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from tuneway._escape import excerpt
from tuneway.calls import Request
from tuneway.calls.jobs import ROOT
from tuneway.dialects._base import Dialect, translated
from tuneway.dialects._mark import MARK, with_mark
from tuneway.errors import InvalidSpec
from tuneway.flows import Offers, Suffix
from tuneway.models import TrainingSpec

NAME = "nebius"
HOSTS = re.compile(r"(.+\.)?(tokenfactory|studio)(\.[a-z0-9-]+)?\.nebius\.(com|ai)")
LARGEST_FILE = 5 * 1000**3
CARRIER = Suffix(room=64)


def _root(base_url: str) -> str:
    """Complete an address without a path."""
    return base_url if urlsplit(base_url).path.strip("/") else f"{base_url}/v1"


def _out(request: Request) -> Request:
    if request.method == "POST" and request.path == ROOT and request.json is not None:
        return replace(request, json=create_body(request.json))
    return request


def create_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a create in Nebius' format. What is left to the service ("auto") is left out."""
    sent = {name: value for name, value in body.items() if name not in ("method", "hyperparameters")}
    chosen = {name: value for name, value in _hyperparameters(body).items() if value not in (None, "auto")}
    return sent | ({"hyperparameters": chosen} if chosen else {})


def _hyperparameters(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The hyperparameters of a body, wherever they are; what can't be said in Nebius' format is refused."""
    block = _block(body)
    more = sorted(block.keys() - {"hyperparameters"})
    if more:
        raise _refused("method", f"takes only the hyperparameters of a method, and no {excerpt(more[0])}")
    nested, beside = _mapping(block.get("hyperparameters")), _mapping(body.get("hyperparameters"))
    if nested and beside:
        raise _refused("hyperparameters", "takes one set of hyperparameters, and there are two")
    return nested or beside


def _block(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The block of the method: `{"hyperparameters": …}`."""
    method = _mapping(body.get("method"))
    return _mapping(method.get(str(method.get("type"))))


def _refused(field: str, why: str) -> InvalidSpec:
    return InvalidSpec(f"{field}: {NAME} {why}", field=field, hint="Give the hyperparameters in `method` alone.")


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


@dataclass(frozen=True, kw_only=True)
class NebiusOffers(Offers):
    """What Nebius offers, and what can't be said in its format."""

    def check(self, training: TrainingSpec, *, service: str) -> None:
        """Refuse what the service doesn't offer."""
        super().check(training, service=service)
        _hyperparameters(training.training_to_wire())


NEBIUS = Dialect(
    name=NAME,
    speaks=lambda host: HOSTS.fullmatch(host) is not None,
    root=_root,
    exchange=translated(_out),
    carrier=CARRIER,
    offers=NebiusOffers(
        methods=frozenset({"supervised"}),
        pause=False,
        resume=False,
        metadata=False,
        suffix=CARRIER.own_room,
        rate="absolute",
        chat="after deploying",
    ),
    key_variables=("NEBIUS_API_KEY",),
    file_limit=LARGEST_FILE,
    options=(MARK,),
    configure=with_mark,
)
