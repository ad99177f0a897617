"""The bodies of `/chat/completions` and `/completions`: what models can be asked.

Whatever would change the answer is heeded or refused by its name, never left out silently. Some options depend on the
engine that answers. Models of trainers read text alone, so parts of other types are refused.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from tuneway_service import response_format
from tuneway_service.answers.offers import OFFERS, refuse_option
from tuneway_service.answers.question import SEEDS
from tuneway_service.bodies import Name
from tuneway_service.chat_messages import ChatMessage, ChosenTool, Exact, Tool, with_answered_calls, wrong
from tuneway_service.refusals import Refusal

StopText = Annotated[str, StringConstraints(min_length=1)]

MOST_ANSWERS = 16
MOST_PROMPTS = 2048

# Options that would change the answer and that not every engine has: the values that change nothing.
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
OF_CHAT = frozenset(
    {"chat_template_kwargs", "parallel_tool_calls", "reasoning_effort", "strict", "tool_choice", "top_logprobs"}
)
OWN_MEANING = OF_COMPLETIONS | OF_CHAT | {"logprobs"}
"""The options that only one of the two has, or that mean something else in `/completions`."""
UNHEEDED = frozenset({"prompt_cache_key", "prompt_cache_options", "safety_identifier", "user"})
"""The options on which no answer depends."""

_Penalty = TypeAdapter[Any](Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)], config=ConfigDict(strict=True))
_Token = Annotated[str, StringConstraints(pattern=r"^\d{1,9}$")]
_Bias = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
LIMITS: dict[str, TypeAdapter[Any]] = {
    "completions.logprobs": TypeAdapter(Annotated[int, Field(ge=0, le=5)], config=ConfigDict(strict=True)),
    "frequency_penalty": _Penalty,
    "logit_bias": TypeAdapter(Annotated[dict[_Token, _Bias], Field(max_length=1024)]),
    "logprobs": TypeAdapter(bool, config=ConfigDict(strict=True)),
    "presence_penalty": _Penalty,
    "top_logprobs": TypeAdapter(Annotated[int, Field(ge=0, le=20)], config=ConfigDict(strict=True)),
}
"""What the options of some engines may be."""


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

    def options_for(self, engine: str) -> dict[str, Any]:
        """The body for an engine: what is asked, and the options that are set, without the model and the streaming.

        Options that the engine doesn't have are refused, and so are those that nobody knows.
        """
        offers = OFFERS[engine]
        for option, param in self._needs():
            if option not in offers:
                raise refuse_option(engine, option, param)
        extra = self.model_extra or {}
        set_ = {name: value for name, value in extra.items() if not self._changes_nothing(name, value)}
        for name, value in set_.items():
            self._check(engine, offers, name, value)
        if set_.get("top_logprobs") and not set_.get("logprobs"):
            raise Refusal("'top_logprobs' is only allowed where 'logprobs' is true.", param="top_logprobs")
        return self._asked() | set_

    def _asked(self) -> dict[str, Any]:
        apart = {"model", "stream", "stream_options", *UNHEEDED, *(self.model_extra or ())}
        return self.model_dump(exclude_none=True, exclude=apart)

    def _needs(self) -> Iterator[tuple[str, str]]:
        """The options that are set in fields which every engine knows: each option with the field's name."""
        yield from ()

    def _changes_nothing(self, name: str, value: Any) -> bool:
        return name in self.neutral() and any(_same(value, other) for other in NEUTRAL[name])

    def _check(self, engine: str, offers: Container[str], name: str, value: Any) -> None:
        option = self._option(name)
        if option in offers:
            _check_value(option, name, value)
        elif name not in self.neutral():
            raise Refusal(f"Unknown parameter: '{name[:100]}'.", param=name[:100], code="unknown_parameter")
        elif any(option in other for other in OFFERS.values()):
            raise refuse_option(engine, option, name)
        else:
            text = f"Unsupported value: '{name}' can't be set here; this service uses {json.dumps(NEUTRAL[name][-1])}."
            raise Refusal(text, param=name, code="unsupported_value")

    @classmethod
    def _option(cls, name: str) -> str:
        """The name under which engines offer an option."""
        return name

    @classmethod
    def neutral(cls) -> frozenset[str]:
        """The options that are known and that not every engine has."""
        return OF_BOTH | OF_COMPLETIONS


def _check_value(option: str, name: str, value: Any) -> None:
    """Refuse a value that an option of some engines can't have."""
    if name == "response_format":
        wrong_at = response_format.problem(value)
        if wrong_at is not None:
            where = ".".join(filter(None, (name, wrong_at[0])))
            raise Refusal(f"Invalid value for '{where}': {wrong_at[1]}.", param=where, code="invalid_value")
    elif option in LIMITS:
        try:
            LIMITS[option].validate_python(value)
        except ValidationError as error:
            found = error.errors(include_url=False)[0]
            where = ".".join([name, *map(str, found["loc"])])[:100]
            raise Refusal(f"Invalid value for '{where}': {found['msg']}.", param=name, code="invalid_value") from None


def _same(value: Any, other: Any) -> bool:
    """Whether two values are equal in JSON, where true isn't 1."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


class ChatCompletion(CompletionBody):
    """`POST /chat/completions`."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=2048)
    tools: Annotated[list[Tool], Field(min_length=1, max_length=128)] | None = None
    tool_choice: Literal["auto", "none", "required"] | ChosenTool | None = None
    parallel_tool_calls: bool | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    # no answer depends on these
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: CacheOptions | None = None

    @classmethod
    def neutral(cls) -> frozenset[str]:
        """The options that are known and that not every engine has."""
        return frozenset(NEUTRAL) - OF_COMPLETIONS

    _calls_are_answered = field_validator("messages")(with_answered_calls)

    @model_validator(mode="after")
    def _fits(self) -> ChatCompletion:
        if self.tools is None and self.tool_choice not in (None, "none"):
            raise wrong("it is only allowed with 'tools'", "tool_choice")
        if self.tools is None and self.parallel_tool_calls is not None:
            raise wrong("it is only allowed with 'tools'", "parallel_tool_calls")
        if isinstance(self.tool_choice, ChosenTool):
            name = self.tool_choice.function.name
            if name not in (tool.function.name for tool in self.tools or ()):
                raise wrong(f"there is no tool {name!r} in 'tools'", "tool_choice")
        return self

    def _asked(self) -> dict[str, Any]:
        return super()._asked() | {"messages": [message.plain() for message in self.messages]}

    def _needs(self) -> Iterator[tuple[str, str]]:
        if self.tools and self.tool_choice not in (None, "auto"):
            yield "tool_choice", "tool_choice"
        if self.parallel_tool_calls is False:
            yield "parallel_tool_calls", "parallel_tool_calls"
        for number, tool in enumerate(self.tools or ()):
            if tool.function.strict:
                yield "strict", f"tools[{number}].function.strict"


class Completion(CompletionBody):
    """`POST /completions`."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=MOST_PROMPTS)]

    @classmethod
    def _option(cls, name: str) -> str:
        return f"completions.{name}" if name in OWN_MEANING else name
