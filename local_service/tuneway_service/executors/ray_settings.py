"""How a service is told about a Ray cluster."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tuneway.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class RaySettings:
    """A cluster, and what each job takes of it.

    Args:
        address: The dashboard's, such as `http://head:8265`.
        cpus: CPUs that a job reserves, whole or in parts.
        gpus: GPUs that a job reserves.
        runtime_env: Ray's own description of what a worker needs: pip, env_vars, image, ….
        jobs_dir: Where the cluster's machines have the service's job folders, if not at the same path.
        jobs_url: An object store that carries job folders to the cluster and back, where nothing is mounted.
        headers: Sent with each request.
    """

    address: str
    cpus: float = 1
    gpus: float = 0
    runtime_env: Mapping[str, Any] = field(default_factory=dict, repr=False)
    jobs_dir: Path | None = None
    jobs_url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not _is_http(self.address):
            raise InvalidSpec(
                f"{self.address!r} is no address of a Ray dashboard",
                field="ray_address",
                hint="For example: http://head:8265",
            )
        if "@" in urlsplit(self.address).netloc:
            raise InvalidSpec(
                "a password in the address of the Ray dashboard would show in logs",
                field="ray_address",
                hint='Set RAY_AUTH_TOKEN, or RAY_JOB_HEADERS to {"Authorization": "Basic …"}.',
            )
        if self.jobs_dir and self.jobs_url:
            raise InvalidSpec("job folders are mounted there, or come by a store", field="ray_jobs_url")
        for name, count in (("ray_cpus", self.cpus), ("ray_gpus", self.gpus)):
            if not 0 <= count < float("inf"):
                raise InvalidSpec(f"a job can't reserve {count}", field=name)

    @classmethod
    def read(
        cls,
        *,
        address: str | None,
        cpus: float = 1,
        gpus: float = 0,
        runtime_env: str | None = None,
        jobs_dir: str | os.PathLike[str] | None = None,
        jobs_url: str | None = None,
    ) -> RaySettings:
        """From options, and from the variables that Ray's own command line reads for its keys."""
        if not address:
            raise InvalidSpec(
                "the executor ray needs a cluster", field="ray_address", hint="Give --ray-address http://head:8265"
            )
        return cls(
            address=address,
            cpus=cpus,
            gpus=gpus,
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
    """JSON, or the name of a file of it."""
    wrong = InvalidSpec(
        "this is no runtime environment",
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
                "the variable RAY_JOB_HEADERS holds no JSON object of headers", field="RAY_JOB_HEADERS"
            ) from None
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        headers.setdefault("Authorization", f"Bearer {token.strip()}")
    for name, value in headers.items():
        # what can't be sent would be quoted in an error
        if not (value.isascii() and value.isprintable()):
            raise InvalidSpec(f"the header {name} for Ray has characters that no header can have", field=name)
    return headers
