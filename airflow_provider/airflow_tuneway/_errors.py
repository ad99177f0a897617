"""The core's errors as Airflow's own: those that fail a task at once, and those after which it is retried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from airflow_tuneway._compat import AirflowException, AirflowFailException


@contextmanager
def airflow_errors() -> Iterator[None]:
    """Raise an error that no retry cures as one that fails the task at once; others are retried as the task says."""
    from tuneway.errors import TunewayError

    try:
        yield
    except TunewayError as error:
        if error.retryable:
            raise
        raise AirflowFailException(str(error)) from error


def as_payload(error: Exception) -> dict[str, Any]:
    """An error as small JSON, for a trigger's event."""
    return {
        "kind": type(error).__name__,
        "message": str(error),
        "retryable": bool(getattr(error, "retryable", True)),
    }


def refuse(error: Mapping[str, Any], *, final: bool = False) -> NoReturn:
    """Raise the error that a trigger's event describes."""
    kind = AirflowFailException if final or not error["retryable"] else AirflowException
    raise kind(error["message"])
