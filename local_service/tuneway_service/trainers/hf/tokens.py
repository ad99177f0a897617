"""Makes tokens and labels of rows. Only answers whose weight isn't 0 are learned.

The tokens of an answer are those that the model has to generate after the prompt that asks for it, up to the token that
ends its turn. Prompt and answer are tokenised together, because the tokens of a text depend on what stands before it.
Where a chat template marks what the assistant writes (`{% generation %}`), only that is learned, and the turn's end.

A conversation with several answers is one example, if each answer has the same tokens there as after its own prompt.
Otherwise (some templates drop the thoughts of earlier turns) answers become examples of their own.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tuneway.errors import InvalidInput
from tuneway_service.trainers.conversation import asked_in, is_learned
from tuneway_service.trainers.hf.messages import conversation
from tuneway_service.trainers.hf.rendering import Rendering
from tuneway_service.trainers.hf.segments import Segments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from transformers import PreTrainedTokenizerBase

    from tuneway_service.trainers.base import Message

VERSION = 2
"""Increases when the same rows make other tokens. A saved training of another version isn't resumed."""

UNLEARNED = -100
"""The label of a token that isn't learned, which PyTorch and Transformers ignore."""

ANCHORS = ("\n", "a", ".")
"""Texts to put before another one, so that a tokenizer doesn't take it for the start of a text."""


@dataclass(frozen=True)
class Example:
    """Tokens and their labels: the token itself if it is learned, else `UNLEARNED`.

    `lost` is the number of tokens to learn that are beyond the limit, and cut off.
    """

    ids: array[int]
    labels: array[int]
    lost: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def learned(self) -> int:
        """The number of learned tokens. The first token isn't one, because nothing comes before it."""
        return int(np.count_nonzero(np.array(self.labels, np.intc)[1:] != UNLEARNED))

    @classmethod
    def of(cls, ids: Sequence[int], labels: Sequence[int], limit: int) -> Example:
        """From tokens and labels; those beyond the limit are cut off."""
        beyond = labels[limit:]
        return cls(array("i", ids[:limit]), array("i", labels[:limit]), len(beyond) - beyond.count(UNLEARNED))


@dataclass(frozen=True)
class Answer:
    """An answer after the prompt that asks for it.

    Args:
        prompt: The tokens of the prompt.
        ids: The tokens after it.
        end: How many of them there are up to the token that ends the turn.
        ended: Whether there is such a token.
    """

    prompt: list[int]
    ids: list[int]
    end: int
    ended: bool

    @property
    def span(self) -> tuple[int, int]:
        """The first of its tokens in the conversation, and the one after its last."""
        return len(self.prompt), len(self.prompt) + self.end

    def is_in(self, ids: array[int]) -> bool:
        """Whether these tokens begin with the prompt and the answer."""
        return ids[: self.span[1]] == array("i", self.prompt + self.ids[: self.end])


class Unlimited:
    """An example in the making: its tokens and labels, and which tokens the template marks as the assistant's."""

    def __init__(self, ids: Sequence[int], marked: tuple[list[int], list[int]]) -> None:
        self.ids = array("i", ids)
        self.labels = array("i", [UNLEARNED]) * len(ids)
        same, mask = marked
        # an end that the template doesn't write isn't in its tokens
        fits = same and self.ids[: len(same)].tolist() == same
        self._marked = [*mask, *[1] * (len(ids) - len(mask))] if fits else []

    def learn(self, start: int, end: int, *, ended: bool) -> None:
        """Learn an answer that is here; if some of it is marked, only that and the token that ends the turn."""
        marked = self._marked[start:end]
        if not any(marked):
            self.labels[start:end] = self.ids[start:end]
            return
        if ended:
            marked[-1] = 1
        pairs = zip(self.ids[start:end], marked, strict=True)
        self.labels[start:end] = array("i", [token if learned else UNLEARNED for token, learned in pairs])

    def cut(self, limit: int) -> Example:
        """The example, up to the limit."""
        return Example.of(self.ids, self.labels, limit)


