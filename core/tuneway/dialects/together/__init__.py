"""Together AI: a wire of its own, for OpenAI's data.

Its jobs have no metadata, so the mark is the end of the suffix, which the list of jobs shows. A tuned model answers
after the user has deployed it. Adapters are downloaded with the service's own tools.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tuneway.dialects._base import Dialect, ServiceOption
from tuneway.dialects.together._create import WANDB_HINT, problems
from tuneway.dialects.together._exchange import TogetherExchange
from tuneway.dialects.together._files import FILE_LIMIT, SignedFiles
from tuneway.errors import InvalidSpec
from tuneway.flows import Offers, Suffix
from tuneway.models import TrainingSpec

HOST = re.compile(r"(.+\.)?together\.(ai|xyz)")
CARRIER = Suffix(room=40, marks=("key",))
"""Of the 40 characters of a suffix, 17 are the key's, with a hyphen before it."""


def _root(base_url: str) -> str:
    return base_url if re.search(r"/v\d+$", base_url) else f"{base_url}/v1"


@dataclass(frozen=True, kw_only=True)
class TogetherOffers(Offers):
    """What Together offers, and what can't be said in its format."""

    def check(self, training: TrainingSpec, *, service: str) -> None:
        """Refuse what the service doesn't offer."""
        if training.integrations and not self.integrations:
            raise InvalidSpec(
                f"integrations: {service} needs your key of Weights & Biases", field="integrations", hint=WANDB_HINT
            )
        super().check(training, service=service)
        for name, why, hint in problems(training.training_to_wire()):
            raise InvalidSpec(f"{name}: {service} {why}", field=name, hint=hint)


def _configure(dialect: Dialect, options: Mapping[str, str]) -> Dialect:
    key = options.get("wandb_api_key")
    exchange, offers = TogetherExchange(key), replace(OFFERS, integrations=frozenset({"wandb"} if key else ()))
    return replace(dialect, exchange=exchange, quote=exchange.quote, offers=offers)


_EXCHANGE = TogetherExchange()
OFFERS = TogetherOffers(
    methods=frozenset({"supervised", "dpo"}),
    pause=False,
    resume=False,
    metadata=False,
    integrations=frozenset(),
    suffix=CARRIER.own_room,
    rate="absolute",
    chat="after deploying",
    quote=True,
    row_keys={
        "chat": frozenset({"messages", "tools"}),
        "completions": frozenset({"prompt", "completion"}),
        "preference": frozenset({"input", "preferred_output", "non_preferred_output"}),
    },
)

TOGETHER = Dialect(
    name="together",
    speaks=lambda host: HOST.fullmatch(host) is not None,
    root=_root,
    exchange=_EXCHANGE,
    files=SignedFiles(),
    carrier=CARRIER,
    offers=OFFERS,
    quote=_EXCHANGE.quote,
    key_variables=("TOGETHER_API_KEY",),
    file_limit=FILE_LIMIT,
    options=(ServiceOption("wandb_api_key", "your key of Weights & Biases, for its integration", "WANDB_API_KEY"),),
    configure=_configure,
)
