"""Read a job's metrics from its result file. Services send base64 of a CSV, or plain CSV."""

from __future__ import annotations

import base64
import binascii
import csv
import io

from tuneway import calls
from tuneway.errors import BadReply, InvalidInput
from tuneway.flows._account import Account
from tuneway.flows._effects import Flow
from tuneway.flows._request import request
from tuneway.models import Job, MetricRow


def result_metrics(account: Account, job: Job | str) -> Flow[list[MetricRow]]:
    """Fetch and decode all result files of a job."""
    if isinstance(job, str):
        job = yield from request(account, calls.jobs.retrieve(job))
    if not job.result_files:
        raise InvalidInput(
            f"{job.id} has no result file ({job.status})",
            job_id=job.id,
            hint="Result files appear when a job has succeeded.",
        )
    rows: list[MetricRow] = []
    for file_id in job.result_files:
        rows += decode((yield from request(account, calls.files.content(file_id))))
    return rows


def decode(content: bytes) -> list[MetricRow]:
    """Decode a result file. Columns are matched by name; empty cells are left out, and numbers are read."""
    if not content.lstrip(b"\xef\xbb\xbf \r\n").startswith(b"step,"):
        try:
            content = base64.b64decode(content, validate=False)
        except (binascii.Error, ValueError):
            raise BadReply("the result file is neither CSV nor base64 of one") from None
    text = content.decode("utf-8", "replace").lstrip("\ufeff \r\n")
    if not text.startswith("step,"):
        raise BadReply("the result file doesn't start with a `step` column")
    try:
        return [
            MetricRow.model_validate({name: _value(cell) for name, cell in row.items() if name and cell})
            for row in csv.DictReader(io.StringIO(text))
        ]
    except (ValueError, csv.Error) as error:
        raise BadReply(f"the result file can't be read: {str(error).splitlines()[0]}") from None


def _value(cell: str) -> float | str:
    """The cell's number; the text, if it is none. Methods and services have columns that no model here names."""
    try:
        return float(cell)
    except ValueError:
        return cell
