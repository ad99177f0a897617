"""Executors: where workers run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuneway_service.executors.base import Executor
from tuneway_service.executors.local import LocalExecutor

if TYPE_CHECKING:
    from tuneway_service.settings import Settings

__all__ = ["Executor", "LocalExecutor", "make_executor"]


def make_executor(settings: Settings) -> Executor:
    """The executor that the settings name."""
    if settings.ray is None:
        return LocalExecutor()
    from tuneway_service.executors.ray import RayExecutor

    return RayExecutor(settings.ray, settings.jobs_dir)
