"""Makes tokens and labels of rows. Only answers whose weight isn't 0 are learned.

The model's own chat template renders each conversation, complete and up to each answer, so that an answer's tokens are
exactly those that the model has to generate after the prompt that it will get. Some templates render earlier turns
differently from the last one (they drop a model's thoughts): then each answer becomes an example of its own, with the
prompt that it will get. An answer is learned up to the token that ends its turn.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from tuneway.errors import InvalidInput
from tuneway_service.trainers.conversation import asked_in, is_learned
from tuneway_service.trainers.hf.messages import conversation, for_template

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from transformers import PreTrainedTokenizerBase

    from tuneway_service.trainers.base import Message

UNLEARNED = -100
"""The label of a token that isn't learned, which PyTorch and Transformers ignore."""

PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
"""The template for models that have none."""


@dataclass(frozen=True)
class Example:
    """Tokens and their labels: the token itself if it is learned, else `UNLEARNED`."""

    ids: array[int]
    labels: array[int]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def learned(self) -> int:
        """The number of learned tokens. The first token isn't one, because nothing comes before it."""
        return sum(label != UNLEARNED for label in self.labels[1:])

    @classmethod
    def of(cls, pieces: Iterable[tuple[Sequence[int], bool]], limit: int) -> Example:
        """From pieces of tokens, each learned or not; tokens beyond the limit are cut off."""
        ids, labels = array("i"), array("i")
        for piece, learned in pieces:
            ids.extend(piece)
            labels.extend(piece if learned else [UNLEARNED] * len(piece))
        return cls(ids[:limit], labels[:limit])


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
        if not tokenizer.chat_template:
            tokenizer.chat_template = PLAIN_TEMPLATE
        templates = tokenizer.chat_template
        self._source = templates if isinstance(templates, str) else "".join(templates.values())

    # what to learn from

    def supervised(self, row: Message) -> list[Example]:
        """The examples of a chat or completion row; none if nothing in it is learned."""
        if "prompt" in row and "completion" in row:
            prompt = self.tokenizer(str(row["prompt"]))["input_ids"]
            return self._examples([[(prompt, False), (self._answer(str(row["completion"]), last=True), True)]])
        messages, tools = conversation(row)
        wanted = [number for number, message in enumerate(messages) if is_learned(message)]
        if not wanted:
            return []
        answers = [self._spans(messages, tools, number) for number in wanted]
        whole = self._render(messages, tools)
        if all(whole.startswith(through) for _, through in answers):
            return self._examples([self._in_one(answers)])
        return self._examples(self._pieces(before, through) for before, through in answers)

    def preference(self, row: Message) -> tuple[Example, Example]:
        """The preferred answer and the other one, as examples."""
        messages, tools = conversation(asked_in(row))
        found = []
        for name in ("preferred_output", "non_preferred_output"):
            answer, _ = conversation(row, name)
            pieces = self._pieces(*self._spans([*messages, answer[-1]], tools, len(messages)))
            found.append(Example.of(pieces, self.context_length))
        return found[0], found[1]

    def prompt(self, messages: Sequence[Message], tools: Iterable[Message] = ()) -> list[int]:
        """The tokens of the prompt for an answer to these messages."""
        return self._ids(self._render(messages, tools, answer_next=True))

    def continued(self, prompt: Sequence[int], answer: Sequence[int]) -> Example:
        """A prompt and its answer, as an example."""
        return Example.of([(prompt, False), (answer, True)], self.context_length)

    # how

    def _examples(self, rows: Iterable[Iterable[tuple[Sequence[int], bool]]]) -> list[Example]:
        examples = (Example.of(pieces, self.context_length) for pieces in rows)
        return [example for example in examples if example.learned]

    def _render(self, messages: Sequence[Message], tools: Iterable[Message], *, answer_next: bool = False) -> str:
        worded, given = for_template(messages, tools, self._source)
        try:
            text = self.tokenizer.apply_chat_template(
                worded, tools=given, add_generation_prompt=answer_next, tokenize=False
            )
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            raise InvalidInput(
                f"the model's chat template can't render these messages: {error}",
                hint="Some templates need user and assistant in turn, or no system message.",
            ) from None
        assert isinstance(text, str)
        return text

    def _spans(self, messages: Sequence[Message], tools: Iterable[Message], number: int) -> tuple[str, str]:
        """The text before an answer, and the text to its end."""
        through = self._render(messages[: number + 1], tools)
        if number:
            before = self._render(messages[:number], tools, answer_next=True)
            return _common(before, through), through
        # templates can't render an empty conversation: find the text that starts an answer
        opening = self._render(messages[:1], tools, answer_next=True)[len(through) :]
        start = through.find(opening)
        return through[: start + len(opening)] if start >= 0 else "", through

    def _pieces(self, before: str, through: str) -> Iterator[tuple[Sequence[int], bool]]:
        """A prompt and its answer; what follows the end of the turn isn't learned."""
        yield self._ids(before), False
        answer = self._answer(through[len(before) :], last=True)
        end = self._end(answer)
        yield answer[:end], True
        yield answer[end:], False

    def _in_one(self, answers: Sequence[tuple[str, str]]) -> Iterator[tuple[Sequence[int], bool]]:
        """A conversation with several answers as one example."""
        done = 0
        for number, (before, through) in enumerate(answers, 1):
            yield self._ids(through[done : len(before)]), False
            answer = self._answer(through[len(before) :], last=number == len(answers))
            end = self._end(answer)
            yield answer[:end], True
            yield answer[end:], False
            done = len(through)

    def _answer(self, text: str, *, last: bool) -> list[int]:
        """An answer's tokens; the last answer gets an end token if the template adds none."""
        ids = self._ids(text)
        eos = self.tokenizer.eos_token_id
        if last and eos is not None and not self.stops.intersection(ids):
            ids.append(eos)
        return ids

    def _end(self, answer: Sequence[int]) -> int:
        """The position after the token that ends the answer's turn."""
        ends = [place for place, token in enumerate(answer, 1) if token in self.stops]
        return ends[-1] if ends else len(answer)

    def _ids(self, text: str) -> list[int]:
        # the template adds the special tokens
        ids: Any = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return list(ids)


def _common(one: str, other: str) -> str:
    """The common prefix of two texts."""
    return one[
        : next(
            (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
        )
    ]
