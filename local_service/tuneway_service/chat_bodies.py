"""The bodies of `/chat/completions` and `/completions`: what the models of trainers can be asked.

Whatever would change the answer is heeded or refused by its name, never left out silently. Models of trainers read
text alone, so parts of other types are refused.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from tuneway_service.bodies import Name
from tuneway_service.chat_messages import ChatMessage, Exact, Tool, with_answered_calls, wrong
from tuneway_service.refusals import Refusal

StopText = Annotated[str, StringConstraints(min_length=1)]

MOST_ANSWERS = 16
MOST_PROMPTS = 2048
SEEDS = 2**63

# Options that would change the answer and aren't supported: only the values that change nothing are accepted.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "audio": (None,),
    "best_of": (None, 1),
    "echo": (None, False),
    "frequency_penalty": (None, 0),
    "function_call": (None, "none"),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "logprobs": (None, False),
    "metadata": (None, {}),
    "modalities": (None, ["text"]),
    "moderation": (None,),
    "prediction": (None,),
    "presence_penalty": (None, 0),
    "prompt_cache_retention": (None, "in_memory", "24h"),
    "reasoning_effort": (None, "none"),
    "response_format": (None, {"type": "text"}),
    "service_tier": (None, "auto", "default"),
    "store": (None, False),
    "suffix": (None, ""),
    "top_logprobs": (None, 0),
    "verbosity": (None, "medium"),
    "web_search_options": (None,),
}
OF_COMPLETIONS = frozenset({"best_of", "echo", "suffix"})
OF_BOTH = frozenset({"frequency_penalty", "logit_bias", "logprobs", "presence_penalty"})


class CacheOptions(Exact):
    """How prompts are kept. No answer depends on it."""

    mode: Literal["implicit", "explicit"] | None = None
    ttl: Literal["30m"] | None = None


class StreamOptions(Exact):
    """How an answer is streamed."""

    include_usage: bool | None = None
    # padding against those who read the lengths of packets isn't sent
    include_obfuscation: Literal[False] | None = None


class CompletionBody(BaseModel):
    """What both have. Without a temperature it is 1, as at OpenAI: whoever compares answers has to ask for 0."""

    model_config = ConfigDict(extra="allow", protected_namespaces=(), strict=True)

    model: Name
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-SEEDS, lt=SEEDS)] | None = None
    stop: StopText | Annotated[list[StopText], Field(max_length=4)] | None = None
    n: Annotated[int, Field(ge=1, le=MOST_ANSWERS)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    user: str | None = None

    @model_validator(mode="after")
    def _streamed(self) -> CompletionBody:
        if self.stream_options is not None and not self.stream:
            raise wrong("it is only allowed where 'stream' is true", "stream_options")
        return self

    def refuse_unsupported(self) -> None:
        """Refuse options that would change the answer, and those that nobody knows."""
        for name, value in (self.model_extra or {}).items():
            if name not in self.neutral():
                raise Refusal(f"Unknown parameter: '{name[:100]}'.", param=name[:100], code="unknown_parameter")
            values = NEUTRAL[name]
            if not any(_same(value, other) for other in values):
                text = f"Unsupported value: '{name}' can't be set here; this service uses {json.dumps(values[-1])}."
                raise Refusal(text, param=name, code="unsupported_value")

    @classmethod
    def neutral(cls) -> frozenset[str]:
        """The options that are known and not supported."""
        return OF_BOTH | OF_COMPLETIONS

    def most_tokens(self) -> int | None:
        """The longest answer; None for the trainer's own limit."""
        return self.max_tokens

    def stops(self) -> list[str] | None:
        """The texts to stop at, as a list."""
        return [self.stop] if isinstance(self.stop, str) else self.stop

    def seed_of(self, number: int) -> int | None:
        """The seed of one of several answers to the same question; None for one that nobody can repeat."""
        return None if self.seed is None else (self.seed + number) % SEEDS


def _same(value: Any, other: Any) -> bool:
    """Whether two values are equal in JSON, where true isn't 1."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


class ChatCompletion(CompletionBody):
    """`POST /chat/completions`."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=2048)
    tools: Annotated[list[Tool], Field(min_length=1, max_length=128)] | None = None
    tool_choice: Literal["auto", "none"] | None = None
    parallel_tool_calls: Literal[True] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    # no answer depends on these
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: CacheOptions | None = None

    @classmethod
    def neutral(cls) -> frozenset[str]:
        """The options that are known and not supported."""
        return frozenset(NEUTRAL) - OF_COMPLETIONS

    _calls_are_answered = field_validator("messages")(with_answered_calls)

    @model_validator(mode="after")
    def _fits(self) -> ChatCompletion:
        if self.tools is None and self.tool_choice == "auto":
            raise wrong("it is only allowed with 'tools'", "tool_choice")
        if self.tools is None and self.parallel_tool_calls is not None:
            raise wrong("it is only allowed with 'tools'", "parallel_tool_calls")
        if self.tools is not None and self.tool_choice == "none":
            raise wrong("this service's models can't be kept from calling tools; leave out 'tools'", "tool_choice")
        return self

    def most_tokens(self) -> int | None:
        """The longest answer; None for the trainer's own limit."""
        return min((most for most in (self.max_completion_tokens, self.max_tokens) if most), default=None)


class Completion(CompletionBody):
    """`POST /completions`."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=MOST_PROMPTS)]
