"""The dialect of Fireworks AI.

An account is part of every path. Jobs and datasets have the ids that the client chooses, so a job is never made
twice. Each method has a collection of its own: the id of a preference job is `dpoJobs/ID`. There is no list of events
or checkpoints, and no metadata; who asked is shown as the job's display name. A tuned model must be deployed before
it answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from tuneway._escape import excerpt
from tuneway.dialects._base import Dialect, ServiceOption
from tuneway.dialects.fireworks._create import NAME, OFFERS
from tuneway.dialects.fireworks._datasets import Datasets
from tuneway.dialects.fireworks._exchange import FireworksExchange
from tuneway.dialects.fireworks._resources import DPO_JOBS, Resources
from tuneway.errors import InvalidSpec
from tuneway.flows import Named

ACCOUNT = ServiceOption("account", "the account's id, as in its web pages", "FIREWORKS_ACCOUNT_ID")

_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")


def _root(base_url: str) -> str:
    """The address without a version: the two APIs below it have their own."""
    return base_url.removesuffix("/inference/v1").removesuffix("/v1")


def _configured(dialect: Dialect, options: Mapping[str, str]) -> Dialect:
    account = options.get(ACCOUNT.name, "").removeprefix("accounts/")
    if not account:
        raise InvalidSpec(
            "account: fireworks has the account in every path",
            field="service_options",
            hint=f'Pass service_options={{"account": …}} or --service-option account=…, or set {ACCOUNT.variable}.',
        )
    if not _ACCOUNT.fullmatch(account):
        raise InvalidSpec(f"account can't be {excerpt(account)}", field="service_options")
    resources = Resources(account)
    return replace(dialect, exchange=FireworksExchange(resources), files=Datasets(resources))


FIREWORKS = Dialect(
    name=NAME,
    speaks=lambda host: host == "fireworks.ai" or host.endswith(".fireworks.ai"),
    root=_root,
    carrier=Named(kinds={"dpo": f"{DPO_JOBS}/"}),
    offers=OFFERS,
    key_variables=("FIREWORKS_API_KEY",),
    options=(ACCOUNT,),
    configure=_configured,
)
