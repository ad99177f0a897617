"""What the steps of a pipeline hand to one another: the same small JSON in every engine.

Each step's output is the next one's input, as it is; so a step takes an id, or the output of any step
that knows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from tuneway.client._register import cost_of
from tuneway.client._settings import is_local
from tuneway.errors import InvalidInput
from tuneway.flows import hash_in

if TYPE_CHECKING:
    from tuneway.dataset import DatasetReport
    from tuneway.models import File, Job, JobSpec
    from tuneway.registry import ModelVersion
    from tuneway.report import Report


def data_summary(report: DatasetReport, path: str) -> dict[str, Any]:
    """Checked training data in a few words: what is in it, and what training on it would cost.

    `validation` is what the registry wants to know of the data to measure on, if it was checked as well.
    """
    beside = report.validation
    return {
        "path": path,
        "sha256": report.sha256,
        "size_bytes": report.size_bytes,
        "format": report.format,
        "rows": report.rows,
        "tokens": report.tokens.total,
        "tokens_exact": report.tokens.exact,
        "trained_tokens": report.trained_tokens,
        "usd": report.cost.usd if report.cost else None,
        "warnings": report.warning_count,
        "validation": {"sha256": beside.sha256, "rows": beside.rows, "tokens": beside.tokens.total} if beside else None,
    }


def file_summary(file: File) -> dict[str, Any]:
    """An uploaded file in a few words; `sha256` is what its name says, if it does."""
    return {"file_id": file.id, "filename": file.filename, "bytes": file.bytes, "sha256": hash_in(file.filename)}


def job_summary(job: Job, asked: JobSpec | Mapping[str, Any] | str | None = None) -> dict[str, Any]:
    """A job in a few words; of what was `asked`, which hyperparameters, if any were (see `requested_in`)."""
    requested = requested_in(asked)
    return {
        "job_id": job.id,
        "status": job.status,
        "model": job.model,
        "fine_tuned_model": job.fine_tuned_model,
        "trained_tokens": job.trained_tokens,
        **({"requested": requested} if requested else {}),
    }


def requested_in(asked: JobSpec | Mapping[str, Any] | str | None) -> dict[str, Any]:
    """The hyperparameters that were asked for: in a specification, or in the output of a step that knows them.

    Nothing else of a specification is handed on: a grader may hold a key. A job's id alone says nothing of it.
    """
    if isinstance(asked, Mapping):
        return dict(asked.get("requested") or {})
    return {} if asked is None or isinstance(asked, str) else asked.requested


def training_summary(report: Report, base_url: str) -> dict[str, Any]:
    """What a training came to, in a few figures: the last of all that was measured, time, tokens, cost.

    `usd` is None where nobody sends a bill, or no price is known.
    """
    from tuneway.registry._curve import points

    job = report.job
    cost = report.cost or cost_of(job, base_url)
    measured = sorted((step, name, value) for (name, step), value in points([*report.rows, *report.events]).items())
    return {
        "metrics": {name: value for _, name, value in measured},
        "trained_tokens": job.trained_tokens,
        "seconds": None if job.created_at is None or job.finished_at is None else job.finished_at - job.created_at,
        "usd": cost.amount if cost else None,
        "trainer": job.trainer,
    }


def version_summary(version: ModelVersion) -> dict[str, Any]:
    """A registered version in a few words, small enough for a message or an event."""
    record = version.record
    return {
        "name": version.name,
        "version": version.version,
        "ref": version.ref,
        "model_id": version.model_id,
        "aliases": version.aliases,
        "job_id": record.job_id,
        "base_model": record.base_model,
        "metrics": dict(record.metrics),
    }


def file_id_of(file: str | Mapping[str, Any] | File) -> str:
    """An uploaded file's id, given as it is, as a file, or as a step's output.

    Raises:
        InvalidInput: There is none in it.
    """
    return _id_in(file, "file", keys=("file_id",), attribute="id", made="uploaded")


def job_id_of(job: str | Mapping[str, Any] | Job) -> str:
    """A job's id, given as it is, as a job, or as a step's output.

    Raises:
        InvalidInput: There is none in it.
    """
    return _id_in(job, "job", keys=("job_id",), attribute="id", made="made")


def model_id_of(model: str | Mapping[str, Any] | Job) -> str:
    """A fine-tuned model's id, given as it is, as its job, or as a step's output.

    Raises:
        InvalidInput: There is none in it.
    """
    keys = ("model_id", "fine_tuned_model")
    return _id_in(model, "fine-tuned model", keys=keys, attribute="fine_tuned_model", made="made")


def _id_in(given: object, what: str, *, keys: tuple[str, ...], attribute: str, made: str) -> str:
    """The id in what a step was given: under the first of these keys of an output, in an object, or as it is."""
    if isinstance(given, Mapping):
        found = next(filter(None, map(given.get, keys)), None)
    else:
        found = getattr(given, attribute, given)
    if not found or not isinstance(found, str):
        raise InvalidInput(f"no {what}: {given!r}. Give its id, or the output of the step that {made} it.")
    return found


def hosted_page(job_id: str, base_url: str) -> str | None:
    """A job's page at OpenAI; None for any other service."""
    if urlsplit(base_url).hostname != "api.openai.com":
        return None
    return f"https://platform.openai.com/finetune/{quote(job_id)}?filter=all"


def job_page(job_id: str, base_url: str) -> str | None:
    """Where a person can look at a job in a browser; None where the service has no page that we know.

    The local service shows its jobs beside its API, so a service on this machine is taken for one.
    """
    if not is_local(base_url):
        return hosted_page(job_id, base_url)
    place = urlsplit(base_url)
    return f"{place.scheme}://{place.netloc}/jobs/{quote(job_id)}"
