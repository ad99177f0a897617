"""Together's jobs, events, checkpoints, metrics and files, in OpenAI's JSON."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

Raw = Mapping[str, Any]
"""A JSON object of the service."""

ENDED = frozenset({"completed", "error", "user_error", "cancelled"})
METRICS = "metrics-of-"
"""How the id of a result file begins. The service has none: it is made of the job's metrics."""

HYPERPARAMETERS = (
    *("n_epochs", "batch_size", "learning_rate", "n_checkpoints", "n_evals", "warmup_ratio", "weight_decay"),
    *("max_grad_norm", "max_seq_length", "packing"),
)
LEVELS = {"info": "info", "warning": "warn", "error": "error", "iwarning": "warn", "ierror": "error"}
STATUSES = {"COMPLETED": "processed", "FAILED": "error", "INVALID_FORMAT": "error"}
PROCESSING = frozenset({"PENDING", "QUEUED", "RUNNING"})
NAME_ENDING = re.compile(r"-[0-9a-f]{8}$")
"""What the service adds to the name of a model, behind the suffix."""
MARK_AT_END = re.compile(r"(?:^|-)([0-9a-f]{16})$")


def seconds(value: object) -> float | None:
    """A time in epoch seconds: the service writes it as ISO 8601, or as a number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if not isinstance(value, str):
        return float(value)
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def as_job(raw: Raw, now: float, error: str | None = None) -> dict[str, Any]:
    """A job. `error` is the message of its last error, if its log was read."""
    status = raw.get("status")
    ended, made = status in ENDED, status == "completed"
    job = {name: value for name, value in raw.items() if name not in _TRANSLATED}
    job |= {
        "object": "fine_tuning.job",
        "created_at": seconds(raw.get("created_at")),
        "finished_at": seconds(raw.get("updated_at")) if ended else None,
        "estimated_finish": None if ended else _estimate(raw.get("progress"), now),
        "model": raw.get("model") or raw.get("from_checkpoint"),
        # the service names the model before there is one
        "fine_tuned_model": (raw.get("model_output_name") or raw.get("model_object_name")) if made else None,
        "validation_file": raw.get("validation_file") or None,
        "seed": raw.get("random_seed"),
        "suffix": raw.get("suffix") or _suffix_in(raw),
        "trained_tokens": raw.get("token_count") if ended else None,
        "method": _method(raw),
        "result_files": [METRICS + str(raw["id"])] if made else [],
    }
    message = error or error_in(raw.get("events"))
    if status in ("error", "user_error"):
        job["error"] = {"code": status, "message": message}
    price = raw.get("total_price")
    if ended and isinstance(price, int | float) and not isinstance(price, bool):
        job["billed_usd"] = price / 1e9
    return job


_TRANSLATED = frozenset(
    {
        *("events", "random_seed", "model_output_name", "training_method", "token_count", "updated_at"),
        *("wandb_key", "wandb_api_key", "hf_api_token"),  # nobody needs them again
    }
)


def error_in(events: object) -> str | None:
    """The message of the last error in a job's log."""
    found = [
        event.get("message")
        for event in in_order(events)
        if str(event.get("type")).lower() in ("job_error", "job_user_error")
    ]
    return found[-1] if found and isinstance(found[-1], str) else None


def in_order(events: object) -> list[Raw]:
    """A log with its oldest line first, in whichever order the service lists it."""
    lines = [event for event in events if isinstance(event, Mapping)] if isinstance(events, list) else []
    times = [seconds(event.get("created_at")) or 0.0 for event in lines]
    if times and times[0] > times[-1]:
        lines.reverse()
    return sorted(lines, key=lambda event: seconds(event.get("created_at")) or 0.0)


def as_events(job_id: str, events: object) -> list[dict[str, Any]]:
    """A job's log, newest first. Lines have no ids: theirs are made of what they say, and of how often it was said."""
    seen: Counter[str] = Counter()
    log = []
    for event in in_order(events):
        content = json.dumps(event, sort_keys=True, ensure_ascii=True)
        mark = hashlib.sha256(content.encode()).hexdigest()[:16]
        seen[mark] += 1
        level = str(event.get("level") or "info").lower().removeprefix("legacy_")
        log.append(
            {
                **event,
                "id": f"{job_id}-{mark}-{seen[mark]}",
                "object": "fine_tuning.job.event",
                "created_at": seconds(event.get("created_at")),
                "level": LEVELS.get(level, "info"),
            }
        )
    return log[::-1]


