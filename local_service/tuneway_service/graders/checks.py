"""Check a grader without grading."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from tuneway.models import (
    LabelModelGrader,
    MultiGrader,
    PythonGrader,
    ScoreModelGrader,
    StringCheckGrader,
    TextSimilarityGrader,
)
from tuneway_service.graders import messages, python_code
from tuneway_service.graders.formula import BadFormula, names
from tuneway_service.graders.grading import Inner, Limits
from tuneway_service.graders.templates import is_place, places, shown
from tuneway_service.graders.texts import SIMILARITIES

MOST_UNKNOWN = 5


def problems(grader: Inner, limits: Limits, where: str = "grader") -> Iterator[tuple[str, str]]:
    """The errors of a grader, found without grading: the field, and the message. Blocks for a moment."""
    if isinstance(grader, MultiGrader):
        yield from _multi_problems(grader, limits, where)
        return
    for place, text in _own_problems(grader, limits):
        yield f"{where}.{place}", text


def _own_problems(grader: Inner, limits: Limits) -> Iterator[tuple[str, str]]:
    match grader:
        case StringCheckGrader() | TextSimilarityGrader():
            yield from _template_problems((("input", grader.input), ("reference", grader.reference)))
            metric = getattr(grader, "evaluation_metric", None)
            if metric is not None and metric not in SIMILARITIES:
                yield "evaluation_metric", f"{metric!r} needs an embedding model, which this service doesn't have"
        case PythonGrader() if not limits.python:
            text = "this service doesn't run Python code of clients; start it with --allow-python-graders to allow it"
            yield "type", text
        case PythonGrader():
            if fault := python_code.problem(grader.source):
                yield "source", fault
        case ScoreModelGrader() | LabelModelGrader():
            if limits.ask is None:
                yield "model", "model graders can't be used here"
            low, high = getattr(grader, "range", None) or (0.0, 1.0)
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                yield "range", "it must be two numbers, the lower one first"
            wrong = [(f"input.{place}", text) for place, text in messages.problems(grader.input)]
            yield from wrong or _template_problems(
                (f"input.{place}", text) for place, text in messages.texts(grader.input)
            )


def _template_problems(templates: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for where, template in templates:
        for name in places(template):
            if not is_place(name):
                yield where, f"{{{{{shown(name)}}}}} must start with item or sample"


def _multi_problems(grader: MultiGrader, limits: Limits, where: str) -> Iterator[tuple[str, str]]:
    for name, inner in grader.graders.items():
        yield from problems(inner, limits, f"{where}.graders.{name}")
    try:
        unknown = sorted(names(grader.calculate_output) - grader.graders.keys())
    except BadFormula as error:
        yield f"{where}.calculate_output", str(error)
        return
    if unknown:
        yield f"{where}.calculate_output", f"it names {unknown[:MOST_UNKNOWN]}, which are not among the graders"
