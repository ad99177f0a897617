"""What the tests with programs of others share: the service, with SmolLM2 answered for by llama.cpp."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import openai
import pytest
from support.service import RunningService, running_service

MODEL = "smol"


@pytest.fixture(scope="session")
def service() -> Iterator[RunningService]:
    """The service, as a user starts it."""
    for module in ("xllamacpp", "gguf"):
        if find_spec(module) is None:
            pytest.skip(f"{module} isn't installed")
    with running_service(models={MODEL: "smol"}, serve_with="llamacpp") as service:
        yield service


@pytest.fixture
def client(service: RunningService) -> Iterator[openai.OpenAI]:
    """The `openai` package, which refuses a reply of a wrong shape."""
    with openai.OpenAI(
        base_url=service.base_url, api_key="none", max_retries=0, _strict_response_validation=True
    ) as client:
        yield client
