"""The command `run`: it shows the news as they come, and keeps them for the result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Unpack

from tuneway._words import count, money
from tuneway.cli._exits import Stopped, Terminated, exit_code
from tuneway.cli._live import Show
from tuneway.cli._waiting import Waiting, detached, stopped
from tuneway.cli._watch import Watch
from tuneway.cli._wording import WIDTH, end_of
from tuneway.dialects import is_local
from tuneway.flows import made_by
from tuneway.outcome import cost_of
from tuneway.progress import DataChecked, FileReused, FileUploaded, Finished, JobAdopted, JobCreated, Logged, News
from tuneway.steps import file_summary, job_summary, version_summary

if TYPE_CHECKING:
    from tuneway.choices import Reuse
    from tuneway.client import Client, FineTuned
    from tuneway.models import Job
    from tuneway.recipe import Recipe
    from tuneway.registry import Cost, ModelVersion, RegistrationFields
    from tuneway.requester import Requester

AGAIN = "The same command goes on from here: it looks first, and pays nothing twice."


class RunCommand:
    """One run, from a recipe to a model.

    Args:
        client: The client that does it.
        show: Where to show what happens.
        requester: Who asks.
    """

    def __init__(self, client: Client, show: Show, requester: Requester) -> None:
        self._client = client
        self._show = show
        self._requester = requester
        self._watch = Watch()
        self._next: list[tuple[str, str]] = []
        self._sent: list[str] = []
        self._adopted = False
        self._own = False
        self._told_before = False

    def go(self, recipe: Recipe, waiting: Waiting, *, reuse: Reuse, **then: Unpack[RegistrationFields]) -> FineTuned:
        """Do all steps. After an interruption, an error says what continues without this process."""
        training, *_ = names = recipe.data.names
        self._next = [*(("uploading", name) for name in names), ("creating", recipe.model)]
        self._show.begin("checking", training)
        try:
            made = self._client.fine_tune(
                recipe, self._requester, reuse=reuse, timeout=waiting.timeout, on_event=self.hear, **then
            )
        except (KeyboardInterrupt, Terminated) as stop:
            raise self._stopped(stop, waiting) from None
        if made.version is not None:
            self._show_version(made.version)
        return made

    def hear(self, news: News) -> None:
        """Take in news, and show them."""
        self._watch.hear(news)
        if isinstance(news, JobAdopted | JobCreated):  # what comes later may show too little of the job's marks
            self._own = made_by(news.job, self._requester)
        if isinstance(news, JobAdopted):
            self._adopted, self._told_before = True, news.job.done
        if not (self._told_before and isinstance(news, Logged)):  # an adopted job's log was shown when it was trained
            self._show.hear(news)
        match news:
            case DataChecked(report=report):
                estimate = None if self._free else report.cost
                self._show.begin(*self._next[0], cost=estimate.usd if estimate else None)
            case FileUploaded(file=file) | FileReused(file=file):
                if isinstance(news, FileUploaded):
                    self._sent.append(file.id)
                self._next = self._next[1:] or self._next
                self._show.begin(*self._next[0])
            case Finished(job=job) if job is not None and news.error is None:
                self._show.done(*end_of(job, self._watch))

    def _show_version(self, version: ModelVersion) -> None:
        aliases = "".join(f" @{alias}" for alias in version.aliases)
        again = "" if version.new else ", as before"
        self._show.done("registered", f"{version.ref}{aliases}{again}")
        for warning in version.warnings:
            self._show.done("warning", warning)

    def _stopped(self, stop: BaseException, waiting: Waiting) -> Stopped:
        """What an interruption leaves behind. A job that another run made is never cancelled."""
        job, code = self._watch.job, exit_code(stop)
        if job is None:
            return Stopped("stopped; no job of this run is known yet", hint=AGAIN, exit_code=code)
        if job.done:
            return Stopped(f"stopped; {job.id} has {job.status}", hint=AGAIN, job_id=job.id, exit_code=code)
        if waiting.cancel_on_interrupt and not (self._own or made_by(job, self._requester)):
            return detached(stop, job.id, why=", since another run made it")
        return stopped(self._client, [job.id], waiting, stop)

    def result(self, made: FineTuned) -> dict[str, Any]:
        """What to print with `--json`: the outputs of the steps, and what only a run knows."""
        started, cost = made.started, self._cost(made.job)
        assert started.training_file is not None
        return (
            job_summary(made.job, started.spec, data=started.report)
            | (version_summary(made.version) if made.version else {"model_id": made.model})
            | {
                "upload": file_summary(started.training_file),
                "sent": self._sent,
                "adopted": self._adopted,
                "seconds": made.job.seconds,
                "usd": cost.amount if cost else None,
            }
        )

    def next_steps(self, made: FineTuned) -> Iterator[str]:
        """What the training took, and which commands come next."""
        job, cost = made.job, self._cost(made.job)
        tokens = count(job.trained_tokens, "trained token") if job.trained_tokens else ""
        usd = f"about {money(cost.amount)} at prices of {cost.price_date}" if cost else ""
        lines = {
            "took": ", ".join(filter(None, [tokens, usd])),
            "curve": f"tuneway metrics {job.id}" if job.result_files or self._watch.train else "",
            "report": f"tuneway report {job.id} -o report.html",
            "ask it": f"tuneway ask {made.model} '…'",
        }
        if self._client.offers.chat == "after deploying":
            lines["ask it"] = "deploy the model on the service first, then: tuneway ask DEPLOYMENT '…'"
        if made.version and "champion" not in made.version.aliases:
            lines["promote"] = f"tuneway promote {made.version.ref}"
        yield ""
        yield from (f"  {word:<{WIDTH}} {text}" for word, text in lines.items() if text)
        yield ""

    @property
    def _free(self) -> bool:
        """Whether the service sends no bill."""
        return is_local(self._client.base_url)

    def _cost(self, job: Job) -> Cost | None:
        """What the training cost by the table of prices."""
        return None if self._free else cost_of(job)
