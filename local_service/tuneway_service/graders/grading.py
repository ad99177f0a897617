"""Check a grader, and grade an answer with it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tuneway.models import Grader as AnyGrader
from tuneway.models import (
    LabelModelGrader,
    MultiGrader,
    PythonGrader,
    ScoreModelGrader,
    StringCheckGrader,
    TextSimilarityGrader,
)
from tuneway_service.graders import python_code
from tuneway_service.graders.formula import BadFormula, names, work_out
from tuneway_service.graders.result import Grading
from tuneway_service.graders.templates import ModelSample, UnknownPlace, fill, is_place, places
from tuneway_service.graders.texts import CHECKS, SIMILARITIES

Inner = AnyGrader | LabelModelGrader
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Limits:
    """What graders may do here.

    Args:
        python: Whether Python code may run.
        ask: Asks a model with messages; returns its answer and the tokens used. None if there is no model.
    """

    python: bool = False
    ask: Callable[[str, list[dict[str, Any]]], tuple[str, int]] | None = None


def grade(grader: Inner, sample: ModelSample, item: Any, limits: Limits) -> Grading:
    """Grade one answer. Errors are in the result, and not raised."""
    grading = Grading()
    grading.reward = _score(grader, sample, item, limits, grading)
    if not math.isfinite(grading.reward):
        grading.reward = grading.fail("other_error", "the reward is not a finite number")
    return grading


def _score(grader: Inner, sample: ModelSample, item: Any, limits: Limits, grading: Grading) -> float:
    try:
        return _measure(grader, sample, item, limits, grading)
    except UnknownPlace as error:
        flag = "sample_parse_error" if str(error).startswith("sample.output_json") else "invalid_variable_error"
        return grading.fail(flag, f"{{{{{error}}}}} is not in the data")
    except BadFormula as error:
        return grading.fail("formula_parse_error", str(error))
    except python_code.CodeFailed as error:
        return grading.fail("python_grader_runtime_error", str(error))


def _measure(grader: Inner, sample: ModelSample, item: Any, limits: Limits, grading: Grading) -> float:
    match grader:
        case StringCheckGrader():
            return float(
                CHECKS[grader.operation](fill(grader.input, sample, item), fill(grader.reference, sample, item))
            )
        case TextSimilarityGrader():
            texts = fill(grader.input, sample, item), fill(grader.reference, sample, item)
            return SIMILARITIES[grader.evaluation_metric](*texts)
        case PythonGrader():
            return python_code.run(grader.source, sample.fields(), item)
        case MultiGrader():
            for name, inner in grader.graders.items():
                grading.scores[name] = _score(inner, sample, item, limits, grading)
            return work_out(grader.calculate_output, grading.scores)
        case _:
            return _by_model(grader, sample, item, limits, grading)


def _by_model(
    grader: ScoreModelGrader | LabelModelGrader, sample: ModelSample, item: Any, limits: Limits, grading: Grading
) -> float:
    assert limits.ask is not None
    messages = [message | {"content": _filled(message.get("content"), sample, item)} for message in grader.input]
    try:
        text, tokens = limits.ask(grader.model, messages)
    except Exception as error:  # noqa: BLE001 - whatever the model does, the answer needs a grading
        return grading.fail("model_grader_server_error", str(error))
    grading.tokens[grader.model] = grading.tokens.get(grader.model, 0) + tokens
    if isinstance(grader, LabelModelGrader):
        if text.strip() not in grader.labels:
            return grading.fail("model_grader_parse_error", f"the model gave none of the labels: {text[:100]!r}")
        return float(text.strip() in grader.passing_labels)
    number = NUMBER.search(text)
    if number is None:
        return grading.fail("model_grader_parse_error", f"the model gave no number: {text[:100]!r}")
    low, high = grader.range or (0.0, 1.0)
    return min(max(float(number[0]), low), high)


def _filled(content: Any, sample: ModelSample, item: Any) -> Any:
    if isinstance(content, str):
        return fill(content, sample, item)
    if isinstance(content, list):
        return [
            part | {"text": fill(part["text"], sample, item)} if isinstance(part.get("text"), str) else part
            for part in content
        ]
    return content


def parts(grader: Inner) -> list[Inner]:
    """The graders that score: the inner ones of a multi grader, or the grader itself."""
    return list(grader.graders.values()) if isinstance(grader, MultiGrader) else [grader]


def problems(grader: Inner, limits: Limits, where: str = "grader") -> Iterator[tuple[str, str]]:
    """The errors of a grader, found without grading: the field, and the message."""
    for name in (place for text in _texts(grader) for place in places(text) if not is_place(place)):
        yield where, f"{{{{{name}}}}} must start with item or sample"
    match grader:
        case TextSimilarityGrader(evaluation_metric=metric) if metric not in SIMILARITIES:
            yield f"{where}.evaluation_metric", f"{metric!r} needs an embedding model, which this service doesn't have"
        case PythonGrader() if not limits.python:
            text = "this service doesn't run Python code of clients; start it with --allow-python-graders to allow it"
            yield f"{where}.type", text
        case PythonGrader() if wrong := python_code.problem(grader.source):
            yield f"{where}.source", wrong
        case ScoreModelGrader() | LabelModelGrader() if limits.ask is None:
            yield f"{where}.model", "model graders can't be used here"
        case MultiGrader():
            yield from _multi_problems(grader, limits, where)


def _multi_problems(grader: MultiGrader, limits: Limits, where: str) -> Iterator[tuple[str, str]]:
    for name, inner in grader.graders.items():
        yield from problems(inner, limits, f"{where}.graders.{name}")
    try:
        unknown = names(grader.calculate_output) - grader.graders.keys()
    except BadFormula as error:
        yield f"{where}.calculate_output", str(error)
        return
    if unknown:
        yield f"{where}.calculate_output", f"it names {sorted(unknown)}, which are not among the graders"


def _texts(grader: Inner) -> Iterator[str]:
    match grader:
        case StringCheckGrader() | TextSimilarityGrader():
            yield from (grader.input, grader.reference)
        case ScoreModelGrader() | LabelModelGrader():
            yield from (m["content"] for m in grader.input if isinstance(m.get("content"), str))
