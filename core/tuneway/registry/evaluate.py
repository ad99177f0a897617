"""Ask the base model and the tuned model the same questions, and score their answers.

    evaluation = client.evaluate("held-out.jsonl", base="gpt-4o-mini", tuned="ft:…", score="exact")
    print(evaluation.tuned.score, evaluation.base.score)

The client uses `chat/completions` and asks for the most likely answer, so that a comparison can be repeated. `evaluate`
here asks by a function of yours: `ask(model, messages)` returns the answer as text. Several questions are asked at
once; the results are in the order of the examples all the same. The questions are rows in the formats of
training data: the last assistant message (or the `completion`) is the expected answer, and the messages before it (or
the `prompt`) are the question.
"""

from __future__ import annotations

import json
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from pydantic import Field

from tuneway.choices import Scoring, check_word
from tuneway.errors import InvalidSpec, TunewayError
from tuneway.progress import Answered, Listener, News
from tuneway.registry._questions import EvaluationRows, Message, Question, fingerprint, questions_in
from tuneway.registry.records import Kept, Verdict

Ask: TypeAlias = Callable[[str, Sequence[Message]], str]
Grader: TypeAlias = Callable[[str, str], "float | bool"]

SAMPLES = 20
CONCURRENCY = 8
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


def exact(answer: str, expected: str) -> bool:
    """Whether both texts are equal, without the white space around them."""
    return answer.strip() == expected.strip()


def contains(answer: str, expected: str) -> bool:
    """Whether the answer contains the expected text; upper and lower case don't matter."""
    return expected.strip().casefold() in answer.casefold()


GRADERS: dict[Scoring, Grader] = {"exact": exact, "contains": contains}


class ModelAnswer:
    """One question for one model, and its answer when it is there."""

    def __init__(self, model: str, question: Question) -> None:
        self.model = model
        self.question = question
        self.answer = ""


class EvaluationRun:
    """All calls of an evaluation: those that are left, and the answers so far. Threads and tasks may share one.

    for call in run:
        answer = ...
        news = run.answered(call, answer)  # or: run.failed(call, error)
    evaluation = run.evaluation()

    After an error, or an `end()`, the loops of all who share it stop.
    """

    def __init__(
        self,
        held_out: EvaluationRows,
        *,
        base: str,
        tuned: str,
        score: Scoring | Grader = "exact",
        samples: int = SAMPLES,
        concurrency: int = CONCURRENCY,
        on_event: Listener | None = None,
    ) -> None:
        if concurrency < 1:
            raise InvalidSpec("concurrency must be a whole number from 1 up", field="concurrency")
        self._grader, self._scored_by = _grader(score)
        self._questions = questions_in(held_out)
        self._base, self._tuned, self._samples = base, tuned, samples
        self._calls = [ModelAnswer(model, question) for question in self._questions for model in (base, tuned)]
        self._left = deque(self._calls)
        self._done = self._told = 0
        self._counting, self._telling = threading.Lock(), threading.Lock()
        self._on_event = on_event
        self.at_once: int = min(concurrency, len(self._calls))

    def __iter__(self) -> Iterator[ModelAnswer]:
        while True:
            try:
                yield self._left.popleft()
            except IndexError:
                return

    def end(self) -> None:
        """Leave the rest unasked."""
        self._left.clear()

    def answered(self, call: ModelAnswer, answer: str) -> Answered:
        """Keep an answer; gives the news of it."""
        with self._counting:
            call.answer = answer
            self._done += 1
            return Answered(self._done, len(self._calls))

    def failed(self, call: ModelAnswer, error: BaseException) -> None:
        """Leave the rest unasked, and say in the error which question it is about."""
        self.end()
        _locate(error, f"{call.question.where}, asked of {call.model}")

    def hear(self, news: News) -> object:
        """Pass news on, one at a time; the number of answers never falls."""
        with self._telling:
            if isinstance(news, Answered):
                if news.done < self._told:
                    return None
                self._told = news.done
            return self._on_event(news) if self._on_event else None

    def evaluation(self) -> Evaluation:
        """Score the answers, in the order of the examples."""
        base, tuned = ([call.answer for call in self._calls[first::2]] for first in (0, 1))
        results = list(map(self._sample, self._questions, base, tuned))
        return Evaluation(
            base=Score(model=self._base, score=math.fsum(r.base_score for r in results) / len(results)),
            tuned=Score(model=self._tuned, score=math.fsum(r.tuned_score for r in results) / len(results)),
            questions=len(results),
            better=sum(r.tuned_score > r.base_score for r in results),
            worse=sum(r.tuned_score < r.base_score for r in results),
            scored_by=self._scored_by,
            sha256=fingerprint(self._questions),
            samples=_changed_first(results)[: self._samples],
        )

    def _sample(self, question: Question, base: str, tuned: str) -> Sample:
        base_score, tuned_score = (self._score(answer, question) for answer in (base, tuned))
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

    def _score(self, answer: str, question: Question) -> float:
        try:
            score = float(self._grader(answer, question.expected))
        except Exception as error:
            _locate(error, question.where)
            raise
        if not 0 <= score <= 1:
            raise InvalidSpec(
                f"{question.where}: the grader {self._scored_by} returned {score:g}",
                field="score",
                hint="Return a number from 0 to 1.",
            )
        return score


def evaluate(
    held_out: EvaluationRows,
    *,
    ask: Ask,
    base: str,
    tuned: str,
    score: Scoring | Grader = "exact",
    samples: int = SAMPLES,
    concurrency: int = CONCURRENCY,
    on_event: Listener | None = None,
) -> Evaluation:
    """Ask both models every question by a function of yours, and score the answers.

    `client.evaluate` needs no function, and there is one for asyncio.

    Args:
        held_out: Rows that nothing was trained on, or the path of a JSONL file.
        ask: A function that asks a model, called from several threads. An error that it raises ends the evaluation
            and names the question.
        base: The model before the training.
        tuned: The model after the training. Some services answer only after a model was deployed; there each of the
            two is the name that its deployment has.
        score: "exact", "contains", or a function of the answer and the expected answer that returns 0 to 1.
        samples: The number of questions to keep in the evaluation.
        concurrency: The number of answers that are waited for at once; 1 for an `ask` that threads can't share.
        on_event: Called with the progress, one call at a time.
    """
    from tuneway.drivers import in_threads

    run = EvaluationRun(
        held_out, base=base, tuned=tuned, score=score, samples=samples, concurrency=concurrency, on_event=on_event
    )

    def ask_what_is_left() -> None:
        for call in run:
            try:
                answer = ask(call.model, call.question.messages)
            except BaseException as error:
                run.failed(call, error)
                raise
            run.hear(run.answered(call, answer))

    in_threads([ask_what_is_left] * run.at_once, end=run.end)
    return run.evaluation()


def _locate(error: BaseException, where: str) -> None:
    """Say in an error where it happened."""
    if isinstance(error, TunewayError):
        error.at(where)
    else:
        error.add_note(where)


def _grader(score: str | Grader) -> tuple[Grader, str]:
    if callable(score):
        return score, getattr(score, "__name__", type(score).__name__)
    word: Scoring = check_word(score, Scoring, field="score", hint="A function is possible as well.")
    return GRADERS[word], word


def _changed_first(results: Sequence[Sample]) -> list[Sample]:
    """Sort samples with a worse answer first, then those with a better one; else keep their order."""

    def rank(sample: Sample) -> int:
        gain = sample.tuned_score - sample.base_score
        return 0 if gain < 0 else 1 if gain > 0 else 2

    return sorted(results, key=rank)
