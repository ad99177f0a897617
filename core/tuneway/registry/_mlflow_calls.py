"""MLflow's client with our errors, and without its surprises."""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tuneway.errors import RegistryError, RegistryUnavailable

# How long one look at a server may take that might not be there.
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
# MLflow sets a tag or an alias by looking and then inserting: of two at once, one fails, and would not again.
_RACE, _SETS = re.compile(r"IntegrityError|UniqueViolation|[Dd]uplicate key"), 5
MISSING, EXISTS = "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"


def hide_password(text: str) -> str:
    """The text without user and password in its addresses."""
    return _PASSWORD.sub("", text)


class Calls:
    """Calls of an `MlflowClient` by name, `calls("get_run", run_id)`; failures come as errors of our tree.

    MLflow resends failed requests by its own rules (`MLFLOW_HTTP_REQUEST_MAX_RETRIES` and its kin), a create
    included. That is why nothing here relies on a call having acted once.
    """

    def __init__(self, target: str) -> None:
        self.uri = f"mlflow:{hide_password(target)}"
        self._client = self._connect(target)

    def __call__(self, method: str, *args: Any, **options: Any) -> Any:
        """Make one call."""
        tries = _SETS if method.startswith("set_") else 1
        while True:
            tries -= 1
            try:
                return getattr(self._client, method)(*args, **options)
            except Exception as error:  # noqa: BLE001 - requests', SQLAlchemy's and MLflow's own
                if not tries or not _RACE.search(str(error)):
                    raise self._typed(error) from None

    def unless_missing(self, method: str, *args: Any) -> None:
        """Make a call that has nothing to do when its object is gone."""
        try:
            self(method, *args)
        except RegistryError as error:
            if error.code != MISSING:
                raise

    def pages(self, method: str, *args: Any, **options: Any) -> Iterator[Any]:
        """Everything that a search finds, page by page."""
        token = None
        while True:
            page = self(method, *args, page_token=token, **options)
            yield from page
            token = page.token
            if not token:
                return

    def _connect(self, target: str) -> Any:
        try:
            # by name: its types are partial, and it isn't there in every environment
            tracking = importlib.import_module("mlflow.tracking")
            if target.startswith(("http:", "https:")):
                _reach(target)
            with _alone(target):
                return tracking.MlflowClient(tracking_uri=target, registry_uri=target)
        except ImportError as error:
            raise RegistryError(
                f"{self.uri} needs MLflow's client: {error}",
                hint="Install it: pip install 'tuneway[mlflow]'.",
                registry=self.uri,
            ) from None
        except Exception as error:  # noqa: BLE001 - see __call__
            raise self._typed(error) from None

    def _typed(self, error: Exception) -> RegistryError:
        # The chain is cut and the text cleaned: both may hold the password of the address.
        text = f"{self.uri}: {hide_password(str(error)).strip()[:1000]}"
        code = getattr(error, "error_code", None)
        if code in _NO_ENTRY:
            hint = "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN."
            return RegistryError(text, hint=hint, code=code, registry=self.uri)
        if code in _NOT_NOW or code is None:
            hint = "Is it up, and is the address right? The same step can be repeated safely."
            return RegistryUnavailable(text, hint=hint, code=code, registry=self.uri)
        return RegistryError(text, code=code, registry=self.uri)


@contextlib.contextmanager
def _alone(target: str) -> Iterator[None]:
    """Let one process at a time open an SQLite file: two that MLflow finds empty at once would break it for good."""
    path = target.removeprefix("sqlite:///")
    with contextlib.ExitStack() as held:
        if path != target:
            # not on every system, and not in every folder: then as MLflow does it
            with contextlib.suppress(ImportError, OSError):
                fcntl = importlib.import_module("fcntl")
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                lock = held.enter_context(Path(f"{path}.lock").open("w", encoding="utf-8"))
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _reach(target: str) -> None:
    """One short look, so that a server that isn't there is told at once, not after MLflow's minutes of retries."""
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
