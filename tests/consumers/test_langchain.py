"""LangChain: its three ways to a structured answer, streaming, and calls of tools."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict

ChatOpenAI = pytest.importorskip("langchain_openai").ChatOpenAI

pytestmark = pytest.mark.slow

QUESTION = "Which team answers this customer? My parcel never came."


class Route(BaseModel):
    """Where a message goes."""

    team: Literal["billing", "shipping"]
    urgent: bool


class AnyObject(BaseModel):
    """Any JSON object: a mode that enforces JSON alone can't promise more of a small model."""

    model_config = ConfigDict(extra="allow")


@pytest.fixture
def chat(service):
    return ChatOpenAI(
        base_url=service.base_url, api_key="none", model="smol", temperature=0, max_tokens=200, max_retries=0
    )


@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
def test_an_answer_has_the_fields_of_a_model(method, chat):
    answer = chat.with_structured_output(Route, method=method).invoke(QUESTION)
    assert isinstance(answer, Route)


def test_an_answer_is_json(chat):
    asked = 'Answer with a JSON object that has the key "city": what is the capital of France?'
    answer = chat.with_structured_output(AnyObject, method="json_mode").invoke(asked)
    assert isinstance(answer, AnyObject)


def test_a_strict_schema_is_kept(chat):
    answer = chat.with_structured_output(Route, method="json_schema", strict=True, include_raw=True).invoke(QUESTION)
    assert answer["parsing_error"] is None
    assert isinstance(answer["parsed"], Route)


def test_a_tool_is_called(chat):
    (call,) = chat.bind_tools([Route], tool_choice="Route").invoke(QUESTION).tool_calls
    assert call["name"] == "Route"
    assert call["args"]["team"] in ("billing", "shipping")


def test_a_streamed_answer_is_the_same(chat):
    short = chat.bind(max_tokens=16)
    pieces = list(short.stream(QUESTION))
    assert len(pieces) > 3
    assert "".join(piece.content for piece in pieces) == short.invoke(QUESTION).content
