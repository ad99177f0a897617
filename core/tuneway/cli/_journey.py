"""The steps of `run`, one method each, and what each has found out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneway._words import count, money
from tuneway.cli._exits import Stopped, Terminated, exit_code
from tuneway.cli._live import Show
from tuneway.cli._registry import Registering
from tuneway.cli._spec import Training, read_json
from tuneway.cli._told import WIDTH, end_of
from tuneway.cli._waiting import Waiting, detached, wait_for
from tuneway.cli._watch import Watch
from tuneway.cli.data import summary
from tuneway.client._settings import is_local
from tuneway.errors import InvalidInput
from tuneway.flows import hash_in
from tuneway.progress import FileReused, JobAdopted, Logged, News

if TYPE_CHECKING:
    from tuneway.client import Client
    from tuneway.dataset import CostEstimate, DatasetReport
    from tuneway.models import File, Job, JobSpec
    from tuneway.registry import Cost, GateLike, ModelVersion


@dataclass
class Journey:
    """One run, from a file to a registered model."""

    client: Client
    show: Show
    name: str
    model: str
    training: Training
    watch: Watch = field(default_factory=Watch)
    reports: list[DatasetReport] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    reused: set[str] = field(default_factory=set)
    adopted: bool = False
    _old_story: bool = False
    version: ModelVersion | None = None
    _spec: JobSpec | None = None
    _job: Job | None = None

    @property
    def done(self) -> Job:
        """The succeeded job."""
        assert self._job is not None
        return self._job

    @property
    def tuned(self) -> str:
        """The model that came out: the registered checkpoint's, else the job's."""
        return self.version.model_id if self.version else self.done.fine_tuned_model or self.done.id

    @property
    def report(self) -> DatasetReport:
        """What was found in the training file."""
        return self.reports[0]

    def check(self, file: Path, valid: Path | None) -> None:
        """Read the data; errors in it end the run before anything is sent."""
        self.show.begin("checking", str(file))
        grader = read_json(self.training.grader, "--grader") if self.training.grader else None
        with self._resumable():
            report = self.client.validate(
                file, validation_file=valid, model=self.model, n_epochs=self.training.epochs, grader=grader,
                on_event=self.show.hear,
            )  # fmt: skip
        report.raise_for_errors()
        self.reports = [report, report.validation] if report.validation else [report]
        for one in self.reports:
            self.show.done("checked", summary(one))
            for problem in one.warnings[:3]:
                self.show.done("warning", f"{one.path}:{problem}")
            if one.warning_count > 3:
                more = count(one.warning_count - 3, "more warning")
                self.show.done("warning", f"{more}: tuneway validate {one.path}")

    def upload(self) -> None:
        """Have the data on the service."""
        for report in self.reports:
            self.show.begin("uploading", report.path)
            with self._resumable():
                file = self.client.upload(report.path, validate=False, on_event=self.hear)
            _must_be_same(report, file)
            self.files.append(file)

    def submit(self, *, key: str, reuse: Any) -> None:
        """Have one job."""
        train, *valid = (file.id for file in self.files)
        self._spec = self.training.spec(model=self.model, training_file=train, validation_file=next(iter(valid), None))
        self.show.begin("creating", self.model, cost=self._price.usd if self._price else None)
        with self._resumable():
            self._job = self.client.submit(self._spec, key=key, reuse=reuse, on_event=self.hear)

    def wait(self, waiting: Waiting) -> None:
        """Wait until it has succeeded."""
        self._job = wait_for(self.client, self.done.id, waiting, self.hear)
        self.show.done(*end_of(self.done, self.watch))

    def register(self, how: Registering, gates: Sequence[GateLike], registry: str | None) -> None:
        """Write the model into the registry."""
        self.show.begin("registering", self.name)
        with self._resumable():
            self.version = self.client.register(
                self.done, name=self.name, alias=how.alias, registry=registry, checkpoint=how.checkpoint.value,
                gates=gates, spec=self._spec, data=[self.report], cost=self._cost,
            )  # fmt: skip
        aliases = "".join(f" @{alias}" for alias in self.version.aliases)
        again = "" if self.version.new else ", as before"
        self.show.done("registered", f"{self.version.ref}{aliases}{again}")
        for warning in self.version.warnings:
            self.show.done("warning", warning)

    def hear(self, news: News) -> None:
        """Take in news, and show them."""
        if isinstance(news, FileReused):
            self.reused.add(news.file.id)
        elif isinstance(news, JobAdopted):
            self.adopted, self._old_story = True, news.job.done
        self.watch.hear(news)
        if not (self._old_story and isinstance(news, Logged)):  # what was all told when it was trained
            self.show.hear(news)

    @contextmanager
    def _resumable(self) -> Iterator[None]:
        """Whatever interrupts this, the same command goes on from here."""
        try:
            yield
        except (KeyboardInterrupt, Terminated) as stop:
            if self.watch.job is not None:
                raise detached(stop, self.watch.job.id) from None
            raise Stopped(
                "stopped; no job of this run is known yet",
                hint="The same command goes on from here: it looks first, and pays nothing twice.",
                exit_code=exit_code(stop),
            ) from None

    def result(self) -> dict[str, Any]:
        """Everything worth keeping, for machines."""
        job, watch, cost = self.done, self.watch, self._cost
        return {
            "name": self.name,
            "model": self.tuned,
            "job_id": job.id,
            "status": job.status,
            "adopted": self.adopted,
            "files": [
                {"id": file.id, "path": report.path, "sha256": report.sha256, "sent": file.id not in self.reused}
                for file, report in zip(self.files, self.reports, strict=True)
            ],
            "rows": self.report.rows,
            "trained_tokens": job.trained_tokens,
            "cost": cost.model_dump(mode="json") if cost else None,
            "seconds": job.finished_at - job.created_at if job.finished_at and job.created_at else None,
            "metrics": {
                "first": watch.train[0] if watch.train else None,
                "last": watch.train[-1] if watch.train else None,
                "validation": watch.valid[-1] if watch.valid else None,
                "of": watch.measure,
            },
            "registered": self.version.ref if self.version else None,
            "aliases": self.version.aliases if self.version else [],
        }

    def farewell(self) -> Iterator[str]:
        """What it took, and what to do next, for people."""
        job, cost = self.done, self._cost
        tokens = count(job.trained_tokens, "trained token") if job.trained_tokens else ""
        usd = f"about {money(cost.amount)} at prices of {cost.price_date}" if cost else ""
        lines = {
            "took": ", ".join(filter(None, [tokens, usd])),
            "curve": f"tuneway metrics {job.id}",
            "report": f"tuneway report {job.id} -o report.html",
            "ask it": f"tuneway ask {self.tuned} '…'",
        }
        if self.version and "champion" not in self.version.aliases:
            lines["promote"] = f"tuneway promote {self.version.ref}"
        yield ""
        yield from (f"  {word:<{WIDTH}} {text}" for word, text in lines.items() if text)
        yield ""

    @property
    def _cost(self) -> Cost | None:
        """What it cost by the price table: of the tokens that were trained, else of those that were expected."""
        from tuneway.registry import Cost

        price, tokens = self._price, self.done.trained_tokens
        if price is None:
            return None
        usd = price.usd if tokens is None else tokens * price.usd_per_million / 1_000_000
        day = date.fromisoformat(price.prices_as_of) if price.prices_as_of else None
        return Cost(amount=round(usd, 4), price_date=day)

    @property
    def _price(self) -> CostEstimate | None:
        """The estimate that the data's check made; a service on this machine sends no bill."""
        return None if is_local(self.client.base_url) else self.report.cost


def _must_be_same(report: DatasetReport, file: File) -> None:
    """Refuse a file that changed between its check and its upload."""
    if hash_in(file.filename) not in (report.sha256, None):
        raise InvalidInput(
            f"{report.path} changed while it was being uploaded", hint="Run the same command again when it is complete."
        )
