"""Whether the other workers of a run's pool see the registry that its model is registered in."""

from __future__ import annotations

from prefect_tuneway import _runs
from tuneway.errors import LookupFailed

ONLINE = "ONLINE"


def worker_warning(run: _runs.Run, uri: str | None) -> str | None:
    """What is wrong with a registry that is a file of one worker, where runs may come to another; None if nothing is.

    It blocks: Prefect's API is asked about the pool, if the registry is such a file.
    """
    from tuneway.registry import own_file_warning

    warning = own_file_warning(uri, setting="`registry` of the credentials, or TUNEWAY_REGISTRY_URI,")
    return warning if warning and run.pool and _has_others(run.pool) else None


def _has_others(pool: str) -> bool:
    """Whether the next run may find itself in another folder: in a new container, or beside another worker."""
    try:
        with _runs.asking() as client:
            if client.read_work_pool(pool).type != "process":
                return True
            workers = client.read_workers_for_work_pool(pool)
    except LookupFailed as error:
        _runs.logger().debug("The work pool isn't known: %s", error)
        return False
    return sum(worker.status == ONLINE for worker in workers) > 1
