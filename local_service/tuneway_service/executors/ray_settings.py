"""The settings of a Ray cluster."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tuneway.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Reservation:
    """What a job reserves: so many machines, and so many GPUs and CPUs on each."""

    machines: int
    gpus: float
    cpus: float


@dataclass(frozen=True, kw_only=True)
class RaySettings:
    """A cluster, and what each job reserves there.

    Args:
        address: The address of the dashboard, such as `http://head:8265`.
        cpus: CPUs that a job reserves; fractions are allowed.
        gpus: GPUs that a job reserves; fractions are allowed.
        gpus_per_machine: A job with more GPUs than this trains on several machines; None if each fits on one.
        runtime_env: Ray's runtime environment for the workers: pip, env_vars, image and so on.
        jobs_dir: The path of the job folders on the cluster's machines, if it differs from the service's.
        jobs_url: An object store that carries job folders to the cluster and back, if no storage is shared.
        headers: Headers for each request.
    """

    address: str
    cpus: float = 1
    gpus: float = 0
    gpus_per_machine: int | None = None
    runtime_env: Mapping[str, Any] = field(default_factory=dict, repr=False)
    jobs_dir: Path | None = None
    jobs_url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not _is_http(self.address):
            raise InvalidSpec(
                f"{self.address!r} is not an address of a Ray dashboard",
                field="ray_address",
                hint="For example: http://head:8265",
            )
        if "@" in urlsplit(self.address).netloc:
            raise InvalidSpec(
                "the address of the Ray dashboard has a password, which would show in logs",
                field="ray_address",
                hint='Set RAY_AUTH_TOKEN, or RAY_JOB_HEADERS to {"Authorization": "Basic …"}.',
            )
        if self.jobs_dir and self.jobs_url:
            raise InvalidSpec(
                "job folders are either on shared storage or in an object store, not both", field="ray_jobs_url"
            )
        if self.gpus_per_machine is not None and self.gpus_per_machine < 1:
            raise InvalidSpec(f"a machine can't have {self.gpus_per_machine} GPUs", field="ray_gpus_per_machine")
        if self.gpus_per_machine and self.jobs_url:
            raise InvalidSpec(
                "a job on several machines needs job folders on storage that they share",
                field="ray_gpus_per_machine",
                hint="Give --job-storage instead of --ray-jobs-url.",
            )
        for name, count in (("ray_cpus", self.cpus), ("ray_gpus", self.gpus)):
            if not 0 <= count < float("inf"):
                raise InvalidSpec(f"a job can't reserve {count}", field=name)

    def plan(self, processes: int) -> Reservation:
        """What a job with so many processes reserves: a gang a whole GPU for each, as many on each machine."""
        if processes == 1:
            return Reservation(1, self.gpus, self.cpus)
        least = math.ceil(processes / (self.gpus_per_machine or processes))
        machines = next(number for number in range(least, processes + 1) if processes % number == 0)
        return Reservation(machines, processes // machines, self.cpus)

    @classmethod
    def read(
        cls,
        *,
        address: str | None,
        cpus: float = 1,
        gpus: float = 0,
        gpus_per_machine: int | None = None,
        runtime_env: str | None = None,
        jobs_dir: str | os.PathLike[str] | None = None,
        jobs_url: str | None = None,
    ) -> RaySettings:
        """From options, and from the variables in which Ray's own command line finds its keys."""
        if not address:
            raise InvalidSpec(
                "the executor 'ray' needs a cluster", field="ray_address", hint="Give --ray-address http://head:8265"
            )
        return cls(
            address=address,
            cpus=cpus,
            gpus=gpus,
            gpus_per_machine=gpus_per_machine,
            runtime_env=_runtime_env(runtime_env) if runtime_env else {},
            jobs_dir=Path(jobs_dir) if jobs_dir else None,
            jobs_url=jobs_url or None,
            headers=_headers(),
        )


def _is_http(address: str) -> bool:
    try:
        url = urlsplit(address)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:  # for example, the port isn't a number
        return False


def _runtime_env(text: str) -> dict[str, Any]:
    """From JSON, or from a file of JSON."""
    wrong = InvalidSpec(
        "the runtime environment isn't a JSON object",
        field="ray_runtime_env",
        hint='Give a JSON object such as {"pip": ["tuneway[local]"]}, or the name of a file with one.',
    )
    try:
        found = json.loads(text if text.lstrip().startswith("{") else Path(text).read_bytes())
    except (OSError, ValueError):
        raise wrong from None
    if not isinstance(found, dict):
        raise wrong
    return found


def _headers() -> dict[str, str]:
    headers: dict[str, str] = {}
    if text := os.environ.get("RAY_JOB_HEADERS"):
        try:
            headers = {str(name): str(value) for name, value in json.loads(text).items()}
        except (ValueError, AttributeError):
            raise InvalidSpec(
                "the variable RAY_JOB_HEADERS isn't a JSON object of headers", field="RAY_JOB_HEADERS"
            ) from None
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        headers.setdefault("Authorization", f"Bearer {token.strip()}")
    for name, value in headers.items():
        # checked here, because httpx would show the value in its error
        if not (value.isascii() and value.isprintable()):
            raise InvalidSpec(f"the header {name} for Ray has characters that headers can't have", field=name)
    return headers
