"""What the steps of a pipeline hand to one another: the same small JSON in every engine.

Each step's output is the next one's input, as it is; so a step takes an id, or the output of any step
that knows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit

from tuneway.client._settings import is_local
from tuneway.errors import InvalidInput
from tuneway.flows import hash_in

if TYPE_CHECKING:
    from tuneway.dataset import DatasetReport
    from tuneway.models import File, Job, TrainingSpec
    from tuneway.outcome import Outcome
    from tuneway.registry import ModelVersion


def data_summary(report: DatasetReport) -> dict[str, Any]:
    """Summarise checked data: what is in it, and what training on it would cost.

    `validation` is the same for the validation data that was checked along with it.
    """
    beside = report.validation
    return {
        "path": report.path,
        "sha256": report.sha256,
        "size_bytes": report.size_bytes,
        "format": report.format,
        "rows": report.rows,
        "tokens": report.tokens.total,
        "tokens_exact": report.tokens.exact,
        "trained_tokens": report.trained_tokens,
        "usd": report.cost.usd if report.cost else None,
        "warnings": report.warning_count,
        "validation": data_summary(beside) if beside else None,
    }


def file_summary(file: File, report: DatasetReport | None = None, *, validation: File | None = None) -> dict[str, Any]:
    """Summarise an uploaded file, and the validation file that was uploaded with it.

    Args:
        file: The file.
        report: What the check of it has found: its rows and tokens are told as well.
        validation: The validation file.
    """
    beside = report.validation if report else None
    return {
        "file_id": file.id,
        "filename": file.filename,
        "bytes": file.bytes,
        "sha256": hash_in(file.filename),
        "rows": report.rows if report else None,
        "tokens": report.tokens.total if report else None,
        "validation": file_summary(validation, beside) if validation else None,
    }


def job_summary(
    job: Job, asked: TrainingSpec | Mapping[str, Any] | str | None = None, *, data: object = None
) -> dict[str, Any]:
    """Summarise a job, with what later steps need to know of earlier ones.

    Args:
        job: The job.
        asked: What was asked for: a specification, or the output of a step that knows it.
        data: What is known of its data: a report, or the output of the step that checked or uploaded it; else what
            `asked` knows.
    """
    requested, facts = requested_in(asked), data_facts(data) or data_facts(asked)
    return {
        "job_id": job.id,
        "status": job.status,
        "model": job.model,
        "fine_tuned_model": job.fine_tuned_model,
        "trained_tokens": job.trained_tokens,
        **({"requested": requested} if requested else {}),
        **({"data": facts} if facts else {}),
    }


def requested_in(asked: TrainingSpec | Mapping[str, Any] | str | None) -> dict[str, Any]:
    """The hyperparameters that were requested, from a specification or from the output of an earlier step.

    Nothing else of a specification is handed on: a grader may contain a key. A job's id has no hyperparameters.
    """
    if isinstance(asked, Mapping):
        return dict(asked.get("requested") or {})
    return {} if asked is None or isinstance(asked, str) else asked.requested


class UploadedFiles(NamedTuple):
    """The files of a job: their ids, and what is known of their data.

    Args:
        training: The id of the training file.
        validation: The id of the validation file, if there is one.
        facts: Hash, rows and tokens of each file that an upload step told of.
    """

    training: str
    validation: str | None
    facts: list[dict[str, Any]]


def uploaded_files(
    training_file: str | Mapping[str, Any] | File, validation_file: str | Mapping[str, Any] | File | None = None
) -> UploadedFiles:
    """The files of a job, from ids or from outputs of upload steps.

    A validation file that is given wins over the one that was uploaded with the training file.
    """
    training = file_id_of(training_file)
    if validation_file is None:
        return UploadedFiles(training, validation_file_id_of(training_file), data_facts(training_file))
    alone = {**training_file, "validation": None} if isinstance(training_file, Mapping) else None
    return UploadedFiles(training, file_id_of(validation_file), data_facts(alone) + data_facts(validation_file))


def data_facts(known: object) -> list[dict[str, Any]]:
    """Hash, rows and tokens of each data file, from a report or from the output of an earlier step."""
    if isinstance(known, Mapping) and isinstance(known.get("data"), list):
        known = known["data"]
    if isinstance(known, list):
        return [dict(fact) for fact in known]
    if isinstance(known, Mapping):
        facts = [known] if known.get("rows") is not None else []
        return [_facts(fact) for fact in facts] + data_facts(known.get("validation"))
    if hasattr(known, "rows") and hasattr(known, "tokens"):
        return data_facts(data_summary(known))  # type: ignore[arg-type]
    return []


def _facts(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: told.get(name) for name in ("sha256", "rows", "tokens")}


def training_summary(outcome: Outcome) -> dict[str, Any]:
    """Summarise a training: the last value of each metric, its time, tokens and cost.

    `usd` is None where no bill is sent, or no price is known.
    """
    cost = outcome.cost
    return {
        "metrics": outcome.metrics,
        "trained_tokens": outcome.job.trained_tokens,
        "seconds": outcome.seconds,
        "usd": cost.amount if cost else None,
        "trainer": outcome.trainer,
    }


def version_summary(version: ModelVersion) -> dict[str, Any]:
    """Summarise a registered version, small enough for a message or an event."""
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
    """The id of an uploaded file: from the id itself, a `File`, or a step's output.

    Raises:
        InvalidInput: There is none in it.
    """
    return _id_in(file, "file", keys=("file_id",), attribute="id", made="uploaded")


def validation_file_id_of(file: object) -> str | None:
    """The id of the validation file that was uploaded with this one, if the step's output says so."""
    beside = file.get("validation") if isinstance(file, Mapping) else None
    return file_id_of(beside) if beside else None


def job_id_of(job: str | Mapping[str, Any] | Job) -> str:
    """The id of a job: from the id itself, a `Job`, or a step's output.

    Raises:
        InvalidInput: There is none in it.
    """
    return _id_in(job, "job", keys=("job_id",), attribute="id", made="made")


def model_id_of(model: str | Mapping[str, Any] | Job) -> str:
    """The id of a fine-tuned model: from the id itself, its `Job`, or a step's output.

    Raises:
        InvalidInput: There is none in it.
    """
    keys = ("model_id", "fine_tuned_model")
    return _id_in(model, "fine-tuned model", keys=keys, attribute="fine_tuned_model", made="made")


def _id_in(given: object, what: str, *, keys: tuple[str, ...], attribute: str, made: str) -> str:
    """The id in a step's input: a text, an attribute of an object, or the first of these keys of a mapping."""
    if isinstance(given, Mapping):
        found = next(filter(None, map(given.get, keys)), None)
    else:
        found = getattr(given, attribute, given)
    if not found or not isinstance(found, str):
        shown = f"{given!r:.60}" if isinstance(given, str) else f"a {type(given).__name__}"
        raise InvalidInput(f"no {what}: {shown}. Give its id, or the output of the step that {made} it.")
    return found


def hosted_page(job_id: str, base_url: str) -> str | None:
    """A job's page at OpenAI; None for any other service."""
    if urlsplit(base_url).hostname != "api.openai.com":
        return None
    return f"https://platform.openai.com/finetune/{quote(job_id, safe='')}?filter=all"


def job_page(job_id: str, base_url: str) -> str | None:
    """The address of a job's page in a browser; None if the service has no known page.

    The local service shows its jobs beside its API, so a service on this machine is taken for one.
    """
    if not is_local(base_url):
        return hosted_page(job_id, base_url)
    place = urlsplit(base_url)
    return f"{place.scheme}://{place.netloc}/jobs/{quote(job_id, safe='')}"
