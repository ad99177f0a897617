"""What each method learns from a row, as examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuneway.errors import InvalidInput
from tuneway_service.trainers.hf.messages import conversation
from tuneway_service.trainers.hf.tokens import UNLEARNED, Example

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuneway_service.trainers.base import Message
    from tuneway_service.trainers.hf.batches import Batches, Made
    from tuneway_service.trainers.hf.tokens import Encoder


@dataclass(frozen=True)
class RowReading:
    """How rows are read.

    Args:
        method: "supervised", "dpo", or "reinforcement", which makes an example without labels of each question.
        answer: For reinforcement, the most tokens of an answer, which have to fit after a question.
    """

    method: str
    answer: int = 0

    def read(self, batches: Batches, rows: Sequence[Message]) -> list[Made]:
        """The examples of each row, or the error that it has."""
        if self.method == "supervised":
            return batches.supervised(rows)
        if self.method == "dpo":
            return batches.preference(rows)
        return [self._question(batches.encoder, row) for row in rows]

    def kept(self, examples: list[Example]) -> list[Example]:
        """The examples of a row with something to learn; of a pair both or none."""
        if self.method == "supervised":
            return [example for example in examples if example.learned]
        if self.method == "dpo":
            return examples if all(example.learned for example in examples) else []
        return examples

    def _question(self, encoder: Encoder, row: Message) -> Made:
        try:
            messages, tools = conversation(row)
            prompt = encoder.prompt(messages, tools)
        except InvalidInput as error:
            return error
        room = encoder.context_length - self.answer
        if len(prompt) > room:
            return InvalidInput(
                f"the question has {len(prompt)} tokens; with an answer of {self.answer}, {max(0, room)} fit",
                hint="Shorten it, or lower reasoning_effort.",
            )
        return [Example.of(prompt, [UNLEARNED] * len(prompt), len(prompt))]
