"""Instructor: answers as objects of a class, in three modes."""

from __future__ import annotations

from typing import Literal

import openai
import pytest
from pydantic import BaseModel, ConfigDict

instructor = pytest.importorskip("instructor")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning:instructor")]

QUESTION = [{"role": "user", "content": "Which team answers this customer? My parcel never came."}]
CAPITAL = [{"role": "user", "content": "What is the capital of France? Give nothing but the name of the city."}]


class Route(BaseModel):
    """Where a message goes."""

    team: Literal["billing", "shipping"]
    urgent: bool


class Capital(BaseModel):
    """A city. A mode that enforces JSON alone can't promise its fields, of a small model."""

    model_config = ConfigDict(extra="allow")

    city: str = ""


@pytest.mark.parametrize(
    ("mode", "kind", "messages"),
    [("TOOLS", Route, QUESTION), ("JSON_SCHEMA", Route, QUESTION), ("JSON", Capital, CAPITAL)],
)
def test_an_answer_is_an_object_of_a_class(mode, kind, messages, service):
    with openai.OpenAI(base_url=service.base_url, api_key="none", max_retries=0) as plain:
        client = instructor.from_openai(plain, mode=instructor.Mode[mode])
        answer = client.chat.completions.create(
            model="smol", response_model=kind, max_retries=0, temperature=0, max_tokens=300, messages=messages
        )
    assert isinstance(answer, kind)
