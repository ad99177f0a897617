# Generated from _async_registering.py by scripts/unasync.py: change that file, then run the script.
# fmt: off
"""The blocking client's steps after a job: what came of it, how its model answers, and its model in the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneway import flows
from tuneway.choices import Choice, Scoring
from tuneway.client._evaluate import ask_what_is_left
from tuneway.client._register import outcome, register
from tuneway.drivers import Driver
from tuneway.flows import Account
from tuneway.models import Job, TrainingSpec
from tuneway.outcome import Outcome
from tuneway.progress import Listener
from tuneway.requester import Requester

if TYPE_CHECKING:
    from tuneway.dataset import DatasetReport
    from tuneway.registry import Cost, Evaluation, GateLike, ModelVersion, Origin, RegistrationFields


class ModelSteps:
    """Steps with the model of a job, on the account of a client."""

    _account: Account
    _driver: Driver

    @property
    def base_url(self) -> str:
        """The service's address."""
        raise NotImplementedError

    def outcome(self, job: Job | str, *, log: bool = False, forgiving: bool = False) -> Outcome:
        """Get the outcome of a job: metrics, checkpoints, cost, trainer, model.

        Args:
            job: The job, or its id for the job as it is now.
            log: Fetch its log as well, where a result file has the numbers already.
            forgiving: Leave out what can't be read at the moment and name it in `.missing`, instead of raising.
        """
        return self._driver.run(outcome(self._account, job, self.base_url, log=log, forgiving=forgiving))

    def evaluate(
        self,
        held_out: str | Path | Iterable[Mapping[str, Any]],
        *,
        base: str,
        tuned: str,
        score: Scoring | Callable[[str, str], float | bool] = "exact",
        samples: int = 20,
        concurrency: int = 8,
        on_event: Listener | None = None,
    ) -> Evaluation:
        """Ask the base model and the tuned model the same questions, several at once, and score the answers.

        Each model is asked for its most likely answer. The results are in the order of the examples. A request that
        can't be answered at the moment (429, 503) is sent again; any other error ends the evaluation, and names the
        question.

        Args:
            held_out: Rows as for training that weren't trained on, or the path of a JSONL file. The last answer of
                each is the expected one.
            base: The model before the training.
            tuned: The model after the training. Where a service answers only after a model was deployed, each of the
                two is the name that its deployment has.
            score: "exact", "contains", or a function of the answer and the expected answer that returns 0 to 1.
            samples: The number of questions to keep in the evaluation.
            concurrency: The number of answers that are waited for at once.
            on_event: Called with the progress.
        """
        from tuneway.registry.evaluate import EvaluationRun

        options: dict[str, Any] = {"score": score, "samples": samples, "concurrency": concurrency, "on_event": on_event}
        run = self._driver.run(
            flows.work(lambda _listener: EvaluationRun(held_out, base=base, tuned=tuned, **options))
        )
        asked = [ask_what_is_left(self._account, run) for _ in range(run.at_once)]
        self._driver.together(asked, run.hear)
        return self._driver.run(flows.work(lambda _listener: run.evaluation()))

    def register(
        self,
        job: str | Job | Mapping[str, Any],
        *,
        name: str,
        registry: str | None = None,
        alias: str | None = None,
        checkpoint: Choice = "last",
        gates: Sequence[GateLike] = (),
        reason: str | None = None,
        spec: TrainingSpec | None = None,
        requested: Mapping[str, Any] | None = None,
        data: Iterable[DatasetReport | Mapping[str, Any]] = (),
        cost: Cost | None = None,
        origin: Requester | Origin | str | None = None,
        by: str | None = None,
    ) -> ModelVersion:
        """Register a succeeded job's model, once, with its lineage.

        Args:
            job: The job; or the output of a step, with what it knows of the data and of what was asked for.
            name: The model's name, over all its versions.
            registry: `sqlite:///models.db`, `mlflow:http://…`. The default is TUNEWAY_REGISTRY_URI, or else a file in
                your data folder.
            alias: "champion", "challenger" or a word of your own, moved to this version if the gates agree.
            checkpoint: "last" is the job's own model, "best" the checkpoint with the lowest validation loss.
            gates: What the version must show before the alias moves (`tuneway.registry`).
            reason: The reason, for the model's history.
            spec: What was asked for: its hyperparameters are kept beside what the service made of them.
            requested: The hyperparameters that were asked for, if there is no specification.
            data: Reports of `check` or `validate`, or outputs of steps, for the rows and tokens of the files.
            cost: What it cost.
            origin: Who asked; else the job's own mark.
            by: Who registers; else the user's name.

        Raises:
            GateRefused: The version is registered, and the alias has not moved.
        """
        then: RegistrationFields = {
            "name": name, "registry": registry, "alias": alias, "checkpoint": checkpoint, "gates": gates,
            "reason": reason,
        }  # fmt: skip
        flow = register(
            self._account, job, self.base_url, then, by=by, data=data, requested=requested, cost=cost, spec=spec,
            origin=origin,
        )  # fmt: skip
        return self._driver.run(flow)
