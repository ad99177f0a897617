"""Where answers stand in the text of a conversation, found once for all conversations of one shape.

A chat template is a program, which may show a message in different ways. For a given list of roles most templates
write the messages' texts, whole or without white space around them, between pieces that are always the same: a
skeleton. A skeleton is found by conversations of made-up texts, of which the prompt of each answer is rendered too. It
counts for a row only if the row's own text, rendered by the template, is the skeleton with the row's texts in it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from tuneway.errors import InvalidInput
from tuneway_service.trainers.hf.telling import telling_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tuneway_service.trainers.base import Message
    from tuneway_service.trainers.hf.rendering import Rendering

TRIMS: tuple[Callable[[str], str], ...] = (str, str.lstrip, str.rstrip, str.strip)
"""What templates do with the white space around a text."""

PLAIN_KEYS = frozenset({"role", "content", "weight"})
"""A message with more than these is rendered in ways that its text doesn't tell."""

Shape = tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class Talk:
    """A conversation that ends with an answer to learn.

    Args:
        messages: Its messages.
        learned: Which of them are answers to learn; the last one is.
        tools: The tools that it has.
    """

    messages: Sequence[Message]
    learned: Sequence[bool]
    tools: Sequence[Message] = ()

    def parts(self) -> list[Sequence[Message]]:
        """The conversations that end with an answer to learn, each the start of the next."""
        return [self.messages[:number] for number, learned in enumerate(self.learned, 1) if learned]

    def contents(self) -> list[str]:
        """The texts of the messages, if they have nothing else."""
        return [message["content"] for message in self.messages]

    def shape(self) -> Shape | None:
        """What a skeleton depends on: roles, and what is learned; None if there is more to the messages than a text."""
        for message in self.messages:
            content = message.get("content")
            if not isinstance(content, str) or not content or content.isspace() or not message.keys() <= PLAIN_KEYS:
                return None
        roles = [str(message.get("role")) for message in self.messages]
        return None if self.tools else tuple(zip(roles, self.learned, strict=True))


@dataclass(frozen=True)
class AnswerPlace:
    """An answer in the text of its conversation.

    Args:
        start: The prompt for the answer is the text up to here.
        shared: The text of the conversation that ends with this answer is the same at least up to here.
    """

    start: int
    shared: int


@dataclass(frozen=True)
class Skeleton:
    """What a template writes around the texts of some messages.

    Args:
        pieces: What stands before the first text, between two of them, and after the last.
        trims: What the template does with the white space around each text.
        marks: Each answer's place: how many texts are before `start` and the characters of pieces before it, and the
            same for `shared`.
    """

    pieces: tuple[str, ...]
    trims: tuple[Callable[[str], str], ...]
    marks: tuple[tuple[int, int, int, int], ...]

    def filled(self, contents: Sequence[str]) -> tuple[str, list[AnswerPlace]]:
        """The text of a conversation with these texts, and its answers."""
        texts = [trim(content) for trim, content in zip(self.trims, contents, strict=True)]
        words = [word for pair in zip(self.pieces, texts, strict=False) for word in pair]
        sums = [0, *accumulate(map(len, texts))]
        places = [AnswerPlace(sums[texts_a] + a, sums[texts_b] + b) for texts_a, a, texts_b, b in self.marks]
        return "".join([*words, self.pieces[-1]]), places