def as_checkpoints(job_id: str, checkpoints: object) -> list[dict[str, Any]]:
    """A job's checkpoints, newest first. One step may have two: the adapter, and the model with it merged in."""
    found = [one for one in checkpoints if isinstance(one, Mapping)] if isinstance(checkpoints, list) else []
    made = [
        {
            **one,
            "id": one.get("object_id") or f"{job_id}:{one.get('step')}:{one.get('checkpoint') or index}",
            "object": "fine_tuning.job.checkpoint",
            "created_at": seconds(one.get("created_at")),
            "fine_tuned_model_checkpoint": one.get("object_name") or f"{job_id}:{one.get('step')}",
            "fine_tuning_job_id": job_id,
            "step_number": one.get("step"),
        }
        for index, one in enumerate(found)
    ]
    return sorted(made, key=lambda one: (one["step_number"] or 0, one["created_at"] or 0.0), reverse=True)


def as_result_file(metrics: Iterable[Raw]) -> bytes:
    """A job's metrics as OpenAI's result file: base64 of a CSV."""
    rows = [{_metric(name): value for name, value in row.items()} for row in metrics]
    rows = [row for row in rows if isinstance(row.get("step"), int | float)]
    columns = sorted({name for row in rows for name in row} - {"step"}) or ["train_loss"]
    text = io.StringIO()
    writer = csv.DictWriter(text, ["step", *columns], lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({**row, "step": int(row["step"])} for row in sorted(rows, key=lambda row: row["step"]))
    return base64.b64encode(text.getvalue().encode())


def as_file(raw: Raw) -> dict[str, Any]:
    """A file. One without a processing status needs no processing."""
    report = raw.get("validation_report")
    status = raw.get("processing_status")
    return {
        **raw,
        "status": "processed" if status is None else STATUSES.get(str(status), "uploaded"),
        "status_details": report.get("error") if isinstance(report, Mapping) else None,
    }


def _estimate(progress: object, now: float) -> float | None:
    """When a job ends, as far as the service knows: it gives the seconds to the next state."""
    if not isinstance(progress, Mapping) or not progress.get("estimate_available"):
        return None
    left = progress.get("seconds_remaining")
    return now + left if isinstance(left, int | float) and left > 0 else None


def _suffix_in(raw: Raw) -> str | None:
    """The suffix, or only its mark, from the name of the model: a job that is read alone has no suffix."""
    name = str(raw.get("model_output_name") or "").rpartition("/")[2]
    base = str(raw.get("model") or "").rpartition("/")[2]
    whole = NAME_ENDING.sub("", name)
    if whole == name:
        return None
    if base and whole.startswith(f"{base}-"):
        return whole.removeprefix(f"{base}-")
    mark = MARK_AT_END.search(whole)
    return mark[1] if mark else None


def _method(raw: Raw) -> dict[str, Any]:
    method = raw.get("training_method")
    method = dict(method) if isinstance(method, Mapping) else {}
    kind = {"sft": "supervised"}.get(str(method.get("method", "sft")), str(method.get("method")))
    lora = raw.get("training_type")
    used = {name: raw[name] for name in HYPERPARAMETERS if raw.get(name) is not None}
    used |= {name: value for name, value in (lora or {}).items() if name != "type"} if isinstance(lora, Mapping) else {}
    used |= {{"dpo_beta": "beta"}.get(name, name): value for name, value in method.items() if name != "method"}
    return {"type": kind, kind: {"hyperparameters": used}}


def _metric(name: str) -> str:
    """The name of a metric. The service groups them: `train/loss`, `eval/loss`."""
    plain = name.replace("/", "_").lower()
    if plain in ("step", "global_step", "train_global_step"):
        return "step"
    if plain == "loss":
        return "train_loss"
    return re.sub(r"^(eval|validation)_", "valid_", plain)
