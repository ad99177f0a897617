"""What the steps of a pipeline hand to one another: the same small JSON in every engine.

Each step's output is the next one's input, as it is; so a step takes an id, or the output of any step
that knows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from tuneway._escape import excerpt, url_segment
from tuneway.dialects import is_local
from tuneway.errors import InvalidInput, InvalidSpec
from tuneway.flows import KEY, ORIGIN, has_key, hash_in, made_by
from tuneway.models import JobSpec, TrainingSpec

if TYPE_CHECKING:
    from tuneway.client import UploadedFile
    from tuneway.dataset import DatasetReport
    from tuneway.models import File, Job
    from tuneway.outcome import Outcome
    from tuneway.recipe import Recipe
    from tuneway.registry import ModelVersion
    from tuneway.requester import Requester


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


def file_summary(file: UploadedFile) -> dict[str, Any]:
    """Summarise an uploaded file. `validation` is the same for the validation file that was uploaded with it."""
    return {
        "file_id": file.id,
        "filename": file.filename,
        "bytes": file.bytes,
        "sha256": hash_in(file.filename),
        "rows": file.rows,
        "tokens": file.tokens,
        "validation": file_summary(file.validation) if file.validation else None,
    }


def job_summary(
    job: Job,
    asked: TrainingSpec | Mapping[str, Any] | str | None = None,
    *,
    data: object = None,
    by: Requester | None = None,
) -> dict[str, Any]:
    """Summarise a job, with what later steps need to know of earlier ones.

    Args:
        job: The job.
        asked: What was asked for: a specification, or the output of a step that knows it.
        data: What is known of its data: a report, or the output of the step that checked or uploaded it; else what
            `asked` knows.
        by: Who asked for the job, in the step that created or adopted it. If it has made the job, and the job itself
            doesn't show that, the summary does: see `as_made`.
    """
    made = _made(job, by) if by else made_in(asked)
    requested, facts = requested_in(asked), data_facts(data) or data_facts(asked)
    return {
        "job_id": job.id,
        "status": job.status,
        "model": job.model,
        "fine_tuned_model": job.fine_tuned_model,
        "trained_tokens": job.trained_tokens,
        **({"requested": requested} if requested else {}),
        **({"data": facts} if facts else {}),
        **({"made": made} if made else {}),
    }


def as_made(job: Job, created: object) -> Job:
    """The job with the marks of who has made it, if the output of the step that created it has them.

    Where the mark is in a job's suffix, the job alone shows too little of it for `tuneway.flows.made_by`.
    """
    made = made_in(created)
    if not made or not has_key(job, made["key"]):
        return job
    return job.model_copy(update={"metadata": (job.metadata or {}) | {KEY: made["key"], ORIGIN: made["origin"]}})


def made_in(created: object) -> dict[str, str] | None:
    """Get the key and origin from a create step's output. They are there only if the job doesn't show both in full."""
    made = created.get("made") if isinstance(created, Mapping) else None
    return dict(made) if made else None


def _made(job: Job, by: Requester) -> dict[str, str] | None:
    marks = job.metadata or {}
    if marks.get(ORIGIN) == by.origin or KEY not in marks or not made_by(job, by):
        return None
    return {"key": marks[KEY], "origin": by.origin}


def requested_in(asked: TrainingSpec | Mapping[str, Any] | str | None) -> dict[str, Any]:
    """The hyperparameters that were requested, from a specification or from the output of an earlier step.

    Nothing else of a specification is handed on: a grader may contain a key. A job's id has no hyperparameters.
    """
    if isinstance(asked, Mapping):
        return dict(asked.get("requested") or {})
    return {} if asked is None or isinstance(asked, str) else asked.requested


class AskedTraining(NamedTuple):
    """What was asked for, and what earlier steps found in its data.

    Args:
        what: The recipe, or the specification.
        facts: Hash, rows and tokens of each file, from the output of an upload step.
    """

    what: Recipe | JobSpec
    facts: list[dict[str, Any]]


def asked_training(given: object) -> AskedTraining:
    """What to train: a `Recipe`, a `JobSpec`, or the fields of either.

    Fields with `training_file` are those of a specification. Its files are ids or outputs of upload steps; without
    a `validation_file` it has the one that was uploaded with the training file. A field that is None isn't given.

    Raises:
        InvalidSpec: It is something else, or fields of both are given.
    """
    from tuneway.recipe import Recipe

    if isinstance(given, TrainingSpec):
        return AskedTraining(given, [])  # type: ignore[arg-type]  # these two are all that there are
    if not isinstance(given, Mapping):
        raise InvalidSpec(
            f"a {type(given).__name__} doesn't say what to train",
            field="recipe",
            hint="Give a Recipe, a JobSpec, or a mapping of the fields of either.",
        )
    fields = {name: value for name, value in given.items() if value is not None}
    kind, other = (JobSpec, Recipe) if fields.get("training_file") else (Recipe, JobSpec)
    stray = [name for name in other.model_fields if name not in kind.model_fields and name in fields]
    if stray:
        raise InvalidSpec(
            f"{stray[0]}: it doesn't go with {'training_file' if kind is JobSpec else 'training_data'}",
            field=stray[0],
            hint="Give training_data and validation_data, or training_file and validation_file.",
        )
    if kind is Recipe:
        return AskedTraining(Recipe(**fields), [])
    files, facts = _uploaded(fields["training_file"], fields.get("validation_file"))
    return AskedTraining(JobSpec(**fields | files), facts)


def _uploaded(training_file: Any, validation_file: Any) -> tuple[dict[str, str | None], list[dict[str, Any]]]:
    """The ids of the files, and what is known of them."""
    ids: dict[str, str | None] = {"training_file": file_id_of(training_file)}
    if isinstance(training_file, Mapping):
        validation_file = validation_file or training_file.get("validation")
        training_file = {**training_file, "validation": None}
    ids["validation_file"] = file_id_of(validation_file) if validation_file else None
    return ids, data_facts(training_file) + data_facts(validation_file)


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


def _facts(known: Mapping[str, Any]) -> dict[str, Any]:
    return {name: known.get(name) for name in ("sha256", "rows", "tokens")}


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
    """The id of an uploaded file: from the id itself, a `File` or its JSON, or a step's output.

    Raises:
        InvalidInput: There is none in it.
    """
    return _id_in(file, "file", keys=("file_id",), attribute="id", made="uploaded", kind="file")


def validation_file_id_of(file: object) -> str | None:
    """The id of the validation file that was uploaded with this one, if the step's output says so."""
    beside = file.get("validation") if isinstance(file, Mapping) else None
    return file_id_of(beside) if beside else None


