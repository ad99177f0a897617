"""How a command ends: its exit code, and its error for people or programs. Tracebacks are shown with --debug only."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, NoReturn

from tuneway import errors
from tuneway._escape import json_line, one_line, printable
from tuneway.cli._output import console, debugging
from tuneway.errors import TunewayError


class ExitCode(IntEnum):
    """The exit codes of all commands."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    INVALID_DATA = 3
    JOB_FAILED = 4
    JOB_CANCELLED = 5
    TIMED_OUT = 6
    TRY_LATER = 7
    NOT_ALLOWED = 8
    GATE_REFUSED = 9
    INTERRUPTED = 130
    READER_GONE = 141
    TERMINATED = 143


MEANINGS = {
    ExitCode.DONE: "done",
    ExitCode.ERROR: "something else went wrong",
    ExitCode.USAGE: "the command or its input is wrong",
    ExitCode.INVALID_DATA: "the training data has errors",
    ExitCode.JOB_FAILED: "the job failed",
    ExitCode.JOB_CANCELLED: "the job was cancelled",
    ExitCode.TIMED_OUT: "--timeout passed; the job goes on",
    ExitCode.TRY_LATER: "the service can't be reached or is busy; the same command can succeed later",
    ExitCode.NOT_ALLOWED: "the key isn't allowed to do this, or its quota is used up",
    ExitCode.GATE_REFUSED: "the model is registered, but a gate refused the alias",
    ExitCode.INTERRUPTED: "interrupted (143: terminated); a job that was created goes on",
}


class Terminated(BaseException):
    """SIGTERM was received: the process ends, the job goes on."""


class Stopped(TunewayError):
    """A command was interrupted; the message says what goes on without it."""

    exit_code: ExitCode


class Several(TunewayError):
    """Several errors, each of which is printed; the worst decides the exit code."""

    errors: list[TunewayError]

    def __init__(self, errors: Sequence[TunewayError]) -> None:
        super().__init__("; ".join(error.message for error in errors), errors=list(errors))


# The worst first: what is lost, what a person must look into, what the same command may cure later.
_WORST = (
    ExitCode.JOB_FAILED,
    ExitCode.JOB_CANCELLED,
    ExitCode.NOT_ALLOWED,
    ExitCode.ERROR,
    ExitCode.TRY_LATER,
    ExitCode.TIMED_OUT,
)

# The first line that matches counts.
_CODES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], ExitCode], ...] = (
    (KeyboardInterrupt, ExitCode.INTERRUPTED),
    (Terminated, ExitCode.TERMINATED),
    (errors.InvalidDataset, ExitCode.INVALID_DATA),
    (errors.JobFailed, ExitCode.JOB_FAILED),
    (errors.JobCancelled, ExitCode.JOB_CANCELLED),
    (errors.WaitTimeout, ExitCode.TIMED_OUT),
    (errors.GateRefused, ExitCode.GATE_REFUSED),
    (errors.InvalidInput, ExitCode.USAGE),
    ((errors.Unauthorized, errors.Forbidden, errors.QuotaExhausted), ExitCode.NOT_ALLOWED),
)


def exit_code(error: BaseException) -> ExitCode:
    """The exit code for an error."""
    if isinstance(error, Stopped):
        return error.exit_code
    if isinstance(error, Several):
        return min(map(exit_code, error.errors), key=_WORST.index)
    for kinds, code in _CODES:
        if isinstance(error, kinds):
            return code
    if not isinstance(error, TunewayError):
        return ExitCode.ERROR
    if error.status in (401, 403):  # such as a `LookupFailed` for this reason
        return ExitCode.NOT_ALLOWED
    return ExitCode.TRY_LATER if error.retryable else ExitCode.ERROR


@contextmanager
def tidy_end(words: Sequence[str]) -> Iterator[None]:
    """End the process with an exit code, whatever happens inside, and print the error."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        reader_gone()
    except (KeyboardInterrupt, Terminated) as stop:
        _end(Stopped("interrupted", exit_code=exit_code(stop)), words)
    except TunewayError as error:
        _end(error, words)
    except Exception as error:  # noqa: BLE001 - a user shall not see a traceback
        if _is_usage_error(error):
            _end(_as_invalid_input(error), words)
        if debugging(words):
            traceback.print_exc()
        _end(_unexpected(error), words)


def reader_gone() -> NoReturn:
    """End without a message: the reader of standard output has closed it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the interpreter's exit
    raise SystemExit(ExitCode.READER_GONE)


def terminate_quietly() -> None:
    """Let SIGTERM end a command in order, as Ctrl-C does."""

    def end(_signal: int, _frame: object) -> NoReturn:
        raise Terminated

    signal.signal(signal.SIGTERM, end)


def _end(error: TunewayError, words: Sequence[str]) -> NoReturn:
    for one in error.errors if isinstance(error, Several) else [error]:
        if "--json" in words:
            sys.stderr.write(json_line(json.dumps(as_json(one), ensure_ascii=False)) + "\n")
        else:
            _print(one)
    raise SystemExit(exit_code(error))


def as_json(error: TunewayError) -> dict[str, Any]:
    """An error as JSON."""
    return {
        "error": {
            "type": type(error).__name__,
            "message": error.message,
            "hint": error.hint,
            "code": error.code,
            "param": error.param or getattr(error, "field", None),
            "status": error.status,
            "job_id": error.job_id,
            "request_id": error.request_id,
            "retryable": error.retryable,
            "exit_code": int(exit_code(error)),
        }
        | _problems(error)
    }


def _problems(error: TunewayError) -> dict[str, Any]:
    """The problems that were found in data, with their lines."""
    if not isinstance(error, errors.InvalidDataset):
        return {}
    return {
        "problems": [
            {"path": one.path} | problem.model_dump() for one in error.report.reports for problem in one.errors
        ],
    }


def _print(error: TunewayError) -> None:
    """Print an error: what happened, then what to do."""
    from rich.text import Text

    err = console(sys.stderr)
    calm = isinstance(error, Stopped)
    text, _, hint = str(error).partition("\n")
    if error.hint:
        text, hint = str(error).removesuffix(f"\n{error.hint}"), error.hint
    line = Text("" if calm else "error: ", style="" if calm else "bold red")
    line.append(printable(text), style="")
    err.print(line, soft_wrap=True)
    if hint:
        err.print(Text(printable(hint)), soft_wrap=True)


def _is_usage_error(error: Exception) -> bool:
    """Whether typer refused the command line. Some versions use click, some their own copy of it."""
    return callable(getattr(error, "format_message", None)) and hasattr(error, "exit_code")


def _as_invalid_input(error: Any) -> errors.InvalidInput:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "tuneway"
    message = error.format_message().rstrip(".")
    return errors.InvalidInput(message[:1].lower() + message[1:], hint=f"See `{path} --help`.")


def _unexpected(error: Exception) -> TunewayError:
    return TunewayError(
        f"{type(error).__name__}: {one_line(error)}",
        hint="This error was not expected. Run the same command with --debug to see where it comes from.",
    )
