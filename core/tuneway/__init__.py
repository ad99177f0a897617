"""Fine-tuning jobs as ordinary steps: upload, create, wait, register.

    from tuneway import Client, Recipe, Requester

    recipe = Recipe(model="gpt-4o-mini", training_data="train.jsonl", validation_data="valid.jsonl")
    with Client() as client:
        result = client.fine_tune(recipe, Requester(pipeline="nightly", run="2026-11-20"), name="support-router")
        print(result.model, client.outcome(result.job).metrics)

Names are imported when they are first used: pipelines are parsed far more often than they run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuneway._lazy import Finder, on_demand
from tuneway._version import __version__

if TYPE_CHECKING:
    from tuneway.client import AsyncClient, Client
    from tuneway.dataset import DatasetReport
    from tuneway.errors import (
        InvalidDataset,
        InvalidSpec,
        JobCancelled,
        JobError,
        JobFailed,
        TunewayError,
        UnknownStatus,
        WaitTimeout,
    )
    from tuneway.flows import Poll, Retry, WaitToken
    from tuneway.models import DPO, File, Job, JobSpec, Reinforcement, Supervised
    from tuneway.outcome import Outcome
    from tuneway.recipe import Recipe
    from tuneway.requester import Requester

_HOMES = {
    "tuneway.client": ("AsyncClient", "Client"),
    "tuneway.dataset": ("DatasetReport",),
    "tuneway.errors": (
        "InvalidDataset",
        "InvalidSpec",
        "JobCancelled",
        "JobError",
        "JobFailed",
        "TunewayError",
        "UnknownStatus",
        "WaitTimeout",
    ),
    "tuneway.flows": ("Poll", "Retry", "WaitToken"),
    "tuneway.models": ("DPO", "File", "Job", "JobSpec", "Reinforcement", "Supervised"),
    "tuneway.outcome": ("Outcome",),
    "tuneway.recipe": ("Recipe",),
    "tuneway.requester": ("Requester",),
}

__all__ = [
    "DPO",
    "AsyncClient",
    "Client",
    "DatasetReport",
    "File",
    "InvalidDataset",
    "InvalidSpec",
    "Job",
    "JobCancelled",
    "JobError",
    "JobFailed",
    "JobSpec",
    "Outcome",
    "Poll",
    "Recipe",
    "Reinforcement",
    "Requester",
    "Retry",
    "Supervised",
    "TunewayError",
    "UnknownStatus",
    "WaitTimeout",
    "WaitToken",
    "__version__",
]

__getattr__: Finder = on_demand(__name__, {name: home for home, names in _HOMES.items() for name in names})


def __dir__() -> list[str]:
    return sorted(__all__)
