"""The API's nested metrics of a reinforcement step: `scores`, `errors`, `usage`, `timing`, and a few more numbers.

`train_…` is of the answers of the step, `valid_…` of those to the validation rows, where the step had them. Answers
here have no hidden reasoning, so there are no reasoning tokens; all tokens of an answer are completion tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tuneway_service.graders import Part

if TYPE_CHECKING:
    from tuneway_service.graders import Grading

ERRORS = ("other_error", "sample_parse_error", "invalid_variable_error")
MODEL_ERRORS = ("model_grader_server_error", "model_grader_refusal_error", "model_grader_parse_error")
MORE_ERRORS = {
    "python": ("python_grader_server_error", "python_grader_runtime_error"),
    "score_model": MODEL_ERRORS,
    "label_model": MODEL_ERRORS,
}
"""The errors that are counted for each type of grader, besides those of all."""


@dataclass(frozen=True)
class Tried:
    """Answers of a step, and their gradings.

    Args:
        gradings: The grading of each answer.
        tokens: The tokens of each answer.
        seconds: How long the model wrote.
    """

    gradings: Sequence[Grading] = ()
    tokens: Sequence[int] = ()
    seconds: float = 0.0

    @property
    def scored(self) -> list[Grading]:
        """Those with a score."""
        return [grading for grading in self.gradings if not grading.failure]

    def ran(self, one: Part) -> list[Part]:
        """What this grader did, for the answers that it graded."""
        return [part for grading in self.gradings for part in grading.parts if part.name == one.name]

    def parts(self, one: Part) -> list[Part]:
        """The same for all answers; what no grader has seen, because its form was wrong, counts for all of them."""
        unseen = [grading for grading in self.gradings if not grading.parts]
        parts = [Part(name=one.name, type=one.type, reward=grading.reward, errors=grading.errors) for grading in unseen]
        return self.ran(one) + parts


@dataclass
class StepTrials:
    """All answers of one step, and the seconds that its parts took."""

    train: Tried = field(default_factory=Tried)
    valid: Tried | None = None
    training: float = 0.0
    eval: float = 0.0

    def groups(self, seconds: float) -> dict[str, Any]:
        """The nested metrics of this step, which took so many seconds."""
        graders = [self._grader(part) for part in self._graders()]
        valid = {} if self.valid is None else _valid(self.valid)
        return {
            "scores": {"graders": [entry["scores"] for entry in graders], **self._both(_reward)},
            "errors": {"graders": [entry["errors"] for entry in graders], **self._both(_errors)},
            "usage": {
                "graders": [entry["usage"] for entry in graders if "model" in entry["usage"]],
                "samples": self._both(_sample_tokens),
            },
            "timing": {
                "step": {
                    "sampling": self.train.seconds,
                    "training": self.training,
                    "eval": self.eval,
                    "full_iteration": seconds,
                },
                "graders": [entry["timing"] for entry in graders],
            },
            "completion_tokens_mean": _mean(self.train.tokens),
            "reasoning_tokens_mean": 0.0,
            "mean_unresponsive_rewards": _share(bool(grading.failure) for grading in self.train.gradings),
            "model_graders_token_usage": self._by_model(),
            **valid,
        }

    def _graders(self) -> list[Part]:
        """One part of each grader, to read its name and type."""
        found: dict[str, Part] = {}
        for grading in (grading for _, tried in self._sides() for grading in tried.gradings):
            for part in grading.parts:
                found.setdefault(part.name, part)
        return list(found.values())

    def _grader(self, one: Part) -> dict[str, dict[str, Any]]:
        who: dict[str, Any] = {"name": one.name, "type": one.type}
        asked = who | ({"model": one.model} if one.model else {})
        tried = [(prefix, tried.parts(one)) for prefix, tried in self._sides()]
        return {
            "scores": who | _merged(_part_reward(prefix, parts) for prefix, parts in tried),
            "errors": who
            | _merged(
                _counted(prefix, [part.errors for part in parts], (*ERRORS, *MORE_ERRORS.get(one.type, ())))
                for prefix, parts in tried
            ),
            "usage": asked | _merged(_part_tokens(prefix, parts) for prefix, parts in tried),
            "timing": who
            | {
                f"{prefix}_execution_latency_mean": _mean([part.seconds for part in tried.ran(one)])
                for prefix, tried in self._sides()
            },
        }

    def _sides(self) -> Iterator[tuple[str, Tried]]:
        yield "train", self.train
        if self.valid is not None:
            yield "valid", self.valid

    def _both(self, measure: Any) -> dict[str, float]:
        return _merged(measure(prefix, tried) for prefix, tried in self._sides())

    def _by_model(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for prefix, tried in (("train", self.train), ("eval", self.valid or Tried())):
            for part in (part for grading in tried.gradings for part in grading.parts if part.model):
                counts = found.setdefault(str(part.model), {})
                for kind in ("prompt", "completion", "cached"):
                    name = f"{prefix}_{kind}_tokens"
                    counts[name] = counts.get(name, 0) + int(getattr(part.tokens, kind))
        return found


def _valid(tried: Tried) -> dict[str, float]:
    return {
        "valid_reasoning_tokens_mean": 0.0,
        "full_valid_mean_parse_error": _share("sample_parse_error" in grading.errors for grading in tried.gradings),
    }


def _reward(prefix: str, tried: Tried) -> dict[str, float]:
    return _known(f"{prefix}_reward_mean", [grading.reward for grading in tried.scored])


def _sample_tokens(prefix: str, tried: Tried) -> dict[str, float]:
    return {
        f"{prefix}_reasoning_tokens_mean": 0.0,
        f"{prefix}_reasoning_tokens_count": 0,
        f"{prefix}_completion_tokens_mean": _mean(tried.tokens),
        f"{prefix}_completion_tokens_count": sum(tried.tokens),
    }


def _part_reward(prefix: str, parts: Sequence[Part]) -> dict[str, float]:
    return _known(f"{prefix}_reward_mean", [part.reward for part in parts if not part.failed])


def _errors(prefix: str, tried: Tried) -> dict[str, float]:
    return _counted(prefix, [grading.errors for grading in tried.gradings], ERRORS)


def _counted(prefix: str, errors: Sequence[Mapping[str, str]], flags: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    # errors without a number of their own are counted as other ones
    raised = [{flag if flag in flags else "other_error" for flag in one} for one in errors]
    for flag in flags:
        count = sum(flag in one for one in raised)
        found |= {f"{prefix}_{flag}_mean": count / len(raised) if raised else 0.0, f"{prefix}_{flag}_count": count}
    return found


def _part_tokens(prefix: str, parts: Sequence[Part]) -> dict[str, float]:
    found: dict[str, float] = {}
    for kind in ("prompt", "completion"):
        counts = [int(getattr(part.tokens, kind)) for part in parts]
        found |= {f"{prefix}_{kind}_tokens_mean": _mean(counts), f"{prefix}_{kind}_tokens_count": sum(counts)}
    return found


def _known(name: str, values: Sequence[float]) -> dict[str, float]:
    return {name: _mean(values)} if values else {}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _share(raised: Any) -> float:
    return _mean([float(one) for one in raised])


def _merged(parts: Any) -> dict[str, Any]:
    return {name: value for part in parts for name, value in part.items()}
