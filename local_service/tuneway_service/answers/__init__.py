"""Answers: a small interface, and the engines that answer behind it.

An engine takes a `ModelQuestion`, which is in the terms of OpenAI's API, and gives the reply's choices and usage.
`processes` has the engines `transformers` and `bytes`: a trainer's own model in a process. `llamacpp` runs llama.cpp's
server. `upstream` passes questions on to any address that speaks the API. `engines` chooses the engine of a model, and
`shelf` keeps loaded models as long as there is memory for them.
"""

from __future__ import annotations

from tuneway_service.answers.engines import Engines
from tuneway_service.answers.question import Answering, ModelQuestion, ask_for_text

__all__ = ["Answering", "Engines", "ModelQuestion", "ask_for_text"]
