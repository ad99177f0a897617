"""Looking at data: the JSONL rule at upload, the rest when a job validates its files.

Large files are looked at by another process (`python -m tuneway_service.checks`), so that requests are served
meanwhile.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneway.dataset import DatasetReport, Format, validate

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuneway_service.folder import JobFolder
    from tuneway_service.store.records import JobRow

SMALL = 4 * 2**20
MIN_EXAMPLES = 10
# ten images of 10 MB, in base64
LINE_LIMIT = 160 * 2**20


@dataclass(frozen=True)
class DataCheck:
    """What was found: the job's error, or how many examples there are."""

    problem: dict[str, Any] | None
    n_examples: int = 0


def jsonl_problem(path: Path) -> str | None:
    """What is wrong with a file that should be JSONL, with the line and a hint; None when nothing is."""
    if path.stat().st_size > SMALL:
        answer = _elsewhere("jsonl", str(path))
        assert answer is None or isinstance(answer, str)
        return answer
    return _jsonl_problem(path)


def _jsonl_problem(path: Path) -> str | None:
    with path.open("rb") as file:
        number = 0
        for number, line in enumerate(iter(partial(file.readline, LINE_LIMIT), b""), start=1):
            if line.isspace():
                continue
            try:
                good = isinstance(json.loads(line), dict)
            except (ValueError, RecursionError):
                good = False
            if not good:
                start = line[:40].decode(errors="replace").rstrip("\n")
                return (
                    "Expected file to have JSONL format, where every line is a valid JSON dictionary."
                    f' Line {number} is not a dictionary (HINT: line starts with: "{start}...").'
                )
    return None if number else "The file is empty: expected JSONL, one JSON dictionary a line."


def check_job(folder: JobFolder, row: JobRow, *, given_up: Callable[[], bool] = lambda: False) -> DataCheck:
    """Look at the files of a job; raises `GivenUp` when that is wanted before it is done."""
    method, grader = row.body.method_name, json.dumps(row.body.method_settings.get("grader"))
    paths = [folder.training, *([folder.validation] if folder.validation.exists() else [])]
    if sum(path.stat().st_size for path in paths) > SMALL:
        return DataCheck(**_elsewhere("job", method, grader, *map(str, paths), given_up=given_up))
    return check_data(method, grader, *paths)


# supervised training reads two formats: the rows themselves say which
FORMATS: dict[str, Format] = {"dpo": "preference", "reinforcement": "reinforcement"}
SHOWN = 3


def check_data(method: str, grader: str, training: Path, validation: Path | None = None) -> DataCheck:
    """Look at training and validation data; the grader, as JSON, says what the rows of reinforcement must have."""
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
        text = f"The rows are of the format {report.format!r}; supervised training needs chat or completions."
        return DataCheck(_error("invalid_training_file", "training_file", text))
    if "file.too_few_rows" in report.counts:
        text = f"Training file has {report.rows} example(s), but must have at least {MIN_EXAMPLES} examples"
        return DataCheck(_error("invalid_n_examples", "training_file", text))
    for name, found in (("training_file", report), ("validation_file", report.validation)):
        if found is not None and found.error_count:
            return DataCheck(_error(f"invalid_{name}", name, _told(name, found)))
    return DataCheck(None, report.rows)


def _error(code: str, param: str, message: str) -> dict[str, Any]:
    return {"code": code, "param": param, "message": message}


def _told(name: str, report: DatasetReport) -> str:
    """The first few errors of a file, with their lines."""
    lines = [f"Line {problem}" if problem.line else str(problem) for problem in report.errors[:SHOWN]]
    more = report.error_count - len(lines)
    if more:
        lines.append(f"and {more} more")
    return f"The job failed due to an invalid {name.replace('_', ' ')}. " + "; ".join(lines)


class GivenUp(Exception):
    """The look was broken off: nobody waits for it any more."""


def _elsewhere(*arguments: str, given_up: Callable[[], bool] = lambda: False) -> Any:
    """The answer of the other process."""
    command = [sys.executable, "-m", "tuneway_service.checks", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - our own program
        answer = None
        while answer is None:
            try:
                answer, _ = process.communicate(timeout=0.2)
            except subprocess.TimeoutExpired:
                if given_up():
                    process.kill()
                    raise GivenUp from None
    if process.returncode:
        raise RuntimeError(f"looking at the data ended with status {process.returncode}")
    return json.loads(answer)


def main(kind: str, *arguments: str) -> None:
    """The other process: print what was found. Ctrl-C is for the service, which ends us if need be."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if kind == "jsonl":
        print(json.dumps(_jsonl_problem(Path(arguments[0]))))  # noqa: T201 - its reply
    else:
        print(json.dumps(asdict(check_data(arguments[0], arguments[1], *map(Path, arguments[2:])))))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
