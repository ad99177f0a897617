"""Answer with one model: `python -m tuneway_service.answerer TRAINER [FOLDER]`.

A model runs in a process of its own, so that its memory and its crashes don't affect the service. The process reads
JSON from standard input, one object a line: questions, each with an `id` that is higher than the last, and `cancel`
with an id, for an answer that nobody wants any more. It writes JSON the same way: pieces of text, then how the answer
ended, each with the question's id.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from tuneway.errors import InvalidInput
from tuneway_service.trainers import make_trainer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tuneway_service.trainers import Chat, Reply

EVERY = sys.maxsize


class Inbox:
    """The questions, read by a thread of their own, so that an answer can be cancelled while it is written."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = lines
        self._questions: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._cancelled = 0
        self._reply: Reply | None = None
        threading.Thread(target=self._receive, name="inbox", daemon=True).start()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The questions that are still wanted, until the service closes standard input."""
        while (question := self._questions.get()) is not None:
            if self.wants(question["id"]):
                yield question

    def wants(self, number: int) -> bool:
        """Whether this question hasn't been cancelled; a cancel counts for earlier questions too."""
        return number > self._cancelled

    def writing(self, number: int, reply: Reply) -> None:
        """Note which reply is being written: it is cancelled with its question."""
        self._reply = reply
        if not self.wants(number):  # the cancel came before the reply was noted
            reply.cancel()

    def _receive(self) -> None:
        for line in self._lines:
            content = json.loads(line)
            if "cancel" in content:
                self._cancel(content["cancel"])
            else:
                self._questions.put(content)
        self._cancel(EVERY)
        self._questions.put(None)

    def _cancel(self, number: int) -> None:
        # the service cancels a question before it asks the next one, so no later question has a reply yet
        self._cancelled = number
        if self._reply is not None:
            self._reply.cancel()


def ask(chat: Chat, question: dict[str, Any]) -> Reply:
    """Ask the model."""
    options = {name: question[name] for name in ("max_tokens", "temperature", "top_p", "seed", "stop")}
    if "prompt" in question:
        return chat.complete_prompt(question["prompt"], **options)
    return chat.complete(question["messages"], tools=question.get("tools"), **options)


def say(**line: Any) -> None:
    """Write one line to the service."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def answer(chat: Chat, question: dict[str, Any], inbox: Inbox) -> None:
    """Answer one question."""
    number = question["id"]
    try:
        reply = ask(chat, question)
        inbox.writing(number, reply)
        for piece in reply:
            if piece:
                say(id=number, text=piece)
        say(
            id=number,
            finish_reason=reply.finish_reason or "stop",
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
        )
    except InvalidInput as error:
        say(id=number, refused=str(error), field=getattr(error, "field", None))
    except Exception as error:  # noqa: BLE001 - whatever the model raises, the service needs an answer
        traceback.print_exc()
        say(id=number, failed=f"{type(error).__name__}: {error}")


def main(trainer: str, folder: str | None = None) -> None:
    """Load the model, then answer until the service closes standard input."""
    # Ctrl-C in the service's terminal stops the service, which then ends this process
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    inbox = Inbox(sys.stdin)
    maker = make_trainer(trainer)
    chat = maker.load_model(Path(folder)) if folder else maker.base_model()
    for question in inbox:
        answer(chat, question, inbox)


if __name__ == "__main__":
    os.umask(0o077)
    main(*sys.argv[1:])
