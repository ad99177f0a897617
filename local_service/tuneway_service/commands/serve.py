"""`serve`: the local service."""

from __future__ import annotations

import os
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tuneway.cli._exits import Terminated


class ExecutorName(StrEnum):
    """What runs jobs."""

    LOCAL = "local"
    RAY = "ray"


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def serve(
    *,
    host: Annotated[
        str, typer.Option(help="The address to listen on; others than loopback need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes any free one.")] = 8765,
    data_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where everything is kept; by default in your data folder.")
    ] = None,
    job_storage: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Job folders lie there instead, for other machines to share.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="NAME=TRAINER",
            help="A name, and what trains it; repeatable: bytes, smol, or a model's folder.",
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, metavar="N", help="How many jobs train at once.")] = 1,
    executor: Annotated[ExecutorName, typer.Option(help="What runs them.")] = ExecutorName.LOCAL,
    ray_address: Annotated[
        str | None, typer.Option(metavar="URL", help="The Ray cluster's dashboard: http://head:8265")
    ] = None,
    ray_cpus: Annotated[float, typer.Option(min=0, metavar="N", help="CPUs that a job reserves there.")] = 1,
    ray_gpus: Annotated[float, typer.Option(min=0, metavar="N", help="GPUs that a job reserves there.")] = 0,
    ray_runtime_env: Annotated[
        str | None, typer.Option(metavar="JSON", help="Ray's runtime environment for jobs, or a file with it.")
    ] = None,
    ray_jobs_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the cluster's machines have the job folders, if elsewhere."),
    ] = None,
    ray_jobs_url: Annotated[
        str | None, typer.Option(metavar="URL", help="An object store that carries job folders: s3://bucket/jobs")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="TUNEWAY_TOKEN", metavar="KEY", help="The key to ask for. Better in the variable."),
    ] = None,
    fault: Annotated[
        str, typer.Option(metavar="KIND=SHARE,…", help="Make faults, to test your pipeline: drop=0.1,503=0.1")
    ] = "",
    fault_seed: Annotated[int, typer.Option(metavar="N", help="The same seed, the same faults.")] = 0,
    allow_python_graders: Annotated[
        bool, typer.Option("--allow-python-graders", help="Run code that clients send as graders.")
    ] = False,
    grader_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Ask graders that are models there; the key is TUNEWAY_GRADER_KEY."),
    ] = None,
    webhook_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Send every event there, signed with OPENAI_WEBHOOK_SECRET."),
    ] = None,
    log_level: Annotated[LogLevel, typer.Option(help="How much is logged on standard error.")] = LogLevel.INFO,
) -> None:
    """Serve the fine-tuning API on this machine, and really train.

    Prints its base URL when it is ready. Everything survives a restart: files, jobs, models. Stop it with Ctrl-C.

    Examples:
        tuneway serve --model gpt-4o-mini=bytes
        export OPENAI_BASE_URL=http://127.0.0.1:8765/v1     # in another terminal
        tuneway run train.jsonl --model gpt-4o-mini
    """
    from tuneway_service.main import pairs
    from tuneway_service.main import serve as run_service

    with suppress(KeyboardInterrupt, Terminated):  # that is how a service is stopped
        run_service(
            host=host,
            port=port,
            data_dir=data_dir,
            job_storage=job_storage,
            token=token,
            concurrency=concurrency,
            executor=executor.value,
            ray_address=ray_address,
            ray_cpus=ray_cpus,
            ray_gpus=ray_gpus,
            ray_runtime_env=ray_runtime_env,
            ray_jobs_dir=ray_jobs_dir,
            ray_jobs_url=ray_jobs_url,
            models=pairs(model or ()),
            faults=fault,
            fault_seed=fault_seed,
            allow_python_graders=allow_python_graders,
            grader_url=grader_url,
            webhook_url=webhook_url,
            webhook_secret=os.environ.get("OPENAI_WEBHOOK_SECRET"),
            log_level=log_level.value,
        )
