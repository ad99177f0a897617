"""Answer with one model: `python -m tuneway_service.answerer TRAINER [FOLDER]`.

A model runs in a process of its own, so that its memory and its crashes don't affect the service. The process reads
questions from standard input, one JSON object a line, and writes answers the same way: pieces of text, then the end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneway.errors import InvalidInput
from tuneway_service.trainers import make_trainer

if TYPE_CHECKING:
    from tuneway_service.trainers import Chat, Reply


def ask(chat: Chat, question: dict[str, Any]) -> Reply:
    """Ask the model."""
    options = {name: question[name] for name in ("max_tokens", "temperature", "seed", "stop")}
    if "prompt" in question:
        return chat.complete_prompt(question["prompt"], **options)
    return chat.complete(question["messages"], tools=question.get("tools"), **options)


def say(**line: Any) -> None:
    """Write one line to the service."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def answer(chat: Chat, question: dict[str, Any]) -> None:
    """Answer one question."""
    try:
        reply = ask(chat, question)
        for piece in reply:
            if piece:
                say(text=piece)
        say(
            finish_reason=reply.finish_reason or "stop",
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
        )
    except InvalidInput as error:
        say(refused=str(error), field=getattr(error, "field", None))
    except Exception as error:  # noqa: BLE001 - whatever the model raises, the service needs an answer
        traceback.print_exc()
        say(failed=f"{type(error).__name__}: {error}")


def main(trainer: str, folder: str | None = None) -> None:
    """Load the model, then answer until the service closes standard input."""
    # Ctrl-C in the service's terminal stops the service, which then ends this process
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    maker = make_trainer(trainer)
    chat = maker.load_model(Path(folder)) if folder else maker.base_model()
    say(ready=True)
    for line in sys.stdin:
        answer(chat, json.loads(line))


if __name__ == "__main__":
    os.umask(0o077)
    main(*sys.argv[1:])
