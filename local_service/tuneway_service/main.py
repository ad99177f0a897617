"""Run the service: `serve(…)`, or `python -m tuneway_service`."""

from __future__ import annotations

import argparse
import fcntl
import os
import socket
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneway.errors import InvalidSpec, TunewayError
from tuneway_service.executors.ray_settings import RaySettings
from tuneway_service.folder import replace
from tuneway_service.settings import Settings, default_data_dir

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

EXECUTORS = ("local", "ray")


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    data_dir: str | os.PathLike[str] | None = None,
    job_storage: str | os.PathLike[str] | None = None,
    token: str | None = None,
    concurrency: int = 1,
    executor: str = "local",
    ray_address: str | None = None,
    ray_cpus: float = 1,
    ray_gpus: float = 0,
    ray_runtime_env: str | None = None,
    ray_jobs_dir: str | os.PathLike[str] | None = None,
    ray_jobs_url: str | None = None,
    models: Mapping[str, str] | None = None,
    faults: str = "",
    fault_seed: int = 0,
    allow_python_graders: bool = False,
    grader_url: str | None = None,
    webhook_url: str | None = None,
    webhook_secret: str | None = None,
    log_level: str = "info",
) -> None:
    """Serve until told to stop (Ctrl-C, SIGTERM). Prints the base URL, one line, when it is ready.

    Args:
        host: The address to listen on.
        port: The port; 0 takes any free one.
        data_dir: Where everything is kept; by default beneath the user's own data.
        job_storage: Where job folders lie instead, such as storage that other machines share.
        token: A bearer token that clients must send as their API key.
        concurrency: How many jobs train at once.
        executor: What runs them: "local" or "ray".
        ray_address: The dashboard of the Ray cluster, such as http://head:8265. What it asks to be sent is taken
            from the variables RAY_AUTH_TOKEN and RAY_JOB_HEADERS, as by Ray's own command line.
        ray_cpus: CPUs that a job reserves there.
        ray_gpus: GPUs that a job reserves there.
        ray_runtime_env: Ray's runtime environment for jobs: JSON, or the name of a file of it.
        ray_jobs_dir: Where the cluster's machines have the job folders, if not at the same path.
        ray_jobs_url: An object store that carries job folders to the cluster and back, where nothing is mounted:
            any URL that fsspec knows, such as s3://bucket/jobs.
        models: Names that jobs may ask for, each with the trainer that stands behind it.
        faults: Faults to make on purpose, such as "drop=0.1,503=0.1"; see `tuneway_service.faults`.
        fault_seed: The same seed makes the same faults.
        allow_python_graders: Let graders run Python code that clients send.
        grader_url: Where graders that are models are asked, any service that speaks the API; this one otherwise.
            The key is the variable TUNEWAY_GRADER_KEY.
        webhook_url: Send every event there as well, signed with `webhook_secret`.
        webhook_secret: `whsec_` and base64.
        log_level: How much is logged on standard error.

    Raises:
        InvalidSpec: A setting is wrong, the data directory is taken, or the port is.
    """
    if executor not in EXECUTORS:
        raise InvalidSpec(f"there is no executor {executor!r}", field="executor", hint=f"Use {' or '.join(EXECUTORS)}.")
    ray = None
    if executor == "ray":
        ray = RaySettings.read(
            address=ray_address,
            cpus=ray_cpus,
            gpus=ray_gpus,
            runtime_env=ray_runtime_env,
            jobs_dir=ray_jobs_dir,
            jobs_url=ray_jobs_url,
        )
    elif ray_address:
        raise InvalidSpec("a Ray cluster is given, but jobs run here", field="executor", hint="Use --executor ray.")
    settings = Settings(
        data_dir=Path(data_dir) if data_dir else default_data_dir(),
        job_storage=Path(job_storage) if job_storage else None,
        host=host,
        port=port,
        token=token or None,
        concurrency=concurrency,
        ray=ray,
        models=dict(models or {}),
        faults=faults,
        fault_seed=fault_seed,
        allow_python_graders=allow_python_graders,
        grader_url=grader_url,
        webhook_url=webhook_url,
        webhook_secret=webhook_secret,
    )
    run(settings, log_level=log_level)


