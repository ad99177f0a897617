"""A question for a model, whichever engine answers it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tuneway_service.answer_formats import CHAT, TEXT, CompletionFormat
from tuneway_service.trainers.conversation import message_text

LONGEST = 1024
"""The most tokens of an answer, unless a limit is given."""
SEEDS = 2**63


@dataclass(frozen=True)
class ModelQuestion:
    """What a client asks, checked.

    Args:
        body: The body of the request: "messages" or "prompt", and the options that are set. It has neither the
            model nor how the reply is sent.
    """

    body: Mapping[str, Any]

    @property
    def is_chat(self) -> bool:
        """Whether it is a conversation; else it is a text to continue."""
        return "messages" in self.body

    @property
    def form(self) -> CompletionFormat:
        """The format of the reply."""
        return CHAT if self.is_chat else TEXT

    @property
    def path(self) -> str:
        """The path of the API for it."""
        return "/chat/completions" if self.is_chat else "/completions"

    @property
    def each(self) -> int:
        """The number of answers to each conversation or prompt."""
        return int(self.body.get("n") or 1)

    def singly(self) -> list[dict[str, Any]]:
        """The same question as bodies that ask for one answer each, with the limit and the seed of that answer."""
        limits = [self.body.get(name) for name in ("max_tokens", "max_completion_tokens")]
        shared = {
            name: value
            for name, value in self.body.items()
            if name not in ("n", "seed", "prompt", "max_tokens", "max_completion_tokens")
        } | {"max_tokens": min((limit for limit in limits if limit), default=None)}
        prompt = self.body.get("prompt")
        prompts: list[dict[str, Any]] = [{}]
        if prompt is not None:
            prompts = [{"prompt": text} for text in ([prompt] if isinstance(prompt, str) else prompt)]
        return [shared | one | self._seed(number) for one in prompts for number in range(self.each)]

    def _seed(self, number: int) -> dict[str, int]:
        seed = self.body.get("seed")
        return {} if seed is None else {"seed": (seed + number) % SEEDS}


class Answering(Protocol):
    """A model that can be asked."""

    @property
    def engine(self) -> str:
        """The name of the engine that answers."""
        ...

    async def whole(self, question: ModelQuestion) -> dict[str, Any]:
        """The reply's `choices` and `usage`. Cancelling it stops the answers."""
        ...

    def chunks(self, question: ModelQuestion) -> AsyncGenerator[dict[str, Any]]:
        """The reply in pieces: the `choices` of each event, and at the end one with `usage` and without choices.

        Closing it stops the answers.
        """
        ...


async def ask_for_text(model: Answering, messages: list[dict[str, Any]], **options: Any) -> tuple[str, int]:
    """The text of an answer to a conversation, the likeliest one unless a temperature is given, and its tokens."""
    given = {name: value for name, value in options.items() if value is not None}
    reply = await model.whole(ModelQuestion({"messages": messages, "temperature": 0.0} | given))
    message = reply["choices"][0]["message"]
    return message_text(message), reply["usage"]["total_tokens"]
