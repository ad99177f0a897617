"""Hold a budget against the service's own price, before anything is paid."""

from __future__ import annotations

from tuneway.errors import OverBudget
from tuneway.flows._account import Account
from tuneway.flows._effects import Flow
from tuneway.models import JobSpec


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
