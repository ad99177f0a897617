"""Run the service: lock its data directory, listen, and serve until stopped."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tuneway._folders import warning_about
from tuneway.errors import InvalidSpec
from tuneway_service.folder import replace
from tuneway_service.sandbox import kernel, secrets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tuneway_service.settings import Settings


IN_SETTINGS = ("TUNEWAY_TOKEN", "OPENAI_WEBHOOK_SECRET")
"""Variables that the settings hold, so that no process of the service needs them."""


def run(settings: Settings, *, log_level: str = "info", recover: bool = False) -> None:
    """Serve until stopped (Ctrl-C, SIGTERM). Prints the base URL, one line, when it is ready.

    Args:
        settings: The settings of the service.
        log_level: How much is logged on standard error.
        recover: Make the database again from the folders first; progress and a summary go to standard error.

    Raises:
        InvalidSpec: A setting is wrong, the data directory or the port is in use, or the directory isn't Tuneway's.
    """
    try:
        from tuneway_service import data_folder, logs, recovery, storage
        from tuneway_service.app import build_app
        from tuneway_service.connections import Connections, GuardedConfig, GuardedProtocol, most_connections
        from tuneway_service.faults import BreakableProtocol
        from tuneway_service.server import Server
    except ModuleNotFoundError as error:
        raise InvalidSpec(
            f"the local service needs {error.name}, which isn't installed",
            field="serve",
            hint="Install it with: pip install 'tuneway[local]'",
        ) from None
    os.umask(0o077)
    secrets.hide(forget=IN_SETTINGS)
    if settings.allow_python_graders:
        kernel.hide_memory()
    logs.set_up(log_level)
    connections = Connections(most_connections(settings.max_connections))
    data_folder.check(settings, recover=recover)
    with _locked(settings.data_dir), _listening(settings) as listener:
        data_folder.check(settings, recover=recover)
        data_folder.label(settings.data_dir)
        storage.settle(settings)
        for what, folder in (("the data directory", settings.data_dir), ("the job storage", settings.job_storage)):
            if folder is not None and (warning := warning_about(what, folder)):
                logs.log.warning(warning)
        if recover:
            recovery.recover(settings, _tell)
        url = _base_url(settings.host, listener.getsockname()[1])
        replace(settings.data_dir / "base_url.txt", url.encode() + b"\n")
        config = GuardedConfig(
            build_app(settings),
            connections,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
            # longer than clients pause between polls: closing a connection that a client is about to use is an error
            timeout_keep_alive=75,
            lifespan="on",
            ws="none",
            http=BreakableProtocol if settings.faults else GuardedProtocol,
        )
        Server(config, url).run(sockets=[listener])


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _base_url(host: str, port: int) -> str:
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{name}:{port}/v1"


@contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """Create and lock the data directory; a second service on it is refused."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidSpec(f"can't use the data directory {data_dir}: {error.strerror}", field="data_dir") from None
    lock = os.open(data_dir / "service.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            where = data_dir / "base_url.txt"
            other = where.read_text().strip() if where.exists() else "another address"
            raise InvalidSpec(
                f"a service is using {data_dir} already, at {other}",
                field="data_dir",
                hint="Use that one, stop it, or choose another --data-dir.",
            ) from None
        yield
    finally:
        os.close(lock)


@contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets that name the protocol; without it small replies are 40 ms late
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise InvalidSpec(
            f"can't listen on {settings.host} port {settings.port}: {error.strerror or error}",
            field="port",
            hint="Choose another --port; 0 takes any free one.",
        ) from None
    with listener:
        yield listener
