"""What the folder of a job says about the job, where there is no record of it: an earlier version wrote none."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from tuneway_service.journal import read_all
from tuneway_service.recovery.contents import same_as
from tuneway_service.states import JobStatus
from tuneway_service.store.records import JobBody

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuneway_service.folder import JobFolder
    from tuneway_service.store.database import Connection

UNKNOWN_FILE = "file-unknown"


def facts_of(connection: Connection, folder: JobFolder) -> dict[str, Any] | None:
    """A row for the job, from its order and its outcome; None if it never had an order."""
    order, outcome = folder.read("job"), folder.read("outcome")
    if not isinstance(order, dict):
        return None
    try:
        body = _body(connection, folder, order)
        trainer, hyperparameters, attempt = order["trainer"], order["hyperparameters"], order["attempt"]
    except (LookupError, TypeError, AttributeError):
        return None
    ended = int((folder.path / "job.json").stat().st_mtime)
    began = next((record["at"] for record in read_all(folder.journal)), ended)
    row = {
        "id": folder.path.name,
        "created_at": began,
        "trainer": trainer,
        "plain": 1,
        "body": body.encode(),
        "hyperparameters": json.dumps(hyperparameters),
        "attempt": attempt,
    }
    return row | _state(connection, folder, order, outcome if isinstance(outcome, dict) else {})


def _body(connection: Connection, folder: JobFolder, order: Mapping[str, Any]) -> JobBody:
    named = re.fullmatch(r"ft:(.+?):local:(.*):[A-Za-z0-9]{8}", order["model_name"])
    method: dict[str, Any] = {"hyperparameters": order["hyperparameters"]}
    if "grader" in order:
        method["grader"] = order["grader"]
    return JobBody(
        model=named[1] if named else order["trainer"],
        training_file=same_as(connection, folder.training) or UNKNOWN_FILE,
        validation_file=same_as(connection, folder.validation),
        method={"type": order["method"], order["method"]: method},
        seed=order["seed"],
        suffix=named[2] or None if named else None,
        integrations=order.get("integrations") or (),
    )


def _state(
    connection: Connection, folder: JobFolder, order: Mapping[str, Any], outcome: Mapping[str, Any]
) -> dict[str, Any]:
    kind = outcome.get("outcome")
    if kind not in ("succeeded", "failed"):
        if folder.held():
            return {"status": JobStatus.RUNNING, "occupied": 1}
        # the data of a job that was cancelled is removed; whether another one should go on is for its owner to say
        return {"status": JobStatus.PAUSED if folder.training.exists() else JobStatus.CANCELLED}
    ended = {"finished_at": int((folder.path / "outcome.json").stat().st_mtime)}
    if kind == "failed":
        error = {name: outcome.get(name) for name in ("code", "message", "param")}
        return ended | {"status": JobStatus.FAILED, "error": json.dumps(error)}
    return ended | {
        "status": JobStatus.SUCCEEDED,
        "fine_tuned_model": order["model_name"],
        "result_file": same_as(connection, folder.results),
        "trained_tokens": outcome.get("trained_tokens"),
        "usage": json.dumps({name: outcome[name] for name in ("seconds", "cpu_seconds") if name in outcome}),
    }
