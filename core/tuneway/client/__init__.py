"""The public face: every operation of the API one to one, and the steps that a pipeline is made of."""

from typing import TYPE_CHECKING

from tuneway._lazy import Finder, on_demand

if TYPE_CHECKING:
    from tuneway.client._async import AsyncClient
    from tuneway.client._async_operations import (
        AsyncCheckpoints,
        AsyncFiles,
        AsyncGraders,
        AsyncJobs,
        AsyncModels,
        AsyncPermissions,
        AsyncUploads,
    )
    from tuneway.client._blocking_operations import Checkpoints, Files, Graders, Jobs, Models, Permissions, Uploads
    from tuneway.client._fine_tune import FineTuned, SentData, StartedJob, UploadedFile
    from tuneway.client._sync import Client

__all__ = [
    "AsyncCheckpoints",
    "AsyncClient",
    "AsyncFiles",
    "AsyncGraders",
    "AsyncJobs",
    "AsyncModels",
    "AsyncPermissions",
    "AsyncUploads",
    "Checkpoints",
    "Client",
    "Files",
    "FineTuned",
    "Graders",
    "Jobs",
    "Models",
    "Permissions",
    "SentData",
    "StartedJob",
    "UploadedFile",
    "Uploads",
]

_HOMES = {
    "tuneway.client._async": ("AsyncClient",),
    "tuneway.client._async_operations": (
        "AsyncCheckpoints",
        "AsyncFiles",
        "AsyncGraders",
        "AsyncJobs",
        "AsyncModels",
        "AsyncPermissions",
        "AsyncUploads",
    ),
    "tuneway.client._blocking_operations": (
        "Checkpoints",
        "Files",
        "Graders",
        "Jobs",
        "Models",
        "Permissions",
        "Uploads",
    ),
    "tuneway.client._fine_tune": ("FineTuned", "SentData", "StartedJob", "UploadedFile"),
    "tuneway.client._sync": ("Client",),
}

__getattr__: Finder = on_demand(__name__, {name: home for home, names in _HOMES.items() for name in names})
