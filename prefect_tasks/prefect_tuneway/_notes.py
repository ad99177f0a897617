"""What a run shows in Prefect's UI, and what it leaves for whoever comes after it.

None of it is worth a failed step: what Prefect's API refuses is logged, and the training goes on.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.utilities.context import get_task_and_flow_run_ids

from prefect_tuneway import _runs

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.artifacts import Artifact

    from tuneway.models import Checkpoint, Job, MetricRow
    from tuneway.progress import News
    from tuneway.registry import ModelVersion

SECONDS_BETWEEN = 2.0
SECONDS_PER_WAIT = 0.25
"""Progress is shown so seldom that all waits of a process together ask Prefect's API a few times a second."""

TABLE_ROWS = 200


def forgive(what: str, error: Exception) -> None:
    """Say what couldn't be shown."""
    _runs.logger().warning("%s can't be shown: %s", what, error)


@contextmanager
def _forgiving(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - see the module
        forgive(what, error)


def _key(job_id: str, kind: str) -> str:
    """An artifact's key: lower-case letters, digits and dashes."""
    return f"{re.sub(r'[^a-z0-9]+', '-', job_id.lower()).strip('-')}-{kind}"


def _artifact(artifact: Artifact) -> ArtifactCreate:
    """What Prefect's API is sent; Prefect's own functions for it leave a connection open each time."""
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
    """Link to the job's page, where its service has one."""
    from prefect.artifacts import LinkArtifact

    from tuneway.steps import job_page

    page = job_page(job.id, base_url)
    if page is not None:
        description = f"Fine-tuning job `{job.id}` on `{job.model}`"
        link = LinkArtifact(link=page, link_text=job.id, key=_key(job.id, "job"), description=description)
        _show("the link to the job", link)


class JobProgress:
    """A job's progress as an artifact that moves."""

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
        """Wait no longer."""
        with self._lock:
            self._waiting.discard(id(self))

    def hear(self, batch: Sequence[News]) -> None:
        """Show how far the job has come, if there is news of it and the last show is long enough ago."""
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
        """Show so much of the whole."""
        from prefect.artifacts import ProgressArtifact

        if percent <= self._shown:
            return
        self._shown = percent
        self._next = time.monotonic() + max(SECONDS_BETWEEN, SECONDS_PER_WAIT * len(self._waiting))
        bar = ProgressArtifact(
            progress=percent, key=_key(self.job_id, "progress"), description=f"`{self.job_id}`: {text}"
        )
        with _forgiving("the job's progress"), get_client(sync_client=True) as client:
            if self._artifact is None:
                self._artifact = client.create_artifact(_artifact(bar)).id
            else:
                client.update_artifact(self._artifact, ArtifactUpdate(data=percent, description=bar.description))


def show_results(job: Job, rows: Sequence[MetricRow], checkpoints: Sequence[Checkpoint], base_url: str) -> None:
    """Show what a training that has ended gave: its metrics and checkpoints as a table, its curve as a page."""
    from prefect.artifacts import MarkdownArtifact, TableArtifact

    shown: list[Artifact] = []
    if table := _table(rows, checkpoints):
        description = f"Metrics and checkpoints of `{job.id}`"
        shown.append(TableArtifact(table=table, key=_key(job.id, "metrics"), description=description))
    with _forgiving("the learning curve"):
        page = _page(job, rows, checkpoints, base_url)
        description = f"The training of `{job.fine_tuned_model}`"
        shown.append(MarkdownArtifact(markdown=page, key=_key(job.id, "training"), description=description))
    _show("what the training measured", *shown)


def _table(rows: Sequence[MetricRow], checkpoints: Sequence[Checkpoint]) -> list[dict[str, Any]]:
    """Step by step, thinned out where there are very many; each checkpoint is in it."""
    names = ("train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy")
    marked = {checkpoint.step_number: checkpoint for checkpoint in checkpoints}
    every = -(-len(rows) // TABLE_ROWS) or 1
    table: dict[int, dict[str, Any]] = {}
    for index, row in enumerate(rows):
        if index % every == 0 or row.step in marked or index == len(rows) - 1:
            table[row.step] = {"step": row.step} | {name: _cell(getattr(row, name)) for name in names}
    for step, checkpoint in marked.items():
        if step is not None:
            line = table.setdefault(step, {"step": step} | dict.fromkeys(names, ""))
            line["checkpoint"] = checkpoint.fine_tuned_model_checkpoint or checkpoint.id
    return [line | {"checkpoint": line.get("checkpoint", "")} for _, line in sorted(table.items())]


def _cell(value: float | None) -> float | str:
    return "" if value is None else round(value, 5)


def _page(job: Job, rows: Sequence[MetricRow], checkpoints: Sequence[Checkpoint], service: str) -> str:
    """The curve, and where the model comes from."""
    from tuneway.report import curve_svg, data_uri

    lines = [f"## {job.fine_tuned_model}", ""]
    if rows or checkpoints:
        picture = data_uri(curve_svg(rows, checkpoints, theme="light"))
        lines += [f"![The loss, step by step]({picture})", ""]
    facts = {
        "Training file": job.training_file,
        "Validation file": job.validation_file,
        "Base model": job.model,
        "Job": job.id,
        "Model": job.fine_tuned_model,
        "Trained tokens": f"{job.trained_tokens:,}" if job.trained_tokens is not None else None,
        "Seed": job.seed,
        "Service": service or None,
        "Asked for by": (job.metadata or {}).get("tuneway_origin"),
    }
    return "\n".join([*lines, *_facts(facts)])


def show_version(version: ModelVersion) -> None:
    """Show what was registered, and where it comes from."""
    from prefect.artifacts import MarkdownArtifact

    record = version.record
    files = [
        f"`{file.id}`, sha256 `{(file.sha256 or 'unknown')[:12]}`" if file else None
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
        "Cost": f"{record.cost.amount:.2f} {record.cost.currency}" if record.cost else None,
        "Code": record.git.commit[:12] + (" and changes" if record.git.dirty else "") if record.git else None,
        "Asked for by": record.origin.text if record.origin else None,
    } | {name.replace("_", " ").capitalize(): f"{value:.4g}" for name, value in record.metrics.items()}
    text = "\n".join([f"## {version.ref}", "", *_facts(facts), *(f"\n> {warning}" for warning in version.warnings)])
    description = f"`{version.ref}` and where it comes from"
    page = MarkdownArtifact(markdown=text, key=_key(version.name, "model"), description=description)
    _show("the registered version", page)


def _facts(facts: dict[str, Any]) -> list[str]:
    told = [f"| {name} | {value} |" for name, value in facts.items() if value not in (None, "")]
    return ["| | |", "|---|---|", *told]
