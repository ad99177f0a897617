"""The options of a service: their names, defaults and help, for `tuneway serve` and `python -m tuneway_service`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tuneway.errors import InvalidSpec
from tuneway_service import devices
from tuneway_service.executors.ray_settings import RaySettings
from tuneway_service.settings import AUTO, Settings, default_data_dir


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


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """What can be set on the command line; `settings()` checks it."""

    host: Annotated[str, typer.Option(help="The address to listen on; one that is not loopback needs a token.")] = (
        "127.0.0.1"
    )
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes any free one.")] = 8765
    data_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where all data is kept; by default in your data folder.")
    ] = None
    job_storage: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where job folders are kept instead, to share them."),
    ] = None
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="NAME=TRAINER",
            help="A model's name, and what trains it: bytes, smol, or a model's folder. Repeatable.",
        ),
    ] = None
    serve_with: Annotated[
        str,
        typer.Option(
            metavar="auto|transformers|llamacpp|vllm=URL",
            help="The engine that answers. auto: llama.cpp where it is installed and knows the model. vllm=URL: a vLLM"
            " that runs there, with its API key in VLLM_API_KEY.",
        ),
    ] = AUTO
    max_connections: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="How many clients may be connected at once. Default: what `ulimit -n` has room for.",
        ),
    ] = None
    gpus: Annotated[
        str | None,
        typer.Option(
            metavar="all|none|0,1|cpu:N",
            help="The GPUs to use. Default: all there are. cpu:2 makes two devices up on the processor, to try.",
        ),
    ] = None
    gpus_per_job: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many GPUs a job gets that doesn't ask for a number itself.")
    ] = 1
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="How many jobs train at once. Default: as many as the GPUs have room for; one without GPUs.",
        ),
    ] = None
    executor: Annotated[ExecutorName, typer.Option(help="What runs the jobs.")] = ExecutorName.LOCAL
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The Ray cluster's dashboard: http://head:8265. RAY_AUTH_TOKEN and RAY_JOB_HEADERS hold its keys.",
        ),
    ] = None
    ray_cpus: Annotated[float, typer.Option(min=0, metavar="N", help="CPUs that a job reserves on Ray.")] = 1
    ray_gpus: Annotated[float, typer.Option(min=0, metavar="N", help="GPUs that a job reserves on Ray.")] = 0
    ray_gpus_per_machine: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="A job with more GPUs trains on several machines of the Ray cluster."),
    ] = None
    ray_runtime_env: Annotated[
        str | None, typer.Option(metavar="JSON", help="Ray's runtime environment for jobs, or a file with it.")
    ] = None
    ray_jobs_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The job folders' path on the cluster's machines, if it differs."),
    ] = None
    ray_jobs_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="An object store that carries job folders, if no storage is shared: s3://bucket/jobs"
        ),
    ] = None
    token: Annotated[
        str | None,
        typer.Option(
            envvar="TUNEWAY_TOKEN",
            metavar="KEY",
            help="The API key that clients must send. Better in the variable: options show in the list of processes.",
        ),
    ] = None
    faults: Annotated[
        str,
        typer.Option("--fault", metavar="KIND=SHARE,…", help="Make faults, to test your pipeline: drop=0.1,503=0.1"),
    ] = ""
    fault_seed: Annotated[int, typer.Option(metavar="N", help="The same seed makes the same faults.")] = 0
    allow_python_graders: Annotated[
        bool, typer.Option("--allow-python-graders", help="Run Python code that clients send as graders.")
    ] = False
    grader_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="The service that answers for model graders, if another; TUNEWAY_GRADER_KEY is its key."
        ),
    ] = None
    webhook_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Send every event there, signed with OPENAI_WEBHOOK_SECRET."),
    ] = None
    link_local_webhooks: Annotated[
        bool,
        typer.Option(
            "--link-local-webhooks", help="Send webhooks to link-local addresses and clouds' metadata services too."
        ),
    ] = False
    recover: Annotated[
        bool,
        typer.Option("--recover", help="First make a lost or damaged database again, from the data folder."),
    ] = False
    log_level: Annotated[LogLevel, typer.Option(help="How much is logged on standard error.")] = LogLevel.INFO

    def settings(self) -> Settings:
        """The settings of the service; `InvalidSpec` names the option that is wrong."""
        ray = self._ray()
        gpus = None if ray is not None and self.gpus is None else devices.chosen(self.gpus)
        return Settings(
            data_dir=self.data_dir or default_data_dir(),
            job_storage=self.job_storage,
            host=self.host,
            port=self.port,
            token=self.token or None,
            max_connections=self.max_connections,
            # a job has a GPU at least, so the GPUs are the limit
            concurrency=max(1, len(gpus or ())) if self.concurrency is None else self.concurrency,
            gpus=gpus,
            gpus_per_job=self.gpus_per_job,
            ray=ray,
            serve_with=self.serve_with,
            models=pairs(self.models or ()),
            faults=self.faults,
            fault_seed=self.fault_seed,
            allow_python_graders=self.allow_python_graders,
            grader_url=self.grader_url,
            webhook_url=self.webhook_url,
            webhook_secret=os.environ.get("OPENAI_WEBHOOK_SECRET"),
            link_local_webhooks=self.link_local_webhooks,
        )

    def _ray(self) -> RaySettings | None:
        if self.executor == ExecutorName.RAY:
            return RaySettings.read(
                address=self.ray_address,
                cpus=self.ray_cpus,
                gpus=self.ray_gpus,
                gpus_per_machine=self.ray_gpus_per_machine,
                runtime_env=self.ray_runtime_env,
                jobs_dir=self.ray_jobs_dir,
                jobs_url=self.ray_jobs_url,
            )
        if self.ray_address:
            raise InvalidSpec("a Ray cluster is given, but jobs run here", field="executor", hint="Use --executor ray.")
        return None


def pairs(texts: Iterable[str]) -> dict[str, str]:
    """`NAME=TRAINER` pairs as a dictionary."""
    found = {}
    for text in texts:
        name, equals, trainer = text.partition("=")
        if not (name and equals and trainer):
            raise InvalidSpec(f"{text!r} isn't NAME=TRAINER", field="model", hint="For example: gpt-4o-mini=bytes")
        found[name] = trainer
    return found
