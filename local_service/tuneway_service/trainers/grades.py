"""Grades the answers of a reinforcement step: a grader that fails is asked again, and then its answer is left out."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tenacity import Retrying, retry_if_result, stop_after_attempt, wait_exponential

from tuneway.errors import InvalidSpec
from tuneway_service.graders import Tokens
from tuneway_service.trainers.base import Remark

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tuneway_service.graders import Grading
    from tuneway_service.trainers.base import Grade

AT_ONCE = 8
"""How many answers are graded at the same time; a grader may be a model on another machine."""
ATTEMPTS = 3
"""How often a grader is asked about one answer, if a retry may help."""
LONGEST_CAUSE = 300


class Grades:
    """Grades answers.

    Args:
        grade: Grades one answer.
        most: The share of the answers of a step for which graders may fail.
        sleep: Waits between two attempts.
    """

    def __init__(self, grade: Grade, most: float, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._grade = grade
        self._most = most
        self._sleep = sleep

    def of(self, items: Sequence[Mapping[str, Any]], answers: Sequence[str]) -> list[Grading]:
        """The grading of each answer; raises `InvalidSpec` if graders fail for too many of them."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            gradings = list(pool.map(self._one, items, answers))
        failures = [grading for grading in gradings if grading.failure]
        share = len(failures) / len(gradings)
        if failures and (share > self._most or share == 1):
            raise InvalidSpec(
                f"{_failed(failures)} for {len(failures)} of the {len(gradings)} answers of a step"
                f" (max_grader_failures is {self._most:g}): {_cause(failures)}",
                field="grader",
                hint="Try it with POST /fine_tuning/alpha/graders/run.",
            )
        return gradings

    def _one(self, item: Mapping[str, Any], answer: str) -> Grading:
        retrying = Retrying(
            retry=retry_if_result(lambda grading: grading.may_pass),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(),
            sleep=self._sleep,
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )
        tried: list[Grading] = []

        def once() -> Grading:
            tried.append(self._grade(item, answer))
            return tried[-1]

        retrying(once)
        return _with_usage_of_all(tried)


def _with_usage_of_all(tried: Sequence[Grading]) -> Grading:
    """The last grading of an answer, with the tokens that models used in all of them."""
    *before, last = tried
    for grading in before:
        used = {part.name: part.tokens for part in grading.parts}
        last.parts = [replace(part, tokens=part.tokens.plus(used.get(part.name, Tokens()))) for part in last.parts]
    return last


def remark(gradings: Sequence[Grading], where: str) -> Remark | None:
    """The remark about the answers that are left out, because a grader failed; None if there are none."""
    failures = [grading for grading in gradings if grading.failure]
    if not failures:
        return None
    count = "1 answer is" if len(failures) == 1 else f"{len(failures)} answers are"
    text = f"Of {where}, {count} left out of {len(gradings)}, because {_failed(failures)}: {_cause(failures)}"
    return Remark(text, mark=f"graders:{where}")


def _failed(failures: Sequence[Grading]) -> str:
    """Which graders failed, and how often."""
    counts = Counter(part.name for grading in failures for part in grading.parts if part.failed)
    if not counts:
        return f"the grader failed {_times(len(failures))}"
    return " and ".join(f"the grader {name!r} failed {_times(count)}" for name, count in counts.most_common())


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _cause(failures: Sequence[Grading]) -> str:
    return str(failures[0].failure)[:LONGEST_CAUSE]
