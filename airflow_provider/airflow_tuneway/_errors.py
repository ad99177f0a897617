"""From the core's errors to what Airflow makes of them: fail for good, or try again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from airflow_tuneway._compat import AirflowException, AirflowFailException


@contextmanager
def told_to_airflow() -> Iterator[None]:
    """Let what no retry cures fail the task at once; the rest is retried as the task says."""
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
    """Raise what a trigger told."""
    kind = AirflowFailException if final or not error["retryable"] else AirflowException
    raise kind(error["message"])
