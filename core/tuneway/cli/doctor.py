"""`doctor`: which service this is, what it offers, and whether it keeps the mark by which a retry finds its job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneway._words import count
from tuneway.cli._connect import Connection
from tuneway.cli._output import Output

if TYPE_CHECKING:
    from tuneway.flows import Diagnosis, Offers

RATES = {
    "multiplier": "as a multiplier of the service's own",
    "absolute": "the rate itself, no multiplier",
    "either": "as the service takes it",
}
LISTED = 20
"""How many models are named for people; `--json` names all."""


def doctor(*, connection: Connection, output: Output) -> None:
    """Say which service this is, what it offers, whether the key works. Only reads.

    It reads the list of jobs and the list of models. If the jobs can't be listed, it ends with the error's exit code.

    Examples:
        tuneway doctor
        tuneway doctor --base-url https://api.example.com/v1
        tuneway doctor --json
    """
    with connection.client() as client:
        found = client.doctor()
    if output.json:
        output.record(found.as_json())
    else:
        output.facts(_facts(found) | offered(found.offers))
    if found.error is not None:
        raise found.error


def offered(offers: Offers) -> dict[str, Any]:
    """What a service offers, in words."""
    offered = offers.as_json()
    able = [name for name in ("pause", "resume", "events", "checkpoints") if offered[name]]
    fields = [name for name in ("metadata", "seed") if offered[name]]
    fields += [f"suffix of up to {offers.suffix} characters"] if offers.suffix else []
    return {
        "methods": ", ".join(offered["methods"]),
        "learning rate": RATES[offers.rate],
        "jobs": ", ".join(able) or "neither pause nor events nor checkpoints",
        "fields": ", ".join([*fields, *offered["integrations"]]) or "none of one's own",
        "chat": f"{offers.chat} a tuned model" if offers.chat != "at once" else offers.chat,
        "price": "known before a job is created" if offers.quote else "not known before a job is created",
    }


def _facts(found: Diagnosis) -> dict[str, Any]:
    return {
        "service": f"{found.service} ({found.why})",
        "address": found.base_url,
        "key": found.key,
        "mark": f"{found.marks}, in {found.carrier}: {found.evidence}",
        "can be tuned": _models(found),
        "service options": "; ".join(f"{name}: {meaning}" for name, meaning in found.options.items()),
    }


def _models(found: Diagnosis) -> str:
    if found.listed is None:
        return "unknown: the models can't be listed"
    if found.models is None:
        return f"the service doesn't say; it lists {count(found.listed, 'model')}"
    more = len(found.models) - LISTED
    return ", ".join(found.models[:LISTED]) + (f" and {more} more" if more > 0 else "") or "none of those listed"
