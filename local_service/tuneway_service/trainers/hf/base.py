"""The base model: a folder of the user's, or the model from PyPI. This module imports no large library."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneway.errors import InvalidSpec
from tuneway_service.trainers.hf import smol

if TYPE_CHECKING:
    from collections.abc import Callable

BYTES_PER_WEIGHT = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class Base:
    """A base model.

    Args:
        name: The name of its trainer, after `hf:`.
        title: Its name for people.
        card: What is known about it without loading it.
        context_length: The length of its context in tokens.
        parameters: The approximate number of its weights.
        dtype: The data type of the weights.
        folder: Returns the folder that Transformers loads; may take seconds the first time.
    """

    name: str
    title: str
    card: dict[str, Any]
    context_length: int
    parameters: int
    dtype: str
    folder: Callable[[], Path]


def find_base(where: str) -> Base:
    """The model of this name or folder; raises `InvalidSpec` if there is none."""
    if where in smol.NAMES:
        smol.find_weights()
        return Base(smol.NAME, smol.TITLE, smol.CARD, smol.CONTEXT_LENGTH, smol.PARAMETERS, smol.DTYPE, smol.folder)
    return _read(Path(where).expanduser().resolve())


def _read(folder: Path) -> Base:
    try:
        config = json.loads((folder / "config.json").read_bytes())
        weights = sorted(folder.glob("*.safetensors"))
        if not weights:
            raise FileNotFoundError("it has no *.safetensors")
        text = config.get("text_config") or config
        size = sum(path.stat().st_size for path in weights)
        kind = str(config.get("dtype") or config.get("torch_dtype"))
        card = {"name": folder.name, "folder": str(folder), "architecture": config.get("architectures"), "dtype": kind}
        return Base(
            name=str(folder),
            title=folder.name,
            card=card,
            context_length=int(text.get("max_position_embeddings") or 2048),
            parameters=size // BYTES_PER_WEIGHT.get(kind, 4),
            dtype=kind,
            folder=lambda: folder,
        )
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InvalidSpec(
            f"{folder} is not a model that can be trained: {error}",
            field="model",
            hint="Give a folder as Transformers saves it: config.json, *.safetensors and a tokenizer.",
        ) from None
