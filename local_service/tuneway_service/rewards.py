"""The reward of a reinforcement job: the worker runs the job's grader.

A model grader is asked over HTTP, at this service or at the one that `--grader-url` names. The API key comes from the
worker's environment, `TUNEWAY_GRADER_KEY`; no file holds it.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from tuneway.calls.models import ChatAnswer
from tuneway.client import Client
from tuneway.models import Grader, PythonGrader
from tuneway_service.graders import Grading, Limits, ModelSample, Tokens, grade, parts
from tuneway_service.response_format import AnswerForm
from tuneway_service.sandbox import kernel, secrets
from tuneway_service.settings import GRADER_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tuneway_service.trainers.base import Grade

NO_KEY = "none"


def grader_of(job: Mapping[str, Any]) -> Grade:
    """The function that grades a job's answers."""
    grader = TypeAdapter[Any](Grader).validate_python(job["grader"])
    if any(isinstance(inner, PythonGrader) for inner in parts(grader)):
        # the code runs as this process's user, and must not find the key of the models that grade
        secrets.hide()
        kernel.hide_memory()
    limits = Limits(python=job["python_graders"], ask=_asking(job["grader_url"]))

    # a job of an earlier version has no response format
    form = AnswerForm.of(job.get("response_format"))

    def judge(item: Mapping[str, Any], answer: str) -> Grading:
        wrong = form.wrong(answer) if form else None
        if wrong is not None:
            # the error of a model and not of the grader: 0 is what such an answer is worth
            return Grading(errors={"sample_parse_error": wrong})
        return grade(grader, ModelSample(answer), item, limits)

    return judge


def _asking(url: str) -> Callable[[str, list[dict[str, Any]], dict[str, Any]], tuple[str, int]]:
    @cache
    def client() -> Client:
        # created only when a grader asks a model: most don't
        return Client(base_url=url, api_key=os.environ.get(GRADER_KEY) or NO_KEY)

    def ask(model: str, messages: list[dict[str, Any]], sampling: dict[str, Any]) -> tuple[str, int]:
        answer = client().ask(model, messages, **sampling)
        return answer, _tokens(answer)

    return ask


def _tokens(answer: str) -> Tokens:
    if not isinstance(answer, ChatAnswer):
        return Tokens()
    return Tokens(answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens)
