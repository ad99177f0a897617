"""Calls of MLflow's client, with our errors."""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tuneway.errors import RegistryError, RegistryUnavailable

# The time-out of the request that checks whether the server is reachable.
REACH_SECONDS = 10

_PASSWORD = re.compile(r"(?<=://)[^/@\s]+@")
_NOT_NOW = {
    "TEMPORARILY_UNAVAILABLE",
    "INTERNAL_ERROR",
    "REQUEST_LIMIT_EXCEEDED",
    "RESOURCE_EXHAUSTED",
    "RESOURCE_CONFLICT",
    "DEADLINE_EXCEEDED",
    "CANCELLED",
    "ABORTED",
}
_NO_ENTRY = {"PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"}
# MLflow sets a tag or an alias by a read and an insert. If two processes do so at once, one fails; a retry succeeds.
_RACE, _SETS = re.compile(r"IntegrityError|UniqueViolation|[Dd]uplicate key"), 5
# The number of the advisory lock in PostgreSQL: the first bytes of the SHA-256 of "tuneway".
_LOCK = 1629218630
_DRIVERS = {
    "psycopg": "psycopg[binary]",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
    "pymysql": "pymysql",
    "pyodbc": "pyodbc",
}
MISSING, EXISTS = "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"


def hide_password(text: str) -> str:
    """Remove user and password from the addresses in a text."""
    return _PASSWORD.sub("", text)


class Calls:
    """Calls methods of an `MlflowClient` by name, as in `calls("get_run", run_id)`, and raises errors of our tree.

    MLflow sends failed requests again by its own rules (`MLFLOW_HTTP_REQUEST_MAX_RETRIES` and others), creates too. So
    this package never relies on a call being processed only once.
    """

    def __init__(self, target: str) -> None:
        self.uri = f"mlflow:{hide_password(target)}"
        self._client = self._connect(target)

    def __call__(self, method: str, *args: Any, **options: Any) -> Any:
        """Call a method."""
        tries = _SETS if method.startswith("set_") else 1
        while True:
            tries -= 1
            try:
                return getattr(self._client, method)(*args, **options)
            except Exception as error:  # noqa: BLE001 - errors of requests, SQLAlchemy and MLflow
                if not tries or not _RACE.search(str(error)):
                    raise self._typed(error) from None

    def unless_missing(self, method: str, *args: Any) -> None:
        """Call a method, and do nothing if its object doesn't exist any more."""
        try:
            self(method, *args)
        except RegistryError as error:
            if error.code != MISSING:
                raise

    def pages(self, method: str, *args: Any, **options: Any) -> Iterator[Any]:
        """Give all results of a search, page by page."""
        token = None
        while True:
            page = self(method, *args, page_token=token, **options)
            yield from page
            token = page.token
            if not token:
                return

    def _connect(self, target: str) -> Any:
        try:
            # imported by name, since its types are partial and it may not be installed
            tracking = importlib.import_module("mlflow.tracking")
            if target.startswith(("http:", "https:")):
                _reach(target)
            with _alone(target):
                return tracking.MlflowClient(tracking_uri=target, registry_uri=target)
        except ImportError as error:
            driver = _DRIVERS.get(error.name or "")
            needed = "its database's driver" if driver else "MLflow's client"
            raise RegistryError(
                f"{self.uri} needs {needed}: {error}",
                hint=f"Install it: pip install '{driver or 'tuneway[mlflow]'}'.",
                registry=self.uri,
            ) from None
        except Exception as error:  # noqa: BLE001 - see __call__
            raise self._typed(error) from None

    def _typed(self, error: Exception) -> RegistryError:
        # the cause is dropped and the text cleaned, since both may contain the address's password
        text = f"{self.uri}: {hide_password(str(error)).strip()[:1000]}"
        code = getattr(error, "error_code", None)
        if code in _NO_ENTRY:
            hint = "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN."
            return RegistryError(text, hint=hint, code=code, registry=self.uri)
        if code in _NOT_NOW or code is None:
            hint = "Check that the server runs, and its address. The same step can be repeated safely."
            return RegistryUnavailable(text, hint=hint, code=code, registry=self.uri)
        return RegistryError(text, code=code, registry=self.uri)


def _alone(target: str) -> contextlib.AbstractContextManager[None]:
    """Lock a database while it is opened. If two processes initialise an empty one at once, one of them fails.

    An SQLite file then stays broken.
    """
    if target.startswith("sqlite:///"):
        return _file_locked(Path(target.removeprefix("sqlite:///")))
    return _postgresql_locked(target) if target.startswith("postgresql") else contextlib.nullcontext()


@contextlib.contextmanager
def _file_locked(path: Path) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        # some systems and folders have no locks; then the file is opened without one
        with contextlib.suppress(ImportError, OSError):
            fcntl = importlib.import_module("fcntl")
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = held.enter_context(Path(f"{path}.lock").open("w", encoding="utf-8"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _postgresql_locked(target: str) -> Iterator[None]:
    sql = importlib.import_module("sqlalchemy")
    # the end of the transaction releases the lock: a pool between here and the database may keep the connection
    with sql.create_engine(target, poolclass=sql.NullPool).begin() as connection:
        connection.execute(sql.text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        yield


def _reach(target: str) -> None:
    """Check quickly that the server is reachable. MLflow itself would retry for minutes."""
    service = importlib.import_module("mlflow.tracking._tracking_service.utils")
    rest = importlib.import_module("mlflow.utils.rest_utils")
    rest.http_request(
        service.get_default_host_creds(target),
        "/health",
        "GET",
        max_retries=0,
        timeout=REACH_SECONDS,
        raise_on_status=False,
    )
