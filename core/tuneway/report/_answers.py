"""The section with the answers of both models to the same questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tuneway._words import shortened
from tuneway.report._inputs import SampleAnswer
from tuneway.report._markup import Markup, h, join
from tuneway.report._parts import MOST, more, tag
from tuneway.report._scale import brief

if TYPE_CHECKING:
    from tuneway.registry import Evaluation


def answers(evaluation: Evaluation | None, samples: Sequence[SampleAnswer]) -> Markup | None:
    """The result of an evaluation, and questions with both answers side by side."""
    asked = [*_samples(evaluation), *samples]
    if not asked and evaluation is None:
        return None
    outcome = h("p", evaluation.verdict().why, class_="outcome") if evaluation else None
    return join(outcome, *(_card(sample) for sample in asked[:MOST]), more(len(asked)))


def _samples(evaluation: Evaluation | None) -> list[SampleAnswer]:
    return [
        SampleAnswer(
            prompt=one.question,
            base=one.base,
            tuned=one.tuned,
            expected=one.expected,
            base_score=one.base_score,
            tuned_score=one.tuned_score,
        )
        for one in (evaluation.samples if evaluation else ())
    ]


def _card(sample: SampleAnswer) -> Markup:
    columns = [
        ("Base model", sample.base, _verdict(sample.base, sample.base_score, sample.expected)),
        ("Tuned model", sample.tuned, _verdict(sample.tuned, sample.tuned_score, sample.expected)),
        ("Expected", sample.expected, None),
    ]
    said = [
        h("div", h("h3", name, verdict), h("pre", shortened(text), dir="auto"))
        for name, text, verdict in columns
        if text is not None
    ]
    prompt = h("pre", shortened(sample.prompt), class_="prompt", dir="auto")
    return h("article", prompt, h("div", *said, class_="answers"))


def _verdict(answer: str | None, score: float | None, expected: str | None) -> Markup | None:
    """The grader's score, or else whether the answer is equal to the expected text."""
    if answer is None:
        return None
    if score is not None:
        return tag({0.0: "wrong", 1.0: "right"}.get(score, f"score {brief(score)}"), good=score == 1)
    if expected is None:
        return None
    matches = answer.strip() == expected.strip()
    return tag("matches" if matches else "differs", good=matches)
