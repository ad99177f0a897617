"""Grade an answer with a grader."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
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
from tuneway_service.graders import messages, python_code
from tuneway_service.graders.formula import work_out
from tuneway_service.graders.result import Grading, GradingError, Part, Tokens
from tuneway_service.graders.templates import Filler, ModelSample
from tuneway_service.graders.texts import CHECKS, similarity

Inner = AnyGrader | LabelModelGrader
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
LONGEST_ANSWER = 2**16
"""The characters of a grading model's answer that are looked at."""

ANSWER_TOKENS = 256
EFFORTS = {"none": 64, "minimal": 64, "low": 128, "medium": 512, "high": 1024, "xhigh": 2048}
"""The longest answer for each `reasoning_effort` of a grader; its models write what they think into their answers."""


@dataclass(frozen=True)
class Limits:
    """What graders may do here.

    Args:
        python: Whether Python code may run.
        ask: Asks a model with messages and sampling options; returns its answer and the tokens used. None if there is
            no model.
        seconds: How long one grading may compare texts and run Python code; the time of models doesn't count.
        stopped: Whether nobody waits for the result any more; asked now and then while work goes on.
    """

    python: bool = False
    ask: Callable[[str, list[dict[str, Any]], dict[str, Any]], tuple[str, int]] | None = None
    seconds: float = 60.0
    stopped: Callable[[], bool] = lambda: False


class TooSlow(GradingError):
    """A grading takes longer than the limit."""


class GradingStopped(GradingError):
    """Nobody waits for the result of a grading any more."""


@dataclass
class _Task:
    """One grading in progress."""

    sample: ModelSample
    item: Any
    limits: Limits
    grading: Grading = field(default_factory=Grading)
    spent: float = 0.0

    def check(self) -> None:
        """Raise an error if the grading was stopped."""
        if self.limits.stopped():
            raise GradingStopped("it was stopped")

    def timed(self, work: Callable[[float, Callable[[], None]], float]) -> float:
        """Do some work whose time counts: it is given the seconds that are left, and what raises when they are over."""
        left, began = self.limits.seconds - self.spent, time.monotonic()

        def tick() -> None:
            self.check()
            if time.monotonic() - began > left:
                raise TooSlow(f"it took longer than {self.limits.seconds:g} s")

        try:
            tick()
            return work(left, tick)
        finally:
            self.spent += time.monotonic() - began


def grade(grader: Inner, sample: ModelSample, item: Any, limits: Limits) -> Grading:
    """Grade one answer. Errors are in the result, and not raised. Blocks: never call it on an event loop."""
    return _graded(grader, grader.name, _Task(sample, item, limits))


def _graded(grader: Inner, name: str, task: _Task) -> Grading:
    outer, grading = task.grading, Grading()
    task.grading, began = grading, time.perf_counter()
    try:
        grading.reward = _measure(grader, task)
    except GradingError as error:
        grading.reward = grading.fail(error.flag, str(error))
    except RecursionError:
        grading.reward = grading.fail("other_error", "the data is nested too deeply")
    finally:
        task.grading = outer
    if not math.isfinite(grading.reward):
        grading.reward = grading.fail("other_error", "the reward is not a finite number")
    if not isinstance(grader, MultiGrader):
        grading.parts = [_part(grader, name, grading, time.perf_counter() - began)]
    return grading


def _part(grader: Inner, name: str, grading: Grading, seconds: float) -> Part:
    model = getattr(grader, "model", None)
    used = grading.tokens.get(model, 0) if model else 0
    return Part(
        name=name,
        type=grader.type,
        model=model,
        reward=grading.reward,
        errors=grading.errors,
        seconds=seconds,
        tokens=used if isinstance(used, Tokens) else Tokens(used),
    )


def _measure(grader: Inner, task: _Task) -> float:
    task.check()
    filler = Filler(task.sample, task.item)
    match grader:
        case StringCheckGrader(operation=operation):
            return float(CHECKS[operation](filler.fill(grader.input), filler.fill(grader.reference)))
        case TextSimilarityGrader(evaluation_metric=metric):
            text, reference = filler.fill(grader.input), filler.fill(grader.reference)
            return task.timed(lambda _, tick: similarity(metric, text, reference, tick=tick))
        case PythonGrader(source=source):
            fields = task.sample.fields()
            return task.timed(lambda left, tick: python_code.run(source, fields, task.item, seconds=left, tick=tick))
        case MultiGrader():
            for name, inner in grader.graders.items():
                task.grading.add(name, _graded(inner, name, task))
            if task.grading.failure:
                # a grader without a score has no number for the formula, whose own error would hide why
                return 0.0
            return work_out(grader.calculate_output, task.grading.scores)
        case _:
            return _by_model(grader, task, filler)


def _by_model(grader: ScoreModelGrader | LabelModelGrader, task: _Task, filler: Filler) -> float:
    grading, ask = task.grading, task.limits.ask
    assert ask is not None
    asked = messages.messages(grader.input, filler.fill)
    try:
        text, tokens = ask(grader.model, asked, sampling_of(grader))
    except Exception as error:  # noqa: BLE001 - whatever the model does, the answer needs a grading
        return grading.fail("model_grader_server_error", str(error))
    grading.tokens[grader.model] = tokens
    text = text[:LONGEST_ANSWER].strip()
    if isinstance(grader, LabelModelGrader):
        if text not in grader.labels:
            return grading.fail("model_grader_parse_error", f"the model gave none of the labels: {text[:100]!r}")
        return float(text in grader.passing_labels)
    number = NUMBER.search(text)
    if number is None:
        return grading.fail("model_grader_parse_error", f"the model gave no number: {text[:100]!r}")
    low, high = grader.range or (0.0, 1.0)
    return min(max(float(number[0]), low), high)


def sampling_of(grader: ScoreModelGrader | LabelModelGrader) -> dict[str, Any]:
    """How a model is asked for its score: `max_tokens`, `temperature`, and what else the grader says."""
    given = {
        name: value for name, value in (getattr(grader, "sampling_params", None) or {}).items() if value is not None
    }
    longest = EFFORTS.get(given.pop("reasoning_effort", None), ANSWER_TOKENS)
    for name in ("max_tokens", "max_completion_tokens", "max_completions_tokens"):
        longest = given.pop(name, longest)
    return {"temperature": 0.0, **given, "max_tokens": longest}


def parts(grader: Inner) -> list[Inner]:
    """The graders that score: the inner ones of a multi grader, or the grader itself."""
    return list(grader.graders.values()) if isinstance(grader, MultiGrader) else [grader]
