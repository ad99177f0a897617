"""Ask the base model and the tuned model the same questions, and score their answers.

    evaluation = evaluate("held-out.jsonl", ask=ask, base="gpt-4o-mini", tuned="ft:…", score="exact")
    print(evaluation.tuned.score, evaluation.base.score)

`ask(model, messages)` returns the model's answer as text. The client has such a function: it uses `chat/completions`
and asks for the most likely answer, so that a comparison can be repeated. The questions are rows in the formats of
training data: the last assistant message (or the `completion`) is the expected answer, and the messages before it (or
the `prompt`) are the question.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import Field

from tuneway._escape import path_shown
from tuneway._folders import expanded
from tuneway.choices import Scoring, check_word
from tuneway.errors import InvalidInput, InvalidSpec
from tuneway.registry.records import Kept, Verdict

Message: TypeAlias = Mapping[str, Any]
Ask: TypeAlias = Callable[[str, Sequence[Message]], str]
Grader: TypeAlias = Callable[[str, str], "float | bool"]

SAMPLES = 20
_SHOWN = 2000


class Score(Kept):
    """The score of one model: the mean over all questions, from 0 to 1."""

    model: str
    score: float


class Sample(Kept):
    """One question with the answers of both models, each cut to a readable length."""

    question: str
    expected: str
    base: str
    tuned: str
    base_score: float
    tuned_score: float


class Evaluation(Kept):
    """The scores of the tuned model and the base model, on the same questions.

    Args:
        base: The score of the base model.
        tuned: The score of the tuned model.
        questions: The number of questions.
        better: The number of questions that the tuned model answered better than the base model.
        worse: The number of questions that the tuned model answered worse.
        scored_by: The name of the grader.
        sha256: The hash of the questions and expected answers; it doesn't depend on the file that had them.
        samples: Some questions to read: first those with a worse answer, then those with a better one, then others.
    """

    base: Score
    tuned: Score
    questions: int
    better: int
    worse: int
    scored_by: str
    sha256: str
    samples: list[Sample] = Field(default_factory=list)

    def verdict(self, gate: str = "evaluation") -> Verdict:
        """Make the verdict of a gate: passed if the tuned model's score is no worse than the base model's."""
        passed = self.tuned.score >= self.base.score
        why = (
            f"{self.scored_by}: {self.tuned.score:.3f} against {self.base.score:.3f} for {self.base.model} "
            f"on {self.questions} questions ({self.better} better, {self.worse} worse)"
        )
        numbers = {"tuned": self.tuned.score, "base": self.base.score, "questions": self.questions}
        return Verdict(
            gate=gate, passed=passed, why=why, numbers=numbers | {"better": self.better, "worse": self.worse}
        )


@dataclass(frozen=True)
class Question:
    """A question, and the expected answer."""

    messages: Sequence[Message]
    expected: str


def exact(answer: str, expected: str) -> bool:
    """Whether both texts are equal, without the white space around them."""
    return answer.strip() == expected.strip()


def contains(answer: str, expected: str) -> bool:
    """Whether the answer contains the expected text; upper and lower case don't matter."""
    return expected.strip().casefold() in answer.casefold()


GRADERS: dict[Scoring, Grader] = {"exact": exact, "contains": contains}


def evaluate(
    examples: str | Path | Iterable[Mapping[str, Any]],
    *,
    ask: Ask,
    base: str,
    tuned: str,
    score: Scoring | Grader = "exact",
    samples: int = SAMPLES,
    parallel: int = 1,
) -> Evaluation:
    """Ask both models every question and score the answers.

    Args:
        examples: Rows, or the path of a JSONL file.
        ask: A function that asks a model. An error that it raises ends the evaluation.
        base: The model before the training.
        tuned: The model after the training. Some services answer only after a model was deployed; there each of the
            two is the name that its deployment has.
        score: "exact", "contains", or a function of the answer and the expected answer that returns 0 to 1.
        samples: The number of questions to keep in the evaluation.
        parallel: The number of questions to ask at once. For more than 1, `ask` must be thread-safe.
    """
    questions = questions_in(examples)
    grader, name = _grader(score)
    calls = [(model, question) for question in questions for model in (base, tuned)]
    answers = _ask_all(ask, calls, parallel)
    results = [
        _sample(question, answers[2 * i], answers[2 * i + 1], grader, name) for i, question in enumerate(questions)
    ]
    return Evaluation(
        base=Score(model=base, score=math.fsum(r.base_score for r in results) / len(results)),
        tuned=Score(model=tuned, score=math.fsum(r.tuned_score for r in results) / len(results)),
        questions=len(results),
        better=sum(r.tuned_score > r.base_score for r in results),
        worse=sum(r.tuned_score < r.base_score for r in results),
        scored_by=name,
        sha256=_fingerprint(questions),
        samples=_changed_first(results)[:samples],
    )


