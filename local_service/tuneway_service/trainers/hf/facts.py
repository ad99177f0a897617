"""The facts about an exported model, in a file beside its weights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tuneway.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

FACTS = "tuneway.json"
ADAPTER = "adapter_config.json"
PREFIX = "hf:"


def read_facts(folder: Path) -> dict[str, Any]:
    """The facts of an exported model; raises `InvalidInput` for a folder that this trainer didn't write."""
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS).read_bytes())
        trainer = str(facts["trainer"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"{folder.name} is not a readable model folder: {error}", hint="It is damaged or incomplete: train again."
        ) from None
    if not trainer.startswith(PREFIX):
        raise InvalidInput(f"{folder.name} was written by trainer {trainer!r}", hint="This is trainer 'hf'.")
    return facts


def model_card(facts: dict[str, Any]) -> str:
    """The facts as the README of a model's folder."""
    base, settings = facts["base_model"], facts["hyperparameters"]
    table = {
        "Base model": base["name"],
        "Licence of the base": base.get("licence", "see the base model"),
        "Method": facts["method"],
        "What was trained": f"LoRA adapters of rank {settings['lora_r']}" if settings["lora"] else "all weights",
        "Steps": facts["step"],
        "Highest learning rate": f"{facts['learning_rate']:g}",
        "Seed": facts["seed"],
        "Trained by": f"Tuneway's trainer {facts['trainer']}",
    }
    lines = "".join(f"| {name} | {value} |\n" for name, value in table.items())
    return f"# {base['name']}, tuned\n\n| | |\n|---|---|\n{lines}"