class Encoder:
    """Makes examples of rows, for one model.

    Args:
        tokenizer: The model's tokenizer.
        stops: The tokens that end an answer.
        context_length: The longest example, in tokens.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: Iterable[int], context_length: int) -> None:
        self.tokenizer = tokenizer
        self.stops = frozenset(stops)
        self.context_length = context_length
        self.rendering = Rendering(tokenizer)
        self.segments = Segments(tokenizer)

    # what to learn from

    def supervised(self, row: Message) -> list[Example]:
        """The examples of a chat or completion row. What is beyond the limit is cut off, even if nothing is left."""
        if "prompt" in row and "completion" in row:
            return [self._completion(str(row["prompt"]), str(row["completion"]))]
        messages, tools = conversation(row)
        talks = [messages[:number] for number, message in enumerate(messages, 1) if is_learned(message)]
        return self.examples(talks, tools)

    def preference(self, row: Message) -> tuple[Example, Example]:
        """The preferred answer and the other one, as examples."""
        messages, tools = conversation(asked_in(row))
        answers = [conversation(row, name)[0][-1] for name in ("preferred_output", "non_preferred_output")]
        preferred, other = (self.examples([[*messages, answer]], tools)[0] for answer in answers)
        return preferred, other

    def prompt(self, messages: Sequence[Message], tools: Iterable[Message] = ()) -> list[int]:
        """The tokens of the prompt for an answer to these messages."""
        return self.segments.whole(self.rendering.prompt(messages, tools))

    def text(self, text: str) -> list[int]:
        """The tokens of a text to be continued: with the tokens that the model wants before it, and none after it."""
        found: Any = self.tokenizer(text, return_special_tokens_mask=True, verbose=False)
        ids, added = list(found["input_ids"]), list(found["special_tokens_mask"])
        while ids and added[-1] and ids[-1] in self.stops:
            ids.pop()
            added.pop()
        return ids

    def continued(self, prompt: Sequence[int], answer: Sequence[int]) -> Example:
        """A prompt and its answer, as an example."""
        return Example.of([*prompt, *answer], [UNLEARNED] * len(prompt) + list(answer), self.context_length)

    # how

    def examples(self, talks: Sequence[Sequence[Message]], tools: Sequence[Message]) -> list[Example]:
        """Conversations that each end with an answer to learn, and begin with the one before, as few examples."""
        made: list[Unlimited] = []
        for talk in reversed(talks):
            answer, place = self._place(talk, tools, made)
            place.learn(*answer.span, ended=answer.ended)
        return [one.cut(self.context_length) for one in reversed(made)]

    def _place(
        self, talk: Sequence[Message], tools: Sequence[Message], made: list[Unlimited]
    ) -> tuple[Answer, Unlimited]:
        """The answer at the end of a conversation, and the example that has the same tokens, or a new one."""
        # the faster way first: where an example has these tokens, it was right
        for ids_of in (self.segments.ids, self.segments.whole) if made else ():
            answer = self._answer(talk, tools, ids_of)
            place = next((one for one in made if answer.is_in(one.ids)), None)
            if place is not None:
                return answer, place
        answer = self._answer(talk, tools, self.segments.whole)
        place = Unlimited(answer.prompt + answer.ids, self.rendering.marked(talk, tools))
        made.append(place)
        return answer, place

    def _answer(self, talk: Sequence[Message], tools: Sequence[Message], ids_of: Callable[[str], list[int]]) -> Answer:
        """The last of these messages, after the prompt that asks for it."""
        before, rest = self.rendering.answered(talk, tools)
        prompt = ids_of(before)
        return self._closed(prompt, self._after(prompt, ids_of(before + rest), rest))

    def _completion(self, prompt: str, completion: str) -> Example:
        ids = self.text(prompt)
        answer = self._closed(ids, self._after(ids, self.text(prompt + completion), completion))
        made = Unlimited(answer.prompt + answer.ids, ([], []))
        made.learn(*answer.span, ended=answer.ended)
        return made.cut(self.context_length)

    def _closed(self, prompt: list[int], ids: list[int]) -> Answer:
        """An answer up to the token that ends its turn; if it has none, the end of the text is one."""
        stop = next((place for place, token in enumerate(ids, 1) if token in self.stops), None)
        eos = self.tokenizer.eos_token_id
        if stop is None and eos is not None:
            return Answer(prompt, [*ids, eos], len(ids) + 1, ended=True)
        return Answer(prompt, ids, stop or len(ids), ended=stop is not None)

    def _after(self, prompt: list[int], whole: list[int], rest: str) -> list[int]:
        """The tokens that the model generates after a prompt to make the whole text, which ends with `rest`.

        A tokenizer may join the end of the prompt and the start of the rest in one token. No model that has the prompt
        already can generate it: then the rest has tokens of its own.
        """
        if whole[: len(prompt)] == prompt:
            return whole[len(prompt) :]
        wanted = self.tokenizer.decode(whole)
        for anchor in ANCHORS:
            first, ids = self.segments.whole(anchor), self.segments.whole(anchor + rest)
            found = ids[len(first) :]
            if ids[: len(first)] == first and self.tokenizer.decode(prompt + found) == wanted:
                return found
        raise InvalidInput(
            "the model's tokenizer has no tokens for this answer after its prompt",
            hint="Begin the answer with another character.",
        )
