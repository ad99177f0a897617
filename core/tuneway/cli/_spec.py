"""How to train, from options: shared by `create` and `run`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tuneway._escape import excerpt
from tuneway._folders import expanded
from tuneway.choices import Reuse
from tuneway.cli._options import group
from tuneway.errors import InvalidInput, InvalidSpec

if TYPE_CHECKING:
    from tuneway.recipe import Recipe
    from tuneway.steps import AskedTraining


ReuseOption = Annotated[
    Reuse,
    typer.Option(
        help="Which existing job to adopt: one with the same key and content, any with the same content, or none."
    ),
]


Prices = Annotated[
    Path | None,
    typer.Option(metavar="JSON", help='A file with prices of your own: {"model": dollars per million tokens}.'),
]


@group()
class Budget:
    """What a training may cost."""

    max_usd: Annotated[
        float | None, typer.Option(metavar="USD", help="Refuse a training that is estimated to cost more.")
    ] = None
    prices: Prices = None

    def fields(self, **checking: Any) -> dict[str, Any]:
        """The fields of a recipe. `checking` are further options of the check of its data."""
        prices = {"prices": self.prices} if self.prices else {}
        return {"max_usd": self.max_usd, "data_options": {**prices, **checking}}


@group("Training")
class Training:
    """The method and its hyperparameters; the service chooses those that are left out."""

    method: Annotated[
        Literal["supervised", "dpo", "reinforcement"] | None,
        typer.Option(help="The training method. Default: supervised."),
    ] = None
    epochs: Annotated[int | None, typer.Option(metavar="N", help="How often training goes over the data.")] = None
    batch_size: Annotated[int | None, typer.Option(metavar="N", help="Examples in one step.")] = None
    lr_multiplier: Annotated[
        float | None, typer.Option(metavar="X", help="Multiplies the service's own learning rate.")
    ] = None
    learning_rate: Annotated[
        float | None,
        typer.Option(metavar="X", help="The learning rate itself, for services that take no multiplier."),
    ] = None
    beta: Annotated[
        float | None,
        typer.Option(metavar="X", help="For dpo: how close the model stays to its base."),
    ] = None
    grader: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="For reinforcement: a file with the grader's JSON."),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="The same seed and data give the same training."),
    ] = None
    suffix: Annotated[str | None, typer.Option(metavar="WORD", help="A word in the new model's name.")] = None
    metadata: Annotated[
        list[str] | None,
        typer.Option(metavar="K=V", help="A pair of your own, kept on the job; repeatable."),
    ] = None
    wandb: Annotated[
        str | None,
        typer.Option(metavar="PROJECT", help="Send metrics to this Weights & Biases project."),
    ] = None

    def recipe(self, **fields: Any) -> Recipe:
        """A recipe of these options, and of the fields that say what to train on what."""
        from tuneway.recipe import Recipe

        return Recipe(**self._fields({}, fields))

    def spec(self, base: dict[str, Any] | None = None, **fields: Any) -> AskedTraining:
        """A job specification: these options win over the base."""
        from tuneway.steps import asked_training

        body = self._fields(base or {}, fields)
        for field in ("model", "training_file"):
            if not body.get(field):
                raise InvalidSpec(f"{field} is missing", field=field, hint="Give it as an option, or in --spec.")
        return asked_training(body)

    def _fields(self, base: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
        """The base with everything over it that was given."""
        ours: dict[str, Any] = fields | {
            "method": self._method(base.get("method")),
            "seed": self.seed,
            "suffix": self.suffix,
            "metadata": (base.get("metadata") or {}) | pairs(self.metadata or (), "--metadata") or None,
            "integrations": [{"type": "wandb", "wandb": {"project": self.wandb}}] if self.wandb else None,
        }
        return base | {name: value for name, value in ours.items() if value is not None}

    def _method(self, base: Any) -> dict[str, Any] | None:
        """The method in the API's JSON: the base's, with the hyperparameters that were given over its own."""
        options = {
            "n_epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "learning_rate_multiplier": self.lr_multiplier,
            "beta": self.beta,
            "grader": read_json(self.grader, "--grader") if self.grader else None,
        }
        given = {name: value for name, value in options.items() if value is not None}
        if {"learning_rate", "learning_rate_multiplier"} <= given.keys():
            why = "--learning-rate and --lr-multiplier are both given"
            raise InvalidSpec(why, field="learning_rate", hint="Give the one that the service takes: `tuneway doctor`.")
        if not given and self.method is None:
            return None
        before = base if isinstance(base, dict) else {}
        kind = self.method or before.get("type") or _implied(given)
        return (before if before.get("type") == kind else {"type": kind}) | given


def _implied(options: Iterable[str]) -> str:
    """The only method that has these options."""
    return "dpo" if "beta" in options else "reinforcement" if "grader" in options else "supervised"


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """`name=value` texts as a dictionary."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise InvalidInput(f"{option} {excerpt(text)} is not a pair", hint=f"Write {option} name=value.")
        found[name] = value
    return found


def read_json(path: Path, option: str) -> dict[str, Any]:
    """A JSON object from a file, or from standard input for `-`."""
    try:
        text = sys.stdin.read() if str(path) == "-" else expanded(path).read_text(encoding="utf-8")
        value = json.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{option} {path} can't be read: {getattr(error, 'strerror', None) or error}") from None
    except ValueError as error:
        raise InvalidInput(f"{option} {path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidInput(f"{option} {path} holds JSON that is not an object")
    return value
