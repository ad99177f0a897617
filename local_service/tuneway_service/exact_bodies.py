"""A job's method, a grader and integrations, as requests have them.

The client's models take more: other forms, values of another type, and the fields of other services. Here that is
refused by name.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeAlias

from pydantic import BaseModel, ConfigDict

from tuneway.errors import InvalidSpec
from tuneway.models import (
    DPO,
    DPOHyperparameters,
    Hyperparameters,
    LabelModelGrader,
    MultiGrader,
    PythonGrader,
    Reinforcement,
    ReinforcementHyperparameters,
    ScoreModelGrader,
    StringCheckGrader,
    Supervised,
    TextSimilarityGrader,
)

Place: TypeAlias = tuple[str, ...]


class ExactHyperparameters(Hyperparameters):
    """Hyperparameters whose values aren't converted: "3" and true aren't numbers."""

    model_config: ClassVar[ConfigDict] = ConfigDict(strict=True)


class ExactDPOHyperparameters(DPOHyperparameters):
    """Those of preference training."""

    model_config: ClassVar[ConfigDict] = ConfigDict(strict=True)


class ExactReinforcementHyperparameters(ReinforcementHyperparameters):
    """Those of reinforcement training."""

    model_config: ClassVar[ConfigDict] = ConfigDict(strict=True)


_METHODS: dict[str, tuple[type[BaseModel], type[Hyperparameters]]] = {
    "supervised": (Supervised, ExactHyperparameters),
    "dpo": (DPO, ExactDPOHyperparameters),
    "reinforcement": (Reinforcement, ExactReinforcementHyperparameters),
}


def exact_method(value: Any) -> Any:
    """Refuse hyperparameters outside of their place, and values of another type; the rest is checked by `Method`."""
    if not isinstance(value, dict) or value.get("type") not in tuple(_METHODS):
        return value
    kind = value["type"]
    method, parameters = _METHODS[kind]
    _refuse_others(value, {"type", *_METHODS}, ())
    for other in _METHODS:
        if other != kind and value.get(other) is not None:
            raise _wrong({(other,): "no such field"})
    block = value.get(kind)
    if isinstance(block, dict):
        _refuse_others(block, method.model_fields.keys() - {"type"}, (kind,))
        asked = block.get("hyperparameters")
        if asked is not None:
            _check(asked, parameters, (kind, "hyperparameters"))
        if kind == "reinforcement":
            _check_grader(block.get("grader"), (kind, "grader"))
    return value


_GRADERS: tuple[type[BaseModel], ...] = (
    StringCheckGrader, TextSimilarityGrader, PythonGrader, ScoreModelGrader, LabelModelGrader, MultiGrader,
)  # fmt: skip
# evaluations have a threshold too, so the guide's examples do
_FIELDS = {one.model_fields["type"].default: {*one.model_fields, "pass_threshold"} for one in _GRADERS}
_MESSAGE = {"role", "content", "type"}
_PART = {"type", "text", "prompt_cache_breakpoint", "image_url", "detail", "input_audio"}
_NUMBERS = {"seed", "top_p", "temperature", "max_tokens", "max_completion_tokens", "max_completions_tokens"}


def exact_grader(value: Any) -> Any:
    """Refuse fields that a grader doesn't have, and values that the checks of `Grader` would convert or not see."""
    _check_grader(value, ())
    return value


def _check_grader(grader: Any, place: Place) -> None:
    if not isinstance(grader, dict) or grader.get("type") not in tuple(_FIELDS):
        return
    _refuse_others(grader, _FIELDS[grader["type"]], place)
    _check_numbers(grader, {"pass_threshold"}, place)
    for number, end in enumerate(_list(grader.get("range"))):
        _check_numbers({str(number): end}, {str(number)}, (*place, "range"))
    if isinstance(sampling := grader.get("sampling_params"), dict):
        _refuse_others(sampling, {*_NUMBERS, "reasoning_effort"}, (*place, "sampling_params"))
        _check_numbers(sampling, _NUMBERS, (*place, "sampling_params"))
    if grader["type"] in ("score_model", "label_model"):
        for number, message in enumerate(_list(grader.get("input"))):
            _check_message(message, (*place, "input", str(number)))
    if isinstance(graders := grader.get("graders"), dict):
        for name, inner in graders.items():
            _check_grader(inner, (*place, "graders", name))


def _check_message(message: Any, place: Place) -> None:
    if not isinstance(message, dict):
        return
    _refuse_others(message, _MESSAGE, place)
    if message.get("type") not in (None, "message"):
        raise _wrong({(*place, "type"): "it must be 'message'"})
    content = message.get("content")
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, dict):
            _refuse_others(part, _PART, (*place, "content"))
            if not isinstance(part.get("prompt_cache_breakpoint"), dict | None):
                raise _wrong({(*place, "content", "prompt_cache_breakpoint"): "it must be an object"})


_WANDB = {"project", "name", "entity", "tags"}


def exact_integrations(value: Any) -> Any:
    """Refuse fields of Weights & Biases that the API doesn't have."""
    for number, integration in enumerate(_list(value)):
        if isinstance(integration, dict) and isinstance(integration.get("wandb"), dict):
            _refuse_others(integration["wandb"], _WANDB, (str(number), "wandb"))
    return value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _check_numbers(given: dict[str, Any], names: set[str], place: Place) -> None:
    for name in names & given.keys():
        if isinstance(given[name], bool) or not isinstance(given[name], int | float | None):
            raise _wrong({(*place, name): "it must be a number"})


def _refuse_others(given: dict[str, Any], known: set[str], place: Place) -> None:
    for name in given:
        if name not in known:
            raise _wrong({(*place, name): "no such field"})


def _check(asked: Any, parameters: type[Hyperparameters], place: Place) -> None:
    if not isinstance(asked, dict):
        raise _wrong({place: "it must be an object"})
    try:
        parameters.model_validate(asked)
    except InvalidSpec as error:
        inner: dict[Place, str] = error.__dict__["problems"]
        raise _wrong({place + rest: text for rest, text in inner.items()}) from None


def _wrong(problems: dict[Place, str]) -> InvalidSpec:
    place, text = next(iter(problems.items()))
    return InvalidSpec(f"{'.'.join(place)}: {text}", field=".".join(place), problems=problems)
