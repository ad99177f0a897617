"""Fireworks' replies in OpenAI's JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tuneway.dialects.fireworks._resources import DPO_JOBS, Resources, hash_of, last_segment
from tuneway.flows import ORIGIN, marks_in_name, name_with_hash
from tuneway.models import Phase, phase_of

_SETTINGS = ("epochs", "batchSizeSamples", "learningRate", "loraRank", "maxContextLength", "learningRateWarmupSteps")
_OURS = {"epochs": "n_epochs", "batchSizeSamples": "batch_size"}
_CAPITAL = re.compile(r"[A-Z]")
# the faults of the service, as OpenAI names them: after these, the same job may succeed
_FAULTS = {"INTERNAL": "internal_error", "UNAVAILABLE": "service_unavailable"}


def job(resources: Resources, collection: str, theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Give a job in OpenAI's JSON. Signed addresses and keys in it are left out, and so is the creator's address."""
    training = _mapping(theirs.get("trainingConfig")) if collection == DPO_JOBS else theirs
    job_id = resources.job_id(collection, str(theirs.get("name", "")))
    state = str(theirs.get("state") or "JOB_STATE_UNSPECIFIED")
    phase = phase_of(state)
    settings = {_snake(name): training[name] for name in _SETTINGS if training.get(name) is not None}
    beta = _mapping(_mapping(theirs.get("lossConfig")).get("dpo")).get("beta")
    kind = "dpo" if collection == DPO_JOBS else "supervised"
    settings |= {"beta": beta} if beta is not None else {}
    marks = marks_in_name(job_id)
    return {
        "id": job_id,
        "object": "fine_tuning.job",
        "status": state,
        "created_at": theirs.get("createTime"),
        "finished_at": theirs.get("completedTime") if phase.terminal else None,
        "model": training.get("baseModel") or training.get("warmStartFrom"),
        "fine_tuned_model": _model(resources, training, job_id) if phase is Phase.SUCCEEDED else None,
        "training_file": resources.file_id(str(theirs.get("dataset") or "")),
        "validation_file": resources.file_id(str(theirs.get("evaluationDataset") or "")),
        "method": {"type": kind, kind: {"hyperparameters": settings}},
        "error": _fault(_mapping(theirs.get("status"))) if phase is Phase.FAILED else None,
        "metadata": {**marks, ORIGIN: theirs["displayName"]} if marks and theirs.get("displayName") else {**marks},
        **{_snake(name): theirs[name] for name in ("displayName", "jobProgress", "estimatedCost") if name in theirs},
    }


def file(resources: Resources, theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Give a dataset in OpenAI's JSON for a file. The hash in its id is put into the file's name, as elsewhere."""
    file_id = resources.file_id(str(theirs.get("name", "")))
    sha256, name = hash_of(file_id), str(theirs.get("displayName") or file_id)
    return {
        "id": file_id,
        "object": "file",
        "created_at": theirs.get("createTime"),
        "filename": name_with_hash(name, sha256) if sha256 else name,
        "purpose": "fine-tune",
        "status": _file_status(theirs),
        "status_details": _mapping(theirs.get("status")).get("message"),
        "rows": theirs.get("exampleCount"),
    }


def model(theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Give a model in OpenAI's JSON."""
    name = str(theirs.get("name", ""))
    tunable = {"tunable": theirs["tunable"]} if "tunable" in theirs else {}
    owner = name.split("/")[1] if name.count("/") >= 1 else None
    return {"id": name, "object": "model", "created": theirs.get("createTime"), "owned_by": owner, **tunable}


def page(items: list[dict[str, Any]], cursor: str | None) -> dict[str, Any]:
    """Give one page of a list; the cursor leads to the next one."""
    return {"object": "list", "data": items, "has_more": cursor is not None, "last_id": cursor}


def _model(resources: Resources, training: Mapping[str, Any], job_id: str) -> str:
    name = str(training.get("outputModel") or last_segment(job_id))
    return name if "/" in name else f"accounts/{resources.account}/models/{name}"


def _file_status(theirs: Mapping[str, Any]) -> str:
    if theirs.get("state") == "READY":
        return "processed"
    return "uploaded" if _mapping(theirs.get("status")).get("code") in (None, "", "OK") else "error"


def _fault(status: Mapping[str, Any]) -> dict[str, Any]:
    code = str(status.get("code") or "")
    return {"code": _FAULTS.get(code, code), "message": status.get("message")}


def _snake(name: str) -> str:
    return _OURS.get(name) or _CAPITAL.sub(lambda letter: f"_{letter[0].lower()}", name)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
