"""Hold a budget against the service's own price, before anything is paid."""

from __future__ import annotations

import math

from tuneway.errors import InvalidSpec, OverBudget
from tuneway.flows._account import Account
from tuneway.flows._effects import Flow
from tuneway.models import JobSpec


def check_budget(account: Account, max_usd: float | None) -> None:
    """Refuse a budget that can't be held against anything. On this machine there is no bill, so any will do.

    Raises:
        InvalidSpec: The budget isn't a number above 0; or, as `OverBudget`, the service says no price of its own.
    """
    if max_usd is None:
        return
    if not 0 < max_usd < math.inf:
        raise InvalidSpec("max_usd: not a number above 0", field="max_usd")
    if account.quote is None and not account.local:
        raise OverBudget(
            f"{account.service} says no price before a job is created, so max_usd can't be checked",
            field="max_usd",
            hint="Give it in a recipe, whose data is checked: then the cost is estimated. Or leave it out.",
        )


def check_quote(account: Account, spec: JobSpec, max_usd: float | None) -> Flow[None]:
    """Refuse a job that the service says will cost more than `max_usd`. Without a budget it isn't asked.

    Raises:
        OverBudget: The price is above the budget, or the service gives none.
    """
    if max_usd is None or account.quote is None:
        return
    quote = yield from account.quote(account, spec)
    because = f": {quote.why}" if quote.why else ""
    if quote.usd is None:
        raise OverBudget(f"{account.service} gives no price, so max_usd can't be checked{because}", field="max_usd")
    if quote.usd > max_usd:
        raise OverBudget(
            f"{account.service} estimates ${quote.usd:,.2f}, more than max_usd=${max_usd:,.2f}{because}",
            field="max_usd",
        )
