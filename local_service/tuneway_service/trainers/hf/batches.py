"""Makes examples of many rows, each conversation rendered once and tokenised once.

The `Encoder` defines what the examples are: it renders and tokenises the prompt of each answer. Here the places of
all answers are found in one text (`skeletons`), and their tokens among its tokens. A tokenizer treats what stands
between special tokens alone. So the prompt of an answer has the same tokens alone as in the conversation, if the tokens
of its last segment are there; and an answer has the same tokens, up to the special token that ends it. Where any of
this doesn't hold, the encoder makes the examples.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tuneway.errors import InvalidInput
from tuneway_service.trainers.conversation import asked_in, is_learned
from tuneway_service.trainers.hf.messages import conversation
from tuneway_service.trainers.hf.skeletons import AnswerPlace, Skeletons, Talk, rendered
from tuneway_service.trainers.hf.tokens import Example, Unlimited

if TYPE_CHECKING:
    from array import array
    from collections.abc import Sequence

    from tuneway_service.trainers.base import Message
    from tuneway_service.trainers.hf.segments import Segments
    from tuneway_service.trainers.hf.tokens import Encoder

Made: TypeAlias = list[Example] | InvalidInput


@dataclass
class FoundAnswers:
    """The text of a conversation, and where its answers are."""

    text: str
    places: Sequence[AnswerPlace]


class Batches:
    """Makes examples of many rows by one encoder.

    A row that can't be learned has its error in place of its examples.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._tokenizer: Any = encoder.tokenizer
        self._rendering = encoder.rendering
        self._segments = encoder.segments
        self._skeletons = Skeletons(encoder.rendering)
        # whether the tokenizer's faster way was seen to give the same tokens
        self._same = False

    def supervised(self, rows: Sequence[Message]) -> list[Made]:
        """The examples of chat and completion rows; those of `Encoder.supervised`."""
        made: list[Made | None] = [None] * len(rows)
        talks: dict[int, Talk] = {}
        for number, row in enumerate(rows):
            try:
                if "prompt" in row and "completion" in row:
                    made[number] = self.encoder.supervised(row)
                    continue
                messages, tools = conversation(row)
                learned = [is_learned(message) for message in messages]
                if any(learned):
                    size = len(learned) - learned[::-1].index(True)
                    talks[number] = Talk(messages[:size], learned[:size], tools)
                else:
                    made[number] = []
            except InvalidInput as error:
                made[number] = error
        for number, found in zip(talks, self.examples(list(talks.values())), strict=True):
            made[number] = found
        return [found for found in made if found is not None]

    def preference(self, rows: Sequence[Message]) -> list[Made]:
        """The preferred answer of each row and the other one, as examples; those of `Encoder.preference`."""
        made: list[Made | None] = [None] * len(rows)
        pairs: dict[int, list[Talk]] = {}
        for number, row in enumerate(rows):
            try:
                messages, tools = conversation(asked_in(row))
                answers = [conversation(row, name)[0][-1] for name in ("preferred_output", "non_preferred_output")]
            except InvalidInput as error:
                made[number] = error
                continue
            learned = [False] * len(messages) + [True]
            pairs[number] = [Talk([*messages, answer], learned, tools) for answer in answers]
        examples = iter(self.examples([talk for pair in pairs.values() for talk in pair]))
        for number in pairs:
            both = next(examples), next(examples)
            wrong = next((one for one in both if isinstance(one, InvalidInput)), None)
            made[number] = wrong or [one[0] for one in both if not isinstance(one, InvalidInput)]
        return [found for found in made if found is not None]

    def examples(self, talks: Sequence[Talk]) -> list[Made]:
        """The examples of conversations; those of `Encoder.examples`."""
        if not self._tokenizer.is_fast:
            return [self._exactly(talk) for talk in talks]
        found = self._found(talks)
        made: list[Made | None] = [None] * len(talks)
        there = {number: one for number, one in enumerate(found) if one is not None}
        tokens = self._tokens([one.text for one in there.values()])
        for (number, one), ids in zip(there.items(), tokens or (), strict=tokens is not None):
            made[number] = self._made(talks[number], one, ids)
        return [one if one is not None else self._exactly(talk) for one, talk in zip(made, talks, strict=True)]

    def _exactly(self, talk: Talk) -> Made:
        try:
            return self.encoder.examples(talk.parts(), talk.tools)
        except InvalidInput as error:
            return error

    # places

    def _found(self, talks: Sequence[Talk]) -> list[FoundAnswers | None]:
        skeletons = [self._skeletons.of(talk.shape(), self._is_right) for talk in talks]
        known = [number for number, skeleton in enumerate(skeletons) if skeleton is not None]
        texts = self._rendering.many([talks[number].messages for number in known]) if known else []
        found: list[FoundAnswers | None] = [None] * len(talks)
        for number, text in zip(known, texts or (), strict=texts is not None):
            skeleton, contents = skeletons[number], talks[number].contents()
            assert skeleton is not None
            filled, places = skeleton.filled(contents)
            if filled == text and self._skeletons.count_for(contents):
                found[number] = FoundAnswers(text, places)
        return [one or self._by_prompts(talk) for one, talk in zip(found, talks, strict=True)]

    def _by_prompts(self, talk: Talk) -> FoundAnswers | None:
        try:
            placed = rendered(self._rendering, talk)
        except InvalidInput:
            return None
        return FoundAnswers(*placed) if placed else None

    def _is_right(self, talk: Talk) -> bool:
        """Whether made-up texts of this shape give the encoder's own examples."""
        (made,) = self.examples([talk])
        return made == self._exactly(talk)

    # tokens

    def _tokens(self, texts: list[str]) -> list[list[int]] | None:
        """The tokens of each text, by the tokenizer's faster way; None if it has other tokens that way."""
        if not texts:
            return []
        # a call sets the tokenizer up, to cut off nothing
        usual = self._segments.whole("" if self._same else texts[0])
        found = self._tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        tokens = [encoding.ids for encoding in found]
        self._same = self._same or tokens[0] == usual
        return tokens if self._same else None

    def _made(self, talk: Talk, found: FoundAnswers, ids: list[int]) -> list[Example] | None:
        made = Unlimited(ids, self._rendering.marked(talk.messages, talk.tools))
        starts = Starts.of(found.text, made.ids, self._segments)
        if starts is None:
            return None
        for place in found.places:
            span = self._span(found.text, place, made.ids, starts)
            if span is None:
                return None
            made.learn(*span, ended=True)
        return [made.cut(self.encoder.context_length)]

    def _span(self, text: str, place: AnswerPlace, ids: array[int], starts: Starts) -> tuple[int, int] | None:
        """The tokens of an answer; None where they may be others than after its prompt alone."""
        number = bisect_right(starts.ends, place.start) - 1
        first, before = (starts.places[number], starts.tokens[number]) if number >= 0 else (0, 0)
        segment = self._segments.segment(text[first : place.start])
        start = before + len(segment)
        if ids[before:start].tolist() != segment:
            return None
        end = min((_index(ids, stop, start) for stop in self.encoder.stops), default=len(ids))
        if end == len(ids):
            return None
        if place.shared < len(text):
            number = bisect_left(starts.tokens, end)
            if number == len(starts.tokens) or starts.tokens[number] != end or starts.ends[number] > place.shared:
                return None
        return start, end + 1


@dataclass(frozen=True)
class Starts:
    """The special tokens of a text: where each begins and ends in the text, and its number among all tokens."""

    places: list[int]
    ends: list[int]
    tokens: list[int]

    @classmethod
    def of(cls, text: str, ids: array[int], segments: Segments) -> Starts | None:
        """Find them; None if the text has others than the tokens."""
        numbers = np.array(ids, np.intc)
        tokens = np.flatnonzero(segments.is_special[numbers])
        spans, written = [], []
        for match in segments.starts.finditer(text):
            spans.append(match.span())
            written.append(segments.special[match[0]])
        if written != numbers[tokens].tolist():
            return None
        return cls([start for start, _ in spans], [end for _, end in spans], tokens.tolist())


def _index(ids: array[int], token: int, start: int) -> int:
    try:
        return ids.index(token, start)
    except ValueError:
        return len(ids)
