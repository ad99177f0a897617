"""Check how a model is to be registered, before anything is sent or paid for."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TypedDict

from tuneway.choices import Choice, check_word
from tuneway.errors import InvalidSpec
from tuneway.models import TrainingSpec, metric_name, possible_metrics
from tuneway.registry._places import check_uri
from tuneway.registry.gates import GateLike
from tuneway.registry.records import check_alias, check_name


class RegistrationFields(TypedDict, total=False):
    """How a model is registered, for functions that take `**fields: Unpack[RegistrationFields]`.

    Attributes:
        name: The model's name in the registry. Without one, the model isn't registered.
        registry: The registry's URI: `sqlite:///models.db`, `mlflow:https://…`. The default is TUNEWAY_REGISTRY_URI,
            or else a file in the user's data folder.
        alias: "champion", "challenger" or a name of your own. It moves to this version if all gates pass.
        checkpoint: "last" is the job's own model, "best" the checkpoint with the lowest validation loss.
        gates: Conditions that the version must meet before the alias moves (`tuneway.registry`).
        reason: The reason, for the model's history.
    """

    name: str | None
    registry: str | None
    alias: str | None
    checkpoint: Choice
    gates: Sequence[GateLike]
    reason: str | None


def check_registration(
    *,
    name: str | None = None,
    registry: str | None = None,
    alias: str | None = None,
    checkpoint: str = "last",
    gates: Sequence[GateLike] = (),
    reason: str | None = None,
    training: TrainingSpec | None = None,
    validated: bool = True,
) -> None:
    """Check the fields of a registration, and that the training can have the metrics of all gates.

    Args:
        name: The model's name.
        registry: The registry's URI. The registry isn't opened.
        alias: The alias. It needs a name.
        checkpoint: The checkpoint. "best" needs a name and validation data.
        gates: The gates. Each is a function of two records. If one has a `metric`, the training must have it.
        reason: Any text.
        training: The recipe or job specification, if it is known.
        validated: Whether the training has validation data.

    Raises:
        InvalidSpec: A field is wrong; `.field` says which.
        MissingExtra: The registry's package isn't installed.
    """
    del reason
    check_word(checkpoint, Choice, field="checkpoint")
    listed: object = gates
    if isinstance(listed, str) or not isinstance(listed, Sequence):
        raise InvalidSpec(
            f"gates: a {type(gates).__name__} is not a list of gates", field="gates", hint="Give a list: [Gate(…)]."
        )
    if name is None:
        for field, given in (("alias", alias), ("gates", list(gates)), ("checkpoint", checkpoint == "best")):
            if given:
                raise InvalidSpec(
                    f"{field}: there is no name to register the model under", field=field, hint="Give a name as well."
                )
    else:
        check_name(name)
        check_uri(registry)
    if alias is not None:
        check_alias(alias)
    if checkpoint == "best" and not validated:
        raise InvalidSpec(
            "checkpoint: without validation data there is no best checkpoint",
            field="checkpoint",
            hint="Give validation data, or register checkpoint='last'.",
        )
    for gate in gates:
        _check_gate(gate, training, validated=validated)


def _check_gate(gate: object, training: TrainingSpec | None, *, validated: bool) -> None:
    if not callable(gate):
        raise InvalidSpec(
            f"gates: a {type(gate).__name__} is not a gate",
            field="gates",
            hint="Give a Gate, a NoWorseThanChampion, or a function of two records.",
        )
    given = getattr(gate, "metric", None)
    if not isinstance(given, str) or training is None:
        return
    metric, possible = metric_name(given), possible_metrics(training.kind, validated=validated)
    if metric in possible:
        return
    if metric in possible_metrics(training.kind, validated=True):
        why, hint = "there is no validation data", "Give validation data, or a gate on a metric of the training data."
    else:
        near = difflib.get_close_matches(metric, possible, n=1)
        why = f"{training.kind} training has no such metric"
        hint = f"Did you mean {near[0]!r}? " if near else ""
        hint += f"It has: {', '.join(possible)}. For a metric that only your service has, give a function."
    raise InvalidSpec(f"gates: {given} can't be measured: {why}", field="gates", hint=hint)