def run(settings: Settings, *, log_level: str = "info") -> None:
    """Serve with these settings; see `serve`."""
    try:
        import uvicorn

        from tuneway_service import logs, storage
        from tuneway_service.app import build_app
        from tuneway_service.faults import BreakableProtocol
        from tuneway_service.server import Server
    except ModuleNotFoundError as error:
        raise InvalidSpec(
            f"the local service needs {error.name}, which isn't installed",
            field="serve",
            hint="Install it with: pip install 'tuneway[local]'",
        ) from None
    os.umask(0o077)
    logs.set_up(log_level)
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidSpec(
            f"can't use the data directory {settings.data_dir}: {error.strerror}", field="data_dir"
        ) from None
    with _alone_in(settings.data_dir), _listening(settings) as listener:
        url = _base_url(settings.host, listener.getsockname()[1])
        storage.settle(settings)
        replace(settings.data_dir / "base_url.txt", url.encode() + b"\n")
        config = uvicorn.Config(
            build_app(settings),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
            # longer than clients wait between polls: a connection closed under a request is an error for them
            timeout_keep_alive=75,
            lifespan="on",
            ws="none",
            http=BreakableProtocol if settings.faults else "auto",
        )
        Server(config, url).run(sockets=[listener])


def _base_url(host: str, port: int) -> str:
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{name}:{port}/v1"


@contextmanager
def _alone_in(data_dir: Path) -> Iterator[None]:
    """Hold the data directory; a second service on it is refused."""
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
    # TCP by name: asyncio sends small replies at once only on sockets that say so, and 40 ms late otherwise
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


def arguments(argv: Sequence[str]) -> dict[str, Any]:
    """The command line of `python -m tuneway_service`, as arguments of `serve`."""
    parser = argparse.ArgumentParser(prog="python -m tuneway_service", description="Serve the fine-tuning API here.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8765, help="0 takes any free one")
    parser.add_argument("--data-dir")
    parser.add_argument("--job-storage", metavar="DIR", help="job folders lie there, for other machines to share")
    parser.add_argument("--token", default=os.environ.get("TUNEWAY_TOKEN"), help="or the variable TUNEWAY_TOKEN")
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--executor", default="local", choices=EXECUTORS)
    parser.add_argument("--ray-address", metavar="URL", help="the dashboard's, such as http://head:8265")
    parser.add_argument("--ray-cpus", type=float, default=1, metavar="N")
    parser.add_argument("--ray-gpus", type=float, default=0, metavar="N")
    parser.add_argument("--ray-runtime-env", metavar="JSON", help="or the name of a file of it")
    parser.add_argument("--ray-jobs-dir", metavar="DIR", help="the job folders, as the cluster's machines see them")
    parser.add_argument("--ray-jobs-url", metavar="URL", help="an object store that carries them, such as s3://…")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=TRAINER", dest="models")
    parser.add_argument("--fault", default="", metavar="KIND=SHARE,…", dest="faults")
    parser.add_argument("--fault-seed", type=int, default=0)
    parser.add_argument("--allow-python-graders", action="store_true")
    parser.add_argument("--grader-url", help="where graders that are models are asked; key: TUNEWAY_GRADER_KEY")
    parser.add_argument("--webhook-url", help="signed with the variable OPENAI_WEBHOOK_SECRET")
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    options = vars(parser.parse_args(argv))
    options["models"] = pairs(options["models"])
    options["webhook_secret"] = os.environ.get("OPENAI_WEBHOOK_SECRET")
    return options


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """`NAME=TRAINER` pairs as a dictionary."""
    found = {}
    for text in texts:
        name, equals, trainer = text.partition("=")
        if not (name and equals and trainer):
            raise InvalidSpec(f"{text!r} isn't NAME=TRAINER", field="model", hint="For example: gpt-4o-mini=bytes")
        found[name] = trainer
    return found


def main() -> int:
    """`python -m tuneway_service`."""
    try:
        serve(**arguments(sys.argv[1:]))
    except TunewayError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
