"""Weights on disk: the rows that aren't zero, and the facts that are needed to read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tuneway.errors import InvalidInput
from tuneway_service.trainers.bytewise.features import VERSION
from tuneway_service.trainers.bytewise.weights import Weights
from tuneway_service.trainers.folder import read_folder, write_folder

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]


def export_weights(folder: Path, weights: Weights) -> None:
    """Write a model for answers, with half the precision and half the size of the weights in training."""
    arrays = weights.to_arrays()
    save_weights(folder, weights, arrays | {"weights": arrays["weights"].astype(np.float16)}, {})


def save_weights(folder: Path, weights: Weights, arrays: Arrays, facts: dict[str, Any]) -> None:
    """Write these arrays, which include `rows` and `weights`."""
    own = {"trainer": "bytes", "features": VERSION, "alphabet": weights.alphabet}
    write_folder(folder, facts | own, arrays)


def load_weights(folder: Path) -> tuple[Weights, Arrays, dict[str, Any]]:
    """The weights of an exported or saved folder, with all arrays and facts."""
    facts, arrays = read_folder(folder)
    writer = (facts.get("trainer"), facts.get("features"))
    if writer != ("bytes", VERSION):
        raise InvalidInput(
            f"{folder.name} was written by trainer {writer[0]!r} with features {writer[1]!r}",
            hint=f"This is trainer 'bytes' with features {VERSION}: train the model again.",
        )
    return Weights.from_arrays(facts["alphabet"], arrays["rows"], arrays["weights"]), arrays, facts
