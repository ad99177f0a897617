"""The artifacts that a run shows in Prefect's UI.

A failed artifact never fails a step: what Prefect's API refuses is logged, and the step goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.utilities.context import get_task_and_flow_run_ids

from prefect_tuneway import _runs
from tuneway._escape import markdown, one_line, slug

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.artifacts import Artifact

    from tuneway import Outcome
    from tuneway.models import Job
    from tuneway.progress import News
    from tuneway.registry import Cost, ModelVersion

SECONDS_BETWEEN = 2.0
SECONDS_PER_WAIT = 0.25
"""The least seconds between two updates of a job's progress; with many waits, each waits longer in proportion, so
that all of a process together send Prefect's API a few requests a second."""

TABLE_ROWS = 200


@contextmanager
def _forgiving(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - see the module
        _runs.logger().warning("%s can't be shown: %s", what, one_line(error))


def _key(job_id: str, kind: str) -> str:
    """An artifact's key: lower-case letters, digits and dashes."""
    return f"{slug(job_id)}-{kind}"


def _artifact(artifact: Artifact) -> ArtifactCreate:
    """The request to Prefect's API; Prefect's own functions for it leave a connection open each time."""
    task_run, flow_run = get_task_and_flow_run_ids()
    return ArtifactCreate(
        key=artifact.key,
        type=artifact.type,
        description=artifact.description,
        data=artifact.format(_sync=True),  # type: ignore[call-arg]  # what its decorator adds
        task_run_id=task_run,
        flow_run_id=flow_run,
    )


def _show(what: str, *artifacts: Artifact) -> None:
    with _forgiving(what), get_client(sync_client=True) as client:
        for artifact in artifacts:
            client.create_artifact(_artifact(artifact))


def link_to(job: Job, base_url: str) -> None:
    """Show a link to the job's page, if its service has one."""
    from prefect.artifacts import LinkArtifact

    from tuneway.steps import job_page

    page = job_page(job.id, base_url)
    if page is not None:
        description = f"Fine-tuning job {markdown(job.id)} on {markdown(job.model or 'a model')}"
        link = LinkArtifact(link=page, link_text=markdown(job.id), key=_key(job.id, "job"), description=description)
        _show("the link to the job", link)


class JobProgress:
    """A job's progress as an artifact that is updated."""

    _waiting: ClassVar[set[int]] = set()
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self._artifact: UUID | None = None
        self._shown = -1.0
        self._next = 0.0
        with self._lock:
            self._waiting.add(id(self))

    def leave(self) -> None:
        """Remove this wait from the waits that the process counts."""
        with self._lock:
            self._waiting.discard(id(self))

    def hear(self, batch: Sequence[News]) -> None:
        """Show how far the job has come, if there is news of it and the last update is long enough ago."""
        from tuneway.progress import Logged

        metrics = [news.event.metrics for news in batch if isinstance(news, Logged) and news.event.metrics]
        if not metrics or time.monotonic() < self._next:
            return
        step, total = metrics[-1].get("step"), metrics[-1].get("total_steps")
        if step is not None and total:
            loss = metrics[-1].get("train_loss")
            self.show(
                min(99.0, 100 * step / total),
                f"step {step:g} of {total:g}" + (f", loss {loss:.4g}" if loss is not None else ""),
            )

    def show(self, percent: float, text: str) -> None:
        """Show the progress in percent, with a text."""
        from prefect.artifacts import ProgressArtifact

        if percent <= self._shown:
            return
        self._shown = percent
        self._next = time.monotonic() + max(SECONDS_BETWEEN, SECONDS_PER_WAIT * len(self._waiting))
        bar = ProgressArtifact(
            progress=percent, key=_key(self.job_id, "progress"), description=f"{markdown(self.job_id)}: {text}"
        )
        with _forgiving("the job's progress"), get_client(sync_client=True) as client:
            if self._artifact is None:
                self._artifact = client.create_artifact(_artifact(bar)).id
            else:
                client.update_artifact(self._artifact, ArtifactUpdate(data=percent, description=bar.description))


def show_outcome(outcome: Outcome, report: str | None = None) -> None:
    """Show what came of a training: its metrics and checkpoints as a table, its curve and its facts as a page.

    Args:
        outcome: What came of it.
        report: Where its report was written.
    """
    from prefect.artifacts import MarkdownArtifact, TableArtifact

    job = outcome.job
    for gap in outcome.missing:
        _runs.logger().warning("%s", gap)
    shown: list[Artifact] = []
    if table := _table(outcome):
        description = f"Metrics and checkpoints of {markdown(job.id)}"
        shown.append(TableArtifact(table=table, key=_key(job.id, "metrics"), description=description))
    with _forgiving("the learning curve"):
        page = _page(outcome, report)
        description = f"The training of {markdown(job.fine_tuned_model or job.id)}"
        shown.append(MarkdownArtifact(markdown=page, key=_key(job.id, "training"), description=description))
    _show("what the training measured", *shown)


def _table(outcome: Outcome) -> list[dict[str, Any]]:
    """Every metric step by step, thinned out where there are very many steps; those with a checkpoint are all in it."""
    from tuneway.models import METRICS

    points, measured = outcome.points, {name for name, _ in outcome.points}
    names = [*(name for name in METRICS if name in measured), *sorted(measured - METRICS.keys())]
    marked = {
        checkpoint.step_number: checkpoint.fine_tuned_model_checkpoint or checkpoint.id
        for checkpoint in outcome.checkpoints
        if checkpoint.step_number is not None
    }
    steps = sorted({step for _, step in points})
    every = -(-len(steps) // TABLE_ROWS) or 1
    shown = sorted({*steps[::every], *steps[-1:], *marked})
    return [
        {"step": step}
        | {one_line(name, 100): _cell(points.get((name, step))) for name in names}
        | {"checkpoint": markdown(marked.get(step, ""))}  # Prefect takes the texts of a table for Markdown
        for step in shown
    ]


def _cell(value: float | None) -> float | str:
    return "" if value is None else round(value, 5)


def _page(outcome: Outcome, report: str | None) -> str:
    """The curve, and what the model was trained from."""
    from tuneway.report import curve_svg, data_uri

    job = outcome.job
    lines = [f"## {markdown(job.fine_tuned_model or job.id)}", ""]
    if outcome.curve:
        picture = data_uri(curve_svg(outcome.trained.curve, outcome.checkpoints, theme="light"))
        lines += [f"![The loss, step by step]({picture})", ""]
    facts = {
        "Training file": job.training_file,
        "Validation file": job.validation_file,
        "Base model": job.model,
        "Job": job.id,
        "Model": outcome.model,
        "Trained by": outcome.trainer,
        "Trained tokens": f"{job.trained_tokens:,}" if job.trained_tokens is not None else None,
        "Cost": _money(outcome.cost),
        "Seed": job.seed,
        "Service": outcome.service_url or None,
        "Asked for by": (job.metadata or {}).get("tuneway_origin"),
        "Report": report,
    }
    return "\n".join([*lines, *_facts(facts)])


def _money(cost: Cost | None) -> str | None:
    return f"{cost.amount:.2f} {cost.currency}" if cost else None


def show_version(version: ModelVersion) -> None:
    """Show what was registered, and where it comes from."""
    from prefect.artifacts import MarkdownArtifact

    record = version.record
    files = [
        f"{file.id}, sha256 {(file.sha256 or 'unknown')[:12]}" if file else None
        for file in (record.training, record.validation)
    ]
    facts = {
        "Training data": files[0],
        "Validation data": files[1],
        "Base model": record.base_model,
        "Job": record.job_id,
        "Model": record.model_id,
        "Aliases": ", ".join(version.aliases) or None,
        "Trained by": record.trainer,
        "Cost": _money(record.cost),
        "Code": record.git.commit[:12] + (" and changes" if record.git.dirty else "") if record.git else None,
        "Asked for by": record.origin.text if record.origin else None,
    } | {markdown(name, cell=True): f"{value:.4g}" for name, value in record.metrics.items()}
    warnings = (f"\n> {markdown(warning, limit=1000)}" for warning in version.warnings)
    text = "\n".join([f"## {markdown(version.ref)}", "", *_facts(facts), *warnings])
    description = f"{markdown(version.ref)} and where it comes from"
    page = MarkdownArtifact(markdown=text, key=_key(version.name, "model"), description=description)
    _show("the registered version", page)


def _facts(facts: dict[str, Any]) -> list[str]:
    told = [f"| {name} | {markdown(value, cell=True)} |" for name, value in facts.items() if value not in (None, "")]
    return ["| | |", "|---|---|", *told]
