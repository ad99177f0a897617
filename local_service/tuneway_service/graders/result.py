"""The result of grading: a score, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Self

FLAGS: Final = (
    "formula_parse_error",
    "invalid_variable_error",
    "model_grader_parse_error",
    "model_grader_refusal_error",
    "model_grader_server_error",
    "other_error",
    "python_grader_runtime_error",
    "python_grader_server_error",
    "sample_parse_error",
    "truncated_observation_error",
    "unresponsive_reward_error",
)
"""The errors that the API knows."""

OF_THE_ANSWER: Final = frozenset({"sample_parse_error"})
"""Errors of the graded answer, such as text where the grader reads JSON: 0 is the score that such an answer gets."""

PASSING: Final = frozenset({"model_grader_server_error", "python_grader_server_error"})
"""Failures that a retry may cure."""


class GradingError(Exception):
    """Grading failed; `flag` is the error that the API has for it."""

    flag = "other_error"


class Tokens(int):
    """The number of tokens that a question to a model took, of its prompt and its answer.

    Args:
        prompt: The tokens of the prompt.
        completion: The tokens of the answer.
        cached: Those of the prompt that the service had in a cache.
    """

    prompt: int
    completion: int
    cached: int

    def __new__(cls, prompt: int = 0, completion: int = 0, cached: int = 0) -> Self:
        """Count them."""
        made = super().__new__(cls, prompt + completion)
        made.prompt, made.completion, made.cached = prompt, completion, cached
        return made

    def plus(self, other: Tokens) -> Tokens:
        """These and others."""
        return Tokens(self.prompt + other.prompt, self.completion + other.completion, self.cached + other.cached)


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one grader that scores has done: the only one, or an inner one of a multi grader.

    Args:
        name: Its name.
        type: Its type, as the API has it.
        model: The model that it asks.
        reward: Its score.
        errors: Its errors.
        seconds: How long it took.
        tokens: The tokens of its model.
    """

    name: str
    type: str
    model: str | None = None
    reward: float = 0.0
    errors: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    tokens: Tokens = field(default_factory=Tokens)

    @property
    def failed(self) -> bool:
        """Whether it gave no score."""
        return bool(_failures(self.errors))


@dataclass
class Grading:
    """The result of grading: the reward, the score of each inner grader, the errors, the tokens by model.

    A grader that failed gave no score: then `failure` says why, and `reward` means nothing. `parts` says more about
    each grader.
    """

    reward: float = 0.0
    scores: dict[str, float] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)

    def fail(self, flag: str, text: str) -> float:
        """Record an error; returns 0, the number that the API has in place of a score."""
        # code and models may produce halves of surrogate pairs, which no reply can hold
        self.errors.setdefault(flag, text.encode("utf-8", "replace").decode())
        return 0.0

    def add(self, name: str, inner: Grading) -> None:
        """Add the grading of the inner grader of this name."""
        self.scores[name] = inner.reward
        self.parts += inner.parts
        for flag, text in inner.errors.items():
            self.fail(flag, text)
        for model, count in inner.tokens.items():
            self.tokens[model] = self.tokens.get(model, 0) + count

    @property
    def failure(self) -> str | None:
        """Why the grader gave no score; None if `reward` is a score, which may be 0."""
        found = _failures(self.errors)
        return f"{found[0]}: {self.errors[found[0]]}" if found else None

    @property
    def may_pass(self) -> bool:
        """Whether there is a failure that a retry may cure: of a model that couldn't be asked, for example."""
        found = _failures(self.errors)
        return bool(found) and PASSING.issuperset(found)

    def flags(self) -> dict[str, Any]:
        """The errors, as the API has them."""
        flags: dict[str, Any] = {flag: flag in self.errors for flag in FLAGS}
        flags["model_grader_server_error_details"] = self.errors.get("model_grader_server_error")
        flags["python_grader_runtime_error_details"] = self.errors.get("python_grader_runtime_error")
        flags["python_grader_server_error_type"] = self.errors.get("python_grader_server_error")
        return flags


def _failures(errors: dict[str, str]) -> list[str]:
    return [flag for flag in errors if flag not in OF_THE_ANSWER]
