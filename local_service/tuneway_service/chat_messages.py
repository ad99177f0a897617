"""The messages and tools of `/chat/completions`, as far as the models of trainers read them: text alone."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from tuneway.errors import InvalidSpec

REQUIRED = "Field required"


def wrong(text: str, *place: int | str) -> InvalidSpec:
    """The error for a field of the model that is being validated."""
    return InvalidSpec(text, field=str(place[-1]), problems={place: text})


class Exact(BaseModel):
    """A part of a body: no unknown fields, and nothing is converted."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), strict=True)


class CacheBreakpoint(Exact):
    """A place up to which a prompt is worth keeping. No answer depends on it."""

    mode: Literal["explicit"]
    ttl: Literal["30m", "12h"] | None = None


class TextPart(Exact):
    """A part of a message's content."""

    type: Literal["text"]
    text: str
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class RefusalPart(Exact):
    """A part of an assistant's message that says that it won't answer."""

    type: Literal["refusal"]
    refusal: str


def _of_text(part: Any) -> Any:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise ValueError("expected an object with a 'type'")  # noqa: TRY004 - what pydantic reports
    if part["type"] not in ("text", "refusal"):
        raise ValueError(f"this model reads text, and no part of the type {part['type'][:40]!r}")
    return part


def _tag(part: Any) -> str:
    return f"[{part['type']}]"


def _text_or_parts(content: Any) -> str:
    return "[parts]" if isinstance(content, list) else "[text]"


# The names in brackets are of branches, which no field's path contains.
Part = Annotated[
    Annotated[TextPart, Tag("[text]")] | Annotated[RefusalPart, Tag("[refusal]")],
    Discriminator(_tag),
    BeforeValidator(_of_text),
]
Content = Annotated[
    Annotated[str, Tag("[text]")] | Annotated[list[Part], Field(min_length=1), Tag("[parts]")],
    Discriminator(_text_or_parts),
]
FunctionName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class FunctionCall(Exact):
    """A function with its arguments, which are JSON in a text."""

    name: str
    arguments: str


class ToolCall(Exact):
    """A call of a tool, in an assistant's message."""

    id: str
    type: Literal["function"]
    function: FunctionCall


class Function(Exact):
    """A function that the model may call. `strict` promises arguments that fit its parameters: few engines can."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Exact):
    """A tool that the model may call."""

    type: Literal["function"]
    function: Function


class ChosenFunction(Exact):
    """The name of the function that the model has to call."""

    name: FunctionName


class ChosenTool(Exact):
    """The tool that the model has to call."""

    type: Literal["function"]
    function: ChosenFunction


# what a message of each role has beside its content
FIELDS: dict[str, frozenset[str]] = {
    "system": frozenset({"name"}),
    "developer": frozenset({"name"}),
    "user": frozenset({"name"}),
    "assistant": frozenset({"name", "refusal", "tool_calls", "function_call", "annotations"}),
    "tool": frozenset({"name", "tool_call_id"}),
    "function": frozenset({"name"}),
}
NEEDED = {"tool": "tool_call_id", "function": "name"}


class ChatMessage(Exact):
    """A message of a conversation. Fields that are null count as absent: a client may send back what it received."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Content | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(min_length=1)] | None = None
    function_call: FunctionCall | None = None
    tool_call_id: str | None = None
    annotations: list[Any] | None = None
    audio: None = None

    @model_validator(mode="after")
    def _fits_its_role(self) -> ChatMessage:
        given = self.model_fields_set
        has = {name for name in given if getattr(self, name) is not None}
        for name in sorted(has - FIELDS[self.role] - {"role", "content"}):
            raise wrong(f"a message of the role {self.role!r} doesn't have it", name)
        needed = NEEDED.get(self.role)
        if needed and needed not in has:
            raise wrong(REQUIRED, needed)
        if not has & {"content", "tool_calls", "function_call", "refusal"}:
            if "content" not in given:
                raise wrong(REQUIRED, "content")
            if self.role != "function":
                raise wrong("expected a text or a list of parts, got null", "content")
        for number, part in enumerate(self.content if isinstance(self.content, list) else ()):
            if isinstance(part, RefusalPart) and self.role != "assistant":
                raise wrong("only a message of the assistant has a refusal", "content", number)
        return self

    def plain(self) -> dict[str, Any]:
        """The message with its content as one text."""
        fields = self.model_dump(exclude_none=True, exclude={"annotations"})
        if isinstance(self.content, list):
            texts = (part.text if isinstance(part, TextPart) else part.refusal for part in self.content)
            fields["content"] = "".join(texts)
        return fields


def with_answered_calls(messages: list[ChatMessage]) -> list[ChatMessage]:
    """The messages; raises an error if a call of a tool has no answer, or an answer no call."""
    calls: set[str | None] = set()
    unanswered: set[str | None] = set()
    caller = 0
    for number, message in enumerate(messages):
        if message.role == "tool":
            if message.tool_call_id not in calls:
                raise wrong("it must be the id of a call in 'tool_calls' just before", number, "tool_call_id")
            unanswered.discard(message.tool_call_id)
            continue
        if unanswered:
            break
        calls = {call.id for call in message.tool_calls or ()}
        unanswered, caller = set(calls), number
    if unanswered:
        raise wrong("each call must be followed by a message of the role 'tool' with its id", caller, "tool_calls")
    return messages
