"""What to train, from options: shared by `create` and `run`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneway.errors import InvalidInput, InvalidSpec

if TYPE_CHECKING:
    from tuneway.models import JobSpec

PANEL = "Training"


class Method(StrEnum):
    """How a model learns."""

    SUPERVISED = "supervised"
    DPO = "dpo"
    REINFORCEMENT = "reinforcement"


class Reuse(StrEnum):
    """Which existing jobs will do."""

    RUN = "run"
    CONTENT = "content"
    NEVER = "never"


@dataclass(frozen=True, kw_only=True)
class Training:
    """How to train; what is left out, the service chooses."""

    method: Annotated[Method | None, typer.Option(help="How it learns: supervised.", rich_help_panel=PANEL)] = None
    epochs: Annotated[
        int | None, typer.Option(metavar="N", help="How often it sees the data.", rich_help_panel=PANEL)
    ] = None
    batch_size: Annotated[int | None, typer.Option(metavar="N", help="Examples a step.", rich_help_panel=PANEL)] = None
    lr_multiplier: Annotated[
        float | None, typer.Option(metavar="X", help="Scales the learning rate.", rich_help_panel=PANEL)
    ] = None
    beta: Annotated[
        float | None, typer.Option(metavar="X", help="dpo: how closely it stays to its base.", rich_help_panel=PANEL)
    ] = None
    grader: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="reinforcement: the grader, as JSON.", rich_help_panel=PANEL),
    ] = None
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="The same seed, the same training.", rich_help_panel=PANEL)
    ] = None
    suffix: Annotated[
        str | None, typer.Option(metavar="WORD", help="A word in the new model's name.", rich_help_panel=PANEL)
    ] = None
    metadata: Annotated[
        list[str] | None,
        typer.Option(metavar="K=V", help="Pairs of your own on the job; repeatable.", rich_help_panel=PANEL),
    ] = None
    wandb: Annotated[
        str | None,
        typer.Option(metavar="PROJECT", help="Log to this project of Weights & Biases.", rich_help_panel=PANEL),
    ] = None

    def spec(self, base: dict[str, Any] | None = None, **fields: str | None) -> JobSpec:
        """The specification: these options over a base."""
        from tuneway.models import JobSpec

        body = dict(base or {})
        method = self._method(body.get("method"))
        ours: dict[str, Any] = fields | {
            "method": method,
            "seed": self.seed,
            "suffix": self.suffix,
            "metadata": (body.get("metadata") or {}) | pairs(self.metadata or (), "--metadata") or None,
            "integrations": [{"type": "wandb", "wandb": {"project": self.wandb}}] if self.wandb else None,
        }
        body |= {name: value for name, value in ours.items() if value is not None}
        for field in ("model", "training_file"):
            if not body.get(field):
                raise InvalidSpec(f"{field} is missing", field=field, hint="Give it as an option, or in --spec.")
        return JobSpec(**body)

    def _method(self, base: Any) -> dict[str, Any] | None:
        """The method as the wire has it: what a base says, with the options' own knobs over it."""
        knobs = {
            "n_epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate_multiplier": self.lr_multiplier,
            "beta": self.beta,
            "grader": read_json(self.grader, "--grader") if self.grader else None,
        }
        given = {name: value for name, value in knobs.items() if value is not None}
        if not given and self.method is None:
            return None
        before = base if isinstance(base, dict) else {}
        kind = self.method.value if self.method else before.get("type") or _implied(given)
        return (before if before.get("type") == kind else {"type": kind}) | given


def _implied(knobs: Iterable[str]) -> str:
    """The method that alone has these knobs."""
    return "dpo" if "beta" in knobs else "reinforcement" if "grader" in knobs else "supervised"


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """`name=value` texts as a dictionary."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise InvalidInput(f"{option} {text!r} is no pair", hint=f"Write {option} name=value.")
        found[name] = value
    return found


def read_json(path: Path, option: str) -> dict[str, Any]:
    """A JSON object from a file, or from standard input for `-`."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        value = json.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{option} {path} can't be read: {getattr(error, 'strerror', None) or error}") from None
    except ValueError as error:
        raise InvalidInput(f"{option} {path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidInput(f"{option} {path} is no JSON object")
    return value
