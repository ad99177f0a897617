"""Weights & Biases: logs a job's metrics there, if the job asks for it."""

from __future__ import annotations

import netrc
import os
from typing import TYPE_CHECKING, Any, Self, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tuneway_service.journal import Journal

HOST = "api.wandb.ai"


class RunLog:
    """Logs steps to the runs that the job asks for. An error there becomes an event and never ends the training."""

    def __init__(self, job: Mapping[str, Any], folder: Path, journal: Journal) -> None:
        self.job = job
        self.folder = folder
        self.journal = journal
        self.runs: list[Any] = []

    def __enter__(self) -> Self:
        for item in self.job.get("integrations") or ():
            if item["type"] == "wandb":
                self._guarded(self._start, item["wandb"])
        return self

    def _start(self, settings: Mapping[str, Any]) -> None:
        import wandb

        # without a key, wandb would ask for one on a terminal
        mode = os.environ.get("WANDB_MODE") or ("online" if _has_key() else "offline")
        run = wandb.init(
            project=settings["project"],
            entity=settings.get("entity"),
            name=settings.get("name"),
            tags=settings.get("tags"),
            id=settings["run_id"],
            resume="allow" if mode == "online" else None,
            dir=str(self.folder),
            mode=cast("Any", mode),  # wandb checks the variable's value
            config={"job_id": self.job["job_id"], "trainer": self.job["trainer"], **self.job["hyperparameters"]},
        )
        self.runs.append(run)
        where = "in the job's folder, for `wandb sync`" if mode == "offline" else mode
        self.journal.message(f"Logging to the Weights & Biases run {settings['run_id']} ({where})", mark="wandb")

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of a step."""
        for run in list(self.runs):
            self._guarded(run.log, dict(metrics), step=step, run=run)

    def __exit__(self, *_: object) -> None:
        for run in self.runs:
            self._guarded(run.finish)

    def _guarded(self, act: Callable[..., object], *args: Any, run: Any = None, **kwargs: Any) -> None:
        try:
            act(*args, **kwargs)
        except ImportError:
            text = "Metrics are not logged to Weights & Biases: it isn't installed (pip install 'tuneway[wandb]')"
            self.journal.message(text, mark="wandb:missing", level="warn")
        except Exception as error:  # noqa: BLE001 - wandb raises many kinds of errors
            text = f"Metrics are no longer logged to Weights & Biases: {type(error).__name__}: {error}"[:500]
            self.journal.message(text, mark="wandb:failed", level="warn")
            if run is not None:
                self.runs.remove(run)


def _has_key() -> bool:
    """Whether a key for Weights & Biases is set, in the variable or in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators(HOST) is not None
    except (OSError, netrc.NetrcParseError):
        return False
