"""The models that can be tuned: their names, their trainers, and what a job needs from both."""

from __future__ import annotations

import os
import re
import threading
from typing import TYPE_CHECKING, Any

from tuneway.errors import InvalidSpec
from tuneway.models import LabelModelGrader, Reinforcement, ScoreModelGrader
from tuneway_service import gang, response_format
from tuneway_service.graders import Limits, parts, problems
from tuneway_service.refusals import Refusal
from tuneway_service.settings import GRADER_KEY
from tuneway_service.store import models
from tuneway_service.trainers import found_here, make_trainer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tuneway_service.graders import Inner
    from tuneway_service.settings import Settings
    from tuneway_service.store.database import Connection, Row
    from tuneway_service.store.records import JobBody, JobRow
    from tuneway_service.trainers import Trainer


WELL_KNOWN = re.compile(
    r"(ft:|.*/)?((gpt|chatgpt|claude|gemini|gemma|(meta-)?llama|mi[sx]tral|ministral|qwen|deepseek|phi|kimi|glm|nova|"
    r"command)[-\d.]|o\d)",
    re.IGNORECASE,
)
"""How the names of well-known language models begin."""


def refuse_bad_grader(grader: Inner, limits: Limits) -> None:
    """Refuse a grader that can't run here."""
    for where, text in problems(grader, limits):
        code = "python_graders_disabled" if "--allow-python-graders" in text else "invalid_grader"
        raise Refusal(f"Invalid grader: {where}: {text}", param=where, code=code)


def _never(model: str, messages: list[dict[str, Any]], sampling: dict[str, Any]) -> tuple[str, int]:
    """A placeholder where graders are only checked: a model could be asked, but none is."""
    raise AssertionError(model, messages, sampling)


class Catalogue:
    """The base models that are served, and the lookup of tuned ones."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.bases: dict[str, str] = found_here()
        for name, trainer in settings.models.items():
            # a name may also stand for another name that is served
            self.bases[name] = make_trainer(self.bases.get(trainer, trainer)).name
        self._trainers: dict[str, Trainer] = {}
        self._making = threading.Lock()

    def trainer(self, name: str) -> Trainer:
        """A trainer, created once. Blocks: some trainers import large libraries."""
        with self._making:
            if name not in self._trainers:
                self._trainers[name] = make_trainer(name)
            return self._trainers[name]

    def find(self, connection: Connection, model: str) -> tuple[str, Path | None]:
        """The trainer of a model, and the exported folder if it is a tuned one; refused if the model doesn't exist."""
        if model in self.bases:
            return self.bases[model], None
        row = models.find(connection, model)
        if row is None:
            raise self.unavailable(model)
        return row["trainer"], self.place(row)

    def unavailable(self, model: str) -> Refusal:
        """400 for a model that can't be tuned here."""
        return Refusal(
            f"Model {model[:200]} is not available for fine-tuning or does not exist. This service has:"
            f" {', '.join(self.bases)}. Start it with --model NAME=TRAINER to serve another name.",
            param="model",
            code="model_not_available",
        )

    @property
    def stand_ins(self) -> list[str]:
        """The names of well-known language models that the trainer `bytes` stands in for here."""
        return [name for name, trainer in self.bases.items() if trainer == "bytes" and WELL_KNOWN.match(name)]

    def vet(self, trainer: str, method: str, requested: Mapping[str, Any]) -> None:
        """Refuse a method or a hyperparameter that the trainer doesn't support."""
        try:
            self.trainer(trainer).resolve(method, requested, 100)
        except InvalidSpec as error:
            text = error.message if error.hint is None else f"{error.message}. {error.hint}"
            raise Refusal(text, param=error.field, code="unsupported_value") from None

    def vet_gpus(self, trainer: str, wanted: int | None) -> None:
        """Refuse a job that asks for more GPUs than there are, or whose trainer uses none."""
        if wanted is None:
            return
        there = None if self.settings.ray is not None else len(self.settings.gpus or ())
        if gang.trains_alone(trainer):
            text = f"The trainer {trainer!r} uses no GPU."
        elif there is not None and wanted > there:
            text = f"{wanted} GPUs are asked for, and this service has {there}."
        else:
            return
        raise Refusal(f"Invalid value for 'gpus': {text}", param="gpus", code="invalid_value")

    def gpus_for(self, row: JobRow) -> int:
        """How many devices of this machine a job needs; a job on Ray needs none here."""
        if gang.trains_alone(row.trainer) or self.settings.ray is not None:
            return 0
        return row.body.gpus or (self.settings.gpus_per_job if self.settings.gpus else 0)

    def vet_reinforcement(self, method: Reinforcement) -> None:
        """Refuse a grader that can't run here, and a response format that isn't one. Blocks."""
        asks = any(isinstance(inner, ScoreModelGrader | LabelModelGrader) for inner in parts(method.grader))
        if asks and self.settings.token and not self.settings.grader_url and not os.environ.get(GRADER_KEY):
            raise Refusal(
                f"This service answers for model graders, and needs its own key for that: start it with {GRADER_KEY}.",
                param="method.reinforcement.grader",
                code="invalid_grader",
            )
        refuse_bad_grader(method.grader, Limits(self.settings.allow_python_graders, ask=_never))
        wrong = None if method.response_format is None else response_format.problem(method.response_format)
        if wrong is not None:
            field, text = wrong
            where = ".".join(filter(None, ("method.reinforcement.response_format", field)))
            raise Refusal(f"Invalid value for '{where}': {text}.", param=where, code="invalid_value")

    def resolve(self, row: JobRow, n_examples: int) -> dict[str, Any]:
        """A job's hyperparameters, with "auto" replaced by values."""
        return self.trainer(row.trainer).resolve(row.body.method_name, row.body.requested, n_examples)

    def order(self, row: JobRow, devices: Sequence[str] | None = None) -> dict[str, Any]:
        """The order for the worker: the content of job.json.

        Args:
            row: The job.
            devices: The devices that it has here; None if it takes what it finds.
        """
        body = row.body
        return {
            "job_id": row.id,
            "attempt": row.attempt,
            "trainer": row.trainer,
            "method": body.method_name,
            "hyperparameters": row.hyperparameters,
            "seed": body.seed,
            **self._grading(body),
            "model_name": row.model_name,
            **({"stands_in_for": body.model} if body.model in self.stand_ins else {}),
            "integrations": body.integrations,
            **({} if devices is None else {"devices": list(devices)}),
            **({} if body.gpus is None else {"gpus": body.gpus}),
        }

    def _grading(self, body: JobBody) -> dict[str, Any]:
        if body.method_name != "reinforcement":
            return {}
        return {
            "grader": body.method_settings["grader"],
            "response_format": body.method_settings.get("response_format"),
            "python_graders": self.settings.allow_python_graders,
            "grader_url": self.settings.grader_url or self.settings.own_url(),
        }

    def place(self, row: Row) -> Path:
        """The folder of a tuned model's export."""
        return self.settings.jobs_dir / str(row["job_id"]) / str(row["folder"])
