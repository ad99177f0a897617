"""Which registry a task registers its model in, and whether the other workers see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_tuneway._compat import conf

if TYPE_CHECKING:
    from airflow_tuneway.hooks import FineTuningHook

ON_THIS_MACHINE = ("LocalExecutor", "SequentialExecutor")


def registry_of(given: str | None, hook: FineTuningHook | None) -> str | None:
    """The registry's address: as a task says, else its connection, else `[tuneway] registry`; None for the core's."""
    return given or (hook.registry if hook else None) or conf.get("tuneway", "registry", fallback=None) or None


def where_is(uri: str | None) -> str:
    """The registry's address as a log may show it."""
    from tuneway.registry import default_uri
    from tuneway.registry._mlflow_calls import hide_password

    return hide_password(uri or default_uri())


def worker_warning(uri: str | None) -> str | None:
    """What is wrong with a registry that is a file of one worker, where tasks run on several; None if nothing is."""
    from tuneway.registry import own_file_warning

    executors = (conf.get("core", "executor", fallback=None) or "LocalExecutor").split(",")
    if all(executor.strip().endswith(ON_THIS_MACHINE) for executor in executors):
        return None
    return own_file_warning(uri, setting="[tuneway] registry, or `registry` of the connection,")
