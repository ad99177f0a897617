"""The settings of a service."""

from __future__ import annotations

import base64
import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tuneway.errors import InvalidSpec
from tuneway_service import webhook_addresses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuneway_service.executors.ray_settings import RaySettings

GRADER_KEY = "TUNEWAY_GRADER_KEY"
"""The variable with the API key for graders that are models."""


AUTO = "auto"
ENGINES = (AUTO, "transformers", "llamacpp")
"""What `--serve-with` takes, besides the address of a running vLLM."""
VLLM = "vllm="
VLLM_KEY = "VLLM_API_KEY"
"""The variable with the API key of a running vLLM; vLLM reads the same one."""


def is_loopback(host: str) -> bool:
    """Whether an address is a loopback address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        name = host.lower()
        return name == "localhost" or name.endswith(".localhost")


def check_webhook(url: str, secret: str | None, *, link_local: bool) -> None:
    """Raise `InvalidSpec` for an address or a secret that can't work."""
    wrong = webhook_addresses.problem(url, link_local=link_local)
    if wrong is not None:
        raise InvalidSpec(
            f"{url[:200]!r} is not a webhook address: {wrong}", field="webhook_url", hint="https://… or http://…"
        )
    try:
        good = secret is not None and len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) >= 16
    except ValueError:
        good = False
    if not good:
        raise InvalidSpec(
            "webhooks need a signing secret",
            field="webhook_secret",
            hint="Set OPENAI_WEBHOOK_SECRET to whsec_ and base64, such as that of `openssl rand -base64 32`.",
        )


def check_engine(word: str) -> None:
    """Raise `InvalidSpec` for what `--serve-with` doesn't take."""
    if word in ENGINES:
        return
    if not word.startswith(VLLM):
        hint = f"One of: {', '.join(ENGINES)}, vllm=http://localhost:8000."
        raise InvalidSpec(f"there is no engine {word[:100]!r}", field="serve_with", hint=hint)
    try:
        parts = urlsplit(word.removeprefix(VLLM))
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
        good = good and "@" not in parts.netloc and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise InvalidSpec(
            "vllm= needs the address of a running vLLM, without a user and a password",
            field="serve_with",
            hint=f"vllm=http://localhost:8000; {VLLM_KEY} holds its API key.",
        )


def default_data_dir() -> Path:
    """The data directory that is used unless another one is given."""
    home = os.environ.get("XDG_DATA_HOME")
    return (Path(home) if home else Path.home() / ".local" / "share") / "tuneway"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be set, checked.

    Args:
        data_dir: The directory of the database, the files and the job folders; created if it doesn't exist.
        job_storage: A directory for the job folders alone, such as storage that other machines share.
        host: The address to listen on.
        port: The port; 0 takes any free one.
        token: The bearer token that clients must send; None means no token.
        max_connections: How many connections there may be; None: as many as the limit of open files allows.
        concurrency: How many jobs train at once at most.
        gpus: The devices that jobs and answers use (see `devices`); None if the service doesn't choose any.
        gpus_per_job: How many of them a job gets that doesn't say so itself.
        ray: The Ray cluster that runs the jobs; this machine when there is none.
        serve_with: The engine that answers: "auto", "transformers", "llamacpp", or "vllm=" and the address of a running
            vLLM; the variable VLLM_API_KEY holds its API key.
        models: Names that jobs may ask for, and the trainer that each stands for.
        faults: Faults to make, such as "drop=0.1,503=0.1".
        fault_seed: The same seed makes the same faults.
        allow_python_graders: Whether graders may run Python code that clients send.
        grader_url: The service that answers for model graders, if not this one; the variable TUNEWAY_GRADER_KEY
            holds its API key.
        webhook_url: An address that receives every event, in addition to those that clients register.
        webhook_secret: The signing secret for that address: `whsec_` and base64.
        link_local_webhooks: Whether webhooks may be sent to link-local addresses and to metadata services of clouds.
    """

    data_dir: Path
    job_storage: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = field(default=None, repr=False)
    max_connections: int | None = None
    concurrency: int = 1
    gpus: tuple[str, ...] | None = None
    gpus_per_job: int = 1
    ray: RaySettings | None = None
    serve_with: str = AUTO
    models: Mapping[str, str] = field(default_factory=dict)
    faults: str = ""
    fault_seed: int = 0
    allow_python_graders: bool = False
    grader_url: str | None = None
    webhook_url: str | None = None
    webhook_secret: str | None = field(default=None, repr=False)
    link_local_webhooks: bool = False

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise InvalidSpec(f"concurrency can't be {self.concurrency}", field="concurrency", hint="At least 1.")
        if not 1 <= self.gpus_per_job <= max(1, len(self.gpus or ())):
            there = f"there are {len(self.gpus)}" if self.gpus else "the service has none"
            raise InvalidSpec(
                f"a job can't have {self.gpus_per_job} GPUs: {there}", field="gpus_per_job", hint="At least 1."
            )
        check_engine(self.serve_with)
        if self.gpus is not None and self.ray is not None:
            raise InvalidSpec(
                "jobs on Ray reserve GPUs there", field="gpus", hint="Give --ray-gpus instead, or none of the two."
            )
        if self.max_connections is not None and self.max_connections < 1:
            raise InvalidSpec(
                f"max_connections can't be {self.max_connections}", field="max_connections", hint="At least 1."
            )
        if not 0 <= self.port <= 65535:
            raise InvalidSpec(f"there is no port {self.port}", field="port", hint="0 takes any free one.")
        if self.token is None and not is_loopback(self.host):
            raise InvalidSpec(
                f"{self.host} can be reached from other machines: that needs a token",
                field="token",
                hint="Give a --token (or set TUNEWAY_TOKEN), or listen on 127.0.0.1.",
            )
        if self.grader_url is not None and not self.grader_url.startswith(("http://", "https://")):
            raise InvalidSpec(
                f"{self.grader_url!r} is not an address", field="grader_url", hint="https://… or http://…"
            )
        if self.webhook_url is not None:
            check_webhook(self.webhook_url, self.webhook_secret, link_local=self.link_local_webhooks)

    @property
    def vllm_url(self) -> str | None:
        """The address of the vLLM that answers, if one does."""
        return self.serve_with.removeprefix(VLLM) if self.serve_with.startswith(VLLM) else None

    def own_url(self) -> str | None:
        """The base URL of this service; None before it listens."""
        try:
            return (self.data_dir / "base_url.txt").read_text().strip()
        except FileNotFoundError:
            return None

    @property
    def files_dir(self) -> Path:
        """The contents of files, each named by its id."""
        return self.data_dir / "files"

    @property
    def uploads_dir(self) -> Path:
        """The parts of unfinished uploads, a folder for each."""
        return self.data_dir / "uploads"

    @property
    def jobs_dir(self) -> Path:
        """The job folders, each named by the job's id."""
        return (self.job_storage or self.data_dir) / "jobs"

    @property
    def scratch_dir(self) -> Path:
        """What is being received or created now; see `sweeping`."""
        return self.data_dir / "scratch"

    @property
    def gguf_dir(self) -> Path:
        """Models as llama.cpp reads them, made from the job folders and the base models."""
        return self.data_dir / "gguf"

    @property
    def records_dir(self) -> Path:
        """The facts of each file, named by its id; see `record_files`."""
        return self.data_dir / "records"

    @property
    def database(self) -> Path:
        """The database."""
        return self.data_dir / "tuneway.db"
