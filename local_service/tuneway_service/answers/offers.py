"""Which engine has which options of the API, beyond those that every engine has."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Final

from tuneway_service.refusals import Refusal

TRANSFORMERS: Final = "transformers"
BYTES: Final = "bytes"
LLAMACPP: Final = "llamacpp"
VLLM: Final = "vllm"

OF_LLAMACPP: Final = frozenset(
    {
        "completions.logprobs",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "parallel_tool_calls",
        "presence_penalty",
        "response_format",
        "strict",
        "tool_choice",
        "top_logprobs",
    }
)
OF_VLLM: Final = OF_LLAMACPP | {
    "allowed_token_ids",
    "bad_words",
    "chat_template_kwargs",
    "completions.echo",
    "ignore_eos",
    "include_stop_str_in_output",
    "min_p",
    "min_tokens",
    "reasoning_effort",
    "repetition_penalty",
    "skip_special_tokens",
    "stop_token_ids",
    "structured_outputs",
    "top_k",
}
OFFERS: Final[Mapping[str, Container[str]]] = {
    TRANSFORMERS: frozenset(),
    BYTES: frozenset(),
    LLAMACPP: OF_LLAMACPP,
    VLLM: OF_VLLM,
}
"""The options of each engine. Those of `/completions` alone, or of another meaning there, begin with `completions.`."""


def refuse_option(engine: str, option: str, param: str) -> Refusal:
    """The refusal of an option that an engine doesn't have; it names the engine that has it."""
    text = f"Unsupported value: the engine `{engine}`, which answers here, can't heed '{param}'."
    others = [name for name, has in OFFERS.items() if option in has]
    if others and engine == BYTES:
        text += f" Tune a language model, which `{others[0]}` answers for: it can."
    elif others:
        with_url = "=URL" if others[0] == VLLM else ""
        text += f" `tuneway serve --serve-with {others[0]}{with_url}` can."
    return Refusal(text, param=param, code="unsupported_value")
