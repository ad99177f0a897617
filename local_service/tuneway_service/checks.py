"""Checking whether a job's files can be trained on.

Another process (`python -m tuneway_service.checks`) checks large files, so that the service answers requests meanwhile.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneway.dataset import DatasetReport, Format, validate
from tuneway_service.jsonl import LINE_LIMIT, SMALL

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuneway_service.folder import JobFolder
    from tuneway_service.store.records import JobRow

MIN_EXAMPLES = 10


@dataclass(frozen=True)
class DataCheck:
    """The result of checking a job's files: the job's error, or the number of training examples."""

    problem: dict[str, Any] | None
    n_examples: int = 0


def check_job(folder: JobFolder, row: JobRow, *, stopped: Callable[[], bool] = lambda: False) -> DataCheck:
    """Check the files of a job; raises `CheckStopped` once `stopped()` is true."""
    method, grader = row.body.method_name, json.dumps(row.body.method_settings.get("grader"))
    paths = [folder.training, *([folder.validation] if folder.validation.exists() else [])]
    if sum(path.stat().st_size for path in paths) > SMALL:
        return DataCheck(**_in_another_process(method, grader, *map(str, paths), stopped=stopped))
    return check_data(method, grader, *paths)


# supervised training takes two formats; `validate` recognises which one a file has
FORMATS: dict[str, Format] = {"dpo": "preference", "reinforcement": "reinforcement"}
SHOWN = 3


def check_data(method: str, grader: str, training: Path, validation: Path | None = None) -> DataCheck:
    """Check training and validation data. The grader, as JSON, names fields that rows for reinforcement must have."""
    report = validate(
        training,
        validation_data=validation,
        format=FORMATS.get(method),
        grader=json.loads(grader),
        tokenizer="estimate",
        max_shown=SHOWN,
        max_line_bytes=LINE_LIMIT,
    )
    if report.ok and method == "supervised" and report.format not in ("chat", "completions"):
        text = f"The rows have the format {report.format!r}; supervised training needs chat or completions."
        return DataCheck(_error("invalid_training_file", "training_file", text))
    if "file.too_few_rows" in report.counts:
        text = f"Training file has {report.rows} example(s), but must have at least {MIN_EXAMPLES} examples"
        return DataCheck(_error("invalid_n_examples", "training_file", text))
    for name, found in (("training_file", report), ("validation_file", report.validation)):
        if found is not None and found.error_count:
            return DataCheck(_error(f"invalid_{name}", name, _summary(name, found)))
    return DataCheck(None, report.rows)


def _error(code: str, param: str, message: str) -> dict[str, Any]:
    return {"code": code, "param": param, "message": message}


def _summary(name: str, report: DatasetReport) -> str:
    """The first few errors of a file, with their lines."""
    lines = [f"Line {problem}" if problem.line else str(problem) for problem in report.errors[:SHOWN]]
    more = report.error_count - len(lines)
    if more:
        lines.append(f"and {more} more")
    return f"The job failed due to an invalid {name.replace('_', ' ')}. " + "; ".join(lines)


class CheckStopped(Exception):
    """The check was stopped before its end, because the service stops."""


def _in_another_process(*arguments: str, stopped: Callable[[], bool] = lambda: False) -> Any:
    """Run the check in another process, and return its result."""
    command = [sys.executable, "-m", "tuneway_service.checks", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - our own program
        answer = None
        while answer is None:
            try:
                answer, _ = process.communicate(timeout=0.2)
            except subprocess.TimeoutExpired:
                if stopped():
                    process.kill()
                    raise CheckStopped from None
    if process.returncode:
        raise RuntimeError(f"the process that checks the data ended with status {process.returncode}")
    return json.loads(answer)


def main(method: str, grader: str, *paths: str) -> None:
    """The other process: print the result as JSON. It ignores Ctrl-C; the service ends it if necessary."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print(json.dumps(asdict(check_data(method, grader, *map(Path, paths)))))  # noqa: T201 - its reply


if __name__ == "__main__":
    main(*sys.argv[1:])