class Skeletons:
    """The skeletons of one template.

    Args:
        rendering: Renders conversations by the template.
        kept: How many skeletons are remembered; conversations of other shapes have none.
    """

    def __init__(self, rendering: Rendering, kept: int = 1024) -> None:
        self._rendering = rendering
        self._kept = kept
        self._found: dict[Shape, Skeleton | None] = {}
        self._telling = telling_in(rendering.source)

    def of(self, shape: Shape | None, check: Callable[[Talk], bool]) -> Skeleton | None:
        """The skeleton of conversations of this shape, if there is one.

        Args:
            shape: What `Talk.shape` returned.
            check: Whether a conversation of made-up texts gives the same examples by the skeleton as without it. The
                skeleton is already remembered meanwhile.
        """
        if shape is None:
            return None
        if shape not in self._found:
            if len(self._found) >= self._kept:
                return None
            self._found[shape] = None
            with suppress(InvalidInput):
                self._find(shape, check)
        return self._found[shape]

    def _find(self, shape: Shape, check: Callable[[Talk], bool]) -> None:
        trials = [_made_up(shape, make) for make in (_padded, _bare)]
        found = self._skeleton(trials[0])
        if found is None or not all(self._agrees(found, trial) for trial in trials):
            return
        self._found[shape] = found
        if not all(map(check, trials)):
            self._found[shape] = None

    def count_for(self, contents: Sequence[str]) -> bool:
        """Whether no text has anything in it that the template looks for."""
        return self._telling is not None and not self._telling.are_in(contents)

    def _skeleton(self, trial: Talk) -> Skeleton | None:
        placed = rendered(self._rendering, trial)
        if placed is None:
            return None
        text, places = placed
        slots = _slots(text, trial.contents())
        if slots is None:
            return None
        ends = [0, *(end for _, end, _ in slots)]
        starts = [*(start for start, _, _ in slots), len(text)]
        pieces = tuple(text[end:start] for end, start in zip(ends, starts, strict=True))
        spans = [(start, end) for start, end, _ in slots]
        marks = []
        for place in places:
            if _outside(place.start, spans) != place.start:
                return None
            marks.append((*_relative(place.start, spans), *_relative(_outside(place.shared, spans), spans)))
        return Skeleton(pieces, tuple(trim for _, _, trim in slots), tuple(marks))

    def _agrees(self, skeleton: Skeleton, trial: Talk) -> bool:
        return rendered(self._rendering, trial) == skeleton.filled(trial.contents())


def rendered(rendering: Rendering, talk: Talk) -> tuple[str, list[AnswerPlace]] | None:
    """The text of a conversation and the places of its answers, by rendering the prompt of each.

    None if a prompt isn't how the text begins.
    """
    *earlier, last = talk.parts()
    before, rest = rendering.answered(last, talk.tools)
    text = before + rest
    places = [AnswerPlace(len(before), len(text))]
    for part in reversed(earlier):
        before, rest = rendering.answered(part, talk.tools)
        if not text.startswith(before):
            return None
        places.append(AnswerPlace(len(before), common(text, before + rest)))
    return text, places[::-1]


def common(one: str, other: str) -> int:
    """The length of the common start of two texts."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one.startswith(other[low:middle], low):
            low = middle
        else:
            high = middle - 1
    return low


def _padded(number: int) -> str:
    return f" \n Qx<{number}&\"'\\ é{number * 7919}z?\n "


def _bare(number: int) -> str:
    return f"tell me {number} of them"


def _made_up(shape: Shape, make: Callable[[int], str]) -> Talk:
    messages = [{"role": role, "content": make(number)} for number, (role, _) in enumerate(shape, 100)]
    return Talk(messages, [learned for _, learned in shape])


def _slots(text: str, contents: Sequence[str]) -> list[tuple[int, int, Callable[[str], str]]] | None:
    """Where each of these contents stands, once and in order, and how it is trimmed."""
    slots = []
    place = 0
    for content in contents:
        if text.count(content.strip()) != 1:
            return None
        trim = next(trim for trim in TRIMS if trim(content) in text)
        written = trim(content)
        start = text.find(written, place)
        if start < 0:
            return None
        place = start + len(written)
        slots.append((start, place, trim))
    return slots


def _outside(place: int, spans: Sequence[tuple[int, int]]) -> int:
    """This place, or the start of the text that it is within."""
    return next((start for start, end in spans if start < place < end), place)


def _relative(place: int, spans: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """How many texts are before a place, and the characters of pieces."""
    before = [end - start for start, end in spans if end <= place]
    return len(before), place - sum(before)