def questions_in(examples: str | Path | Iterable[Mapping[str, Any]]) -> list[Question]:
    """Read the questions and the expected answers, without asking a model.

    Raises:
        InvalidInput: The file can't be read, a row has no question with an answer, or there are no rows.
    """
    questions = [_question(row, where) for where, row in _rows(examples)]
    if not questions:
        raise InvalidSpec("there are no examples to ask about", field="examples", hint="Give at least one example.")
    return questions


def _ask_all(ask: Ask, calls: Sequence[tuple[str, Question]], parallel: int) -> list[str]:
    """Ask all questions, some at a time. After an error, no more are asked."""
    failed = threading.Event()

    def answer(call: tuple[str, Question]) -> str:
        model, question = call
        if failed.is_set():
            return ""
        try:
            return ask(model, question.messages)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(max_workers=max(1, parallel)) as pool:
        return list(pool.map(answer, calls))


def _rows(examples: str | Path | Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, Any]]:
    if not isinstance(examples, str | Path):
        return ((f"example {number}", row) for number, row in enumerate(examples, start=1))
    path = expanded(examples)
    try:
        with path.open(encoding="utf-8") as lines:
            return [_row(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    except InvalidInput:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no path, or not UTF-8"
        raise InvalidInput(f"{path_shown(path)} can't be read: {reason}") from None


def _row(path: Path, number: int, line: str) -> tuple[str, Any]:
    where = f"{path_shown(path)}, line {number}"
    try:
        return where, json.loads(line)
    except ValueError as error:
        raise InvalidInput(f"{where}: not JSON: {error}") from None


def _question(row: Any, where: str) -> Question:
    row = row if isinstance(row, Mapping) else {}
    if isinstance(row.get("prompt"), str) and isinstance(row.get("completion"), str):
        return Question([{"role": "user", "content": row["prompt"]}], row["completion"])
    messages = row.get("messages")
    if isinstance(messages, list) and len(messages) > 1 and all(isinstance(message, Mapping) for message in messages):
        *asked, answer = messages
        if answer.get("role") == "assistant" and isinstance(answer.get("content"), str):
            return Question([_as_asked(message) for message in asked], answer["content"])
    raise InvalidSpec(
        f"{where}: no question with an expected answer",
        field="examples",
        hint="Give 'messages' that end with the assistant's answer as text, or 'prompt' and 'completion'.",
    )


def _as_asked(message: Message) -> Message:
    """A message of a row without the field that only training knows, which services refuse."""
    return {name: value for name, value in message.items() if name != "weight"}


def _grader(score: str | Grader) -> tuple[Grader, str]:
    if callable(score):
        return score, getattr(score, "__name__", type(score).__name__)
    word: Scoring = check_word(score, Scoring, field="score", hint="A function is possible as well.")
    return GRADERS[word], word


def _sample(question: Question, base: str, tuned: str, grader: Grader, name: str) -> Sample:
    base_score, tuned_score = (float(grader(answer, question.expected)) for answer in (base, tuned))
    if not (0 <= base_score <= 1 and 0 <= tuned_score <= 1):
        raise InvalidSpec(
            f"the grader {name} returned {base_score:g} and {tuned_score:g}",
            field="score",
            hint="Return a number from 0 to 1.",
        )
    content = question.messages[-1].get("content")
    asked = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, default=str)
    return Sample(
        question=asked[:_SHOWN],
        expected=question.expected[:_SHOWN],
        base=base[:_SHOWN],
        tuned=tuned[:_SHOWN],
        base_score=base_score,
        tuned_score=tuned_score,
    )


def _changed_first(results: Sequence[Sample]) -> list[Sample]:
    """Sort samples with a worse answer first, then those with a better one; else keep their order."""

    def rank(sample: Sample) -> int:
        gain = sample.tuned_score - sample.base_score
        return 0 if gain < 0 else 1 if gain > 0 else 2

    return sorted(results, key=rank)


def _fingerprint(questions: Sequence[Question]) -> str:
    digest = hashlib.sha256()
    for question in questions:
        row = [list(map(dict, question.messages)), question.expected]
        digest.update(json.dumps(row, sort_keys=True, default=str).encode() + b"\n")
    return digest.hexdigest()
