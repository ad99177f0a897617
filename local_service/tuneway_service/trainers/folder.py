"""A folder of arrays and facts that is replaced atomically.

The same content gives the same bytes and the same file names: arrays are `.npy` files named by their hash, facts are
sorted JSON, and nothing has a date. `index.json` is replaced last and names the arrays that are valid.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from tuneway.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_INDEX = "index.json"


def write_folder(folder: Path, facts: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    """Write the folder, or replace an older one. Raises `OSError` if the disk fails."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: _write_array(folder, name, array) for name, array in arrays.items()}
    index = json.dumps({"facts": facts, "arrays": files}, sort_keys=True, indent=1, allow_nan=False)
    _put(folder / _INDEX, index.encode())
    for leftover in folder.iterdir():
        if leftover.name != _INDEX and leftover.name not in files.values():
            leftover.unlink(missing_ok=True)


def read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The facts and the arrays; raises `InvalidInput` if anything is missing or was changed."""
    try:
        index = json.loads((folder / _INDEX).read_bytes())
        arrays = {name: _read_array(folder / file) for name, file in index["arrays"].items()}
        return index["facts"], arrays
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"{folder.name} is not a readable model folder: {error}",
            hint="It is damaged or incomplete: train again.",
        ) from error


def _write_array(folder: Path, name: str, array: NDArray[Any]) -> str:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    content = buffer.getvalue()
    path = folder / f"{name}-{_digest(content)}.npy"
    if not path.exists():
        _put(path, content)
    return path.name


def _read_array(path: Path) -> NDArray[Any]:
    content = path.read_bytes()
    if not path.stem.endswith(f"-{_digest(content)}"):
        raise ValueError(f"{path.name} was changed")
    array: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    return array


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _put(path: Path, content: bytes) -> None:
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