def job_id_of(job: str | Mapping[str, Any] | Job) -> str:
    """The id of a job: from the id itself, a `Job` or its JSON, or a step's output.

    Raises:
        InvalidInput: There is none in it.
    """
    return _id_in(job, "job", keys=("job_id",), attribute="id", made="made", kind="fine_tuning.job")


def model_id_of(model: str | Mapping[str, Any] | Job) -> str:
    """The id of a fine-tuned model: from the id itself, its `Job`, or a step's output.

    Raises:
        InvalidInput: There is none in it.
    """
    keys = ("model_id", "fine_tuned_model")
    return _id_in(model, "fine-tuned model", keys=keys, attribute="fine_tuned_model", made="made")


def _id_in(
    given: object, what: str, *, keys: tuple[str, ...], attribute: str, made: str, kind: str | None = None
) -> str:
    """The id in a step's input: a text, an attribute of an object, or the first of these keys of a mapping.

    A mapping may also be the JSON of the API's object of this kind.
    """
    if isinstance(given, Mapping):
        keys = ("id",) if kind is not None and given.get("object") == kind else keys
        found = next(filter(None, map(given.get, keys)), None)
    else:
        found = getattr(given, attribute, given)
    if not found or not isinstance(found, str):
        raise InvalidInput(f"no {what}: {excerpt(given)}. Give its id, or the output of the step that {made} it.")
    return found


def hosted_page(job_id: str, base_url: str) -> str | None:
    """A job's page at OpenAI; None for any other service."""
    if urlsplit(base_url).hostname != "api.openai.com" or not job_id.strip("."):
        return None
    return f"https://platform.openai.com/finetune/{url_segment(job_id)}?filter=all"


def job_page(job_id: str, base_url: str) -> str | None:
    """The address of a job's page in a browser; None if the service has no known page.

    The local service shows its jobs beside its API, so a service on this machine is taken for one.
    """
    if not is_local(base_url):
        return hosted_page(job_id, base_url)
    place = urlsplit(base_url)
    # a browser takes two dots for a step up, also when they are quoted
    return f"{place.scheme}://{place.netloc}/jobs/{url_segment(job_id)}" if job_id.strip(".") else None
