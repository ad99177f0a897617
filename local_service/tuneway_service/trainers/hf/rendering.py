"""Renders conversations by the model's own chat template: the prompt for an answer, and what follows it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from tuneway.errors import InvalidInput
from tuneway_service.trainers.hf.messages import for_template

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from transformers import PreTrainedTokenizerBase

    from tuneway_service.trainers.base import Message

PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
"""The template for models that have none."""

MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")
"""How a template marks the text that the assistant writes."""

BLANK = "\ue000"
"""An answer that shares no character with any prompt: it shows where a template puts answers."""


class Rendering:
    """The chat template of a tokenizer: its `source`, and whether it `marks` what the assistant writes."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        if not tokenizer.chat_template:
            tokenizer.chat_template = PLAIN_TEMPLATE
        templates = tokenizer.chat_template
        self.source = templates if isinstance(templates, str) else "".join(templates.values())
        # only the fast tokenizers know which text a token stands for
        self.marks = tokenizer.is_fast and MARKS.search(self.source) is not None

    def prompt(self, messages: Sequence[Message], tools: Iterable[Message]) -> str:
        """The prompt for an answer to these messages."""
        return self._render(messages, tools, answer_next=True)

    def answered(self, messages: Sequence[Message], tools: Iterable[Message]) -> tuple[str, str]:
        """The prompt for the last of these messages, and the text that has to follow it."""
        through = self._render(messages, tools)
        self._check_shown(messages[-1], through)
        before = self.prompt(messages[:-1], tools) if len(messages) > 1 else self._opening(messages, tools, through)
        if through.startswith(before):
            return before, through[len(before) :]
        return before, self._odd_rest(messages, tools, before, through)

    def many(self, conversations: Sequence[Sequence[Message]]) -> list[str] | None:
        """Several conversations without tools, in one call; None if the template refuses one of them."""
        worded = [for_template(messages, (), self.source)[0] for messages in conversations]
        try:
            texts: list[str] = self._tokenizer.apply_chat_template(worded, tokenize=False)
        except (TemplateError, TypeError, ValueError, KeyError):
            return None
        return texts

    def marked(self, messages: Sequence[Message], tools: Iterable[Message]) -> tuple[list[int], list[int]]:
        """The tokens of a conversation, and which of them the template marks as the assistant's; none without marks."""
        if not self.marks:
            return [], []
        worded, given = for_template(messages, tools, self.source)
        found: Any = self._tokenizer.apply_chat_template(
            worded, tools=given, return_dict=True, return_assistant_tokens_mask=True
        )
        return list(found["input_ids"]), list(found["assistant_masks"])

    def _render(self, messages: Sequence[Message], tools: Iterable[Message], *, answer_next: bool = False) -> str:
        worded, given = for_template(messages, tools, self.source)
        try:
            text = self._tokenizer.apply_chat_template(
                worded, tools=given, add_generation_prompt=answer_next, tokenize=False
            )
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            raise InvalidInput(
                f"the model's chat template can't render these messages: {error}",
                hint="Some templates need user and assistant in turn, or no system message.",
            ) from None
        assert isinstance(text, str)
        return text

    def _check_shown(self, answer: Message, through: str) -> None:
        """Raise `InvalidInput` if the template drops a part of an answer's text, such as a thought."""
        (worded,), _ = for_template([answer], (), self.source)
        if "".join(worded["content"].split()) not in "".join(through.split()):
            raise InvalidInput(
                "the model's chat template leaves out a part of this answer, such as a thought or what stands beside a"
                " tool call",
                hint="Remove that part, give the answer the weight 0, or take a template that shows it.",
            )

    def _opening(self, messages: Sequence[Message], tools: Iterable[Message], through: str) -> str:
        """The prompt for an answer that begins a conversation: templates can't render an empty one."""
        asked = self.prompt(messages, tools)
        opening = asked[_common(asked, through) :]
        start = through.find(opening)
        return through[: start + len(opening)] if start >= 0 else ""

    def _odd_rest(self, messages: Sequence[Message], tools: Iterable[Message], before: str, through: str) -> str:
        """What follows the prompt, if the template shows the conversation differently once the answer is in it.

        Some prompts have more than the conversation: an opened or empty thought after the turn's header. Some
        conversations have less than the prompt: the system message, which only the last turn gets.
        """
        blank = self._render([*messages[:-1], {"role": "assistant", "content": BLANK}], tools)
        if through.startswith(self._render(messages[:-1], tools)):
            return through[min(_common(before, through), _common(before, blank)) :]
        question = [{"role": "user", "content": "?"}]
        prompt = self.prompt(question, ())
        answered = self._render([*question, {"role": "assistant", "content": BLANK}], ())
        if BLANK not in answered or not answered.startswith(prompt):
            raise InvalidInput(
                "the model's chat template shows these messages differently once they are answered",
                hint="Take a template that shows the messages of a conversation the same at every turn.",
            )
        return answered[len(prompt) : answered.index(BLANK)] + through[_common(through, blank) :]


def _common(one: str, other: str) -> int:
    """The length of the common prefix of two texts."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
