"""Recover a data folder of the local service without serving it."""

from __future__ import annotations

from pathlib import Path

from tuneway_service import recovery
from tuneway_service.settings import Settings


def recover(data: Path) -> list[str]:
    """Recover; gives the lines that it reports."""
    lines: list[str] = []
    recovery.recover(Settings(data_dir=data), lines.append)
    return lines
