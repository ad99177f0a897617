"""Open a registry by its URI."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from tuneway.errors import InvalidSpec, MissingExtra
from tuneway.registry._backend import Backend
from tuneway.registry._sqlite import BUSY_SECONDS, SqliteBackend
from tuneway.registry.store import Registry

_MLFLOW = re.compile(r"mlflow:(?P<target>(?:https?|sqlite|postgresql|mysql|mssql)(?:\+\w+)?://.+)")
_SQLITE = re.compile(r"sqlite:///(?P<path>[^?#]+)")


def open_registry(uri: str | None = None, *, busy_timeout: float = BUSY_SECONDS) -> Registry:
    """Open a model registry.

    Args:
        uri: `sqlite:///models.db` (a relative path), `sqlite:////data/models.db` (an absolute path),
            `mlflow:https://tracking.example`, or a database that MLflow uses directly:
            `mlflow:postgresql://user@host/database`, `mlflow:sqlite:///mlflow.db`. The default is `default_uri()`.
        busy_timeout: The seconds to wait while another process writes; for SQLite only.
    """
    return Registry(_backend(uri or default_uri(), busy_timeout))


def check_uri(uri: str | None = None) -> None:
    """Check a registry's URI, without opening anything.

    Raises:
        InvalidSpec: It isn't the URI of a registry.
        MissingExtra: It is a URI for MLflow, and MLflow isn't installed.
    """
    uri = uri or default_uri()
    if _MLFLOW.fullmatch(uri):
        if find_spec("mlflow") is None:
            raise MissingExtra("the registry is MLflow, which isn't installed", extra="mlflow")
    elif not (sqlite := _SQLITE.fullmatch(uri)) or sqlite["path"] == ":memory:":
        raise _invalid_uri()


def default_uri(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> str:
    """The URI in the variable `TUNEWAY_REGISTRY_URI`, or else that of a file in the user's data folder."""
    uri = environ.get("TUNEWAY_REGISTRY_URI")
    return uri or f"sqlite:///{_data_folder(environ, platform) / 'tuneway' / 'models.db'}"


def own_file_warning(uri: str | None, *, setting: str) -> str | None:
    """What to log where steps run on several machines and their registry is a file that one of them has alone.

    A file in the home folder or in the working folder is such a file. One in another folder may be shared.

    Args:
        uri: The registry; None for the default.
        setting: What a person sets to another registry, for the text.

    Returns:
        The warning; None where other machines can have the same registry.
    """
    by_default = default_uri(os.environ | {"TUNEWAY_REGISTRY_URI": ""})
    uri = uri or default_uri()
    sqlite = _SQLITE.fullmatch(uri.removeprefix("mlflow:"))
    if sqlite is None or (uri != by_default and not _is_own(Path(sqlite["path"]))):
        return None
    return (
        f"the model registry {uri} is a file of this worker alone, so steps on other workers have another one: "
        f"set {setting} to mlflow:https://… or mlflow:postgresql://…"
    )


def _is_own(path: Path) -> bool:
    return not path.is_absolute() or path.is_relative_to(_home())


def _backend(uri: str, busy_timeout: float) -> Backend:
    mlflow = _MLFLOW.fullmatch(uri)
    if mlflow:
        from tuneway.registry._mlflow import MlflowBackend

        return MlflowBackend(mlflow["target"])
    sqlite = _SQLITE.fullmatch(uri)
    if sqlite and sqlite["path"] != ":memory:":
        return SqliteBackend(Path(sqlite["path"]), busy_timeout=busy_timeout)
    raise _invalid_uri()


def _invalid_uri() -> InvalidSpec:
    return InvalidSpec(
        "this is not the URI of a registry",
        field="registry",
        hint=(
            "Write sqlite:///models.db, sqlite:////absolute/models.db, mlflow:https://…, mlflow:postgresql://… "
            "or mlflow:sqlite:///…"
        ),
    )


def _data_folder(environ: Mapping[str, str], platform: str) -> Path:
    if platform == "win32":
        return Path(environ.get("LOCALAPPDATA") or _home() / "AppData" / "Local")
    if platform == "darwin":
        return _home() / "Library" / "Application Support"
    chosen = Path(environ.get("XDG_DATA_HOME", ""))
    return chosen if chosen.is_absolute() else _home() / ".local" / "share"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise InvalidSpec(
            "the default registry is in the home folder, but this user has none",
            field="registry",
            hint="Set TUNEWAY_REGISTRY_URI, for example to sqlite:////data/models.db.",
        ) from None
