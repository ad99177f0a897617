"""A real service for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import OpenAI
from support.openai_jobs import chats, openai_for
from support.service import RunningService, running_service


@pytest.fixture(scope="module")
def service() -> Iterator[RunningService]:
    """One service for a module's tests, two jobs at once."""
    with running_service(concurrency=2) as running:
        yield running


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[OpenAI]:
    """The `openai` package's client for it."""
    with openai_for(service) as made:
        yield made


@pytest.fixture(scope="module")
def training_file(client: OpenAI) -> str:
    """The id of an uploaded file of 40 tickets."""
    return client.files.create(file=("train.jsonl", chats(40)), purpose="fine-tune").id
