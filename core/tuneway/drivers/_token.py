"""Tokens that expire: asked for when they are needed, and again before they end or when the service refuses them."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn

from tuneway._escape import one_line
from tuneway.errors import ConnectionFailed, InvalidInput

MARGIN = 60.0
"""Seconds before its end at which a token isn't used any more."""

KEPT = 4
"""So many tokens are known, the newest and those before it, to be hidden wherever they appear."""

GIVES = "It gives a text; a text and the time of its end in epoch seconds; or an object with `token` and `expires_on`."


class TokenSource:
    """A function that gives tokens, and the token that it gave last.

    Args:
        ask: The function. It may be a coroutine function if an asyncio client uses it.
    """

    def __init__(self, ask: Callable[[], Any]) -> None:
        self.ask = ask
        self.awaited: bool = inspect.iscoroutinefunction(ask) or inspect.iscoroutinefunction(type(ask).__call__)
        self._given: deque[tuple[str, float | None]] = deque(maxlen=KEPT)

    @property
    def secrets(self) -> list[str]:
        """The tokens that must not be shown."""
        return [token for token, _ in tuple(self._given)]

    def current(self, now: float, refused: str | None = None) -> str | None:
        """The token, unless it ends soon or is the one that the service has just refused."""
        if not self._given:
            return None
        token, end = self._given[-1]
        ends_soon = end is not None and now > end - MARGIN
        return None if ends_soon or token == refused else token

    def take(self, given: object) -> str:
        """Take what the function has given; gives the token."""
        if inspect.iscoroutine(given):
            given.close()
        token, end = _read(given)
        self._given.append((token, end))
        return token

    def without(self, failure: Exception) -> NoReturn:
        """The function has failed: nothing can be sent. It may succeed later, so this is as if nobody answered."""
        text = one_line(str(failure), 500)
        for secret in self.secrets:
            text = text.replace(secret, "[token]")
        raise ConnectionFailed(
            f"there is no token: {type(failure).__name__}: {text}", hint="Check the function that gives the token."
        ) from None


def _read(given: object) -> tuple[str, float | None]:
    token: object = given
    end: object = None
    if isinstance(given, tuple) and len(given) == 2:
        token, end = given
    elif not isinstance(given, str):
        token, end = getattr(given, "token", None), getattr(given, "expires_on", None)
    token = token.strip() if isinstance(token, str) else None
    if not token or not token.isascii() or not token.isprintable():
        wrong = "a coroutine, which only AsyncClient can await" if inspect.iscoroutine(given) else "none"
        raise InvalidInput(f"api_key: the function that gives the token gave {wrong}", hint=GIVES)
    if end is not None and (isinstance(end, bool) or not isinstance(end, int | float)):
        raise InvalidInput("api_key: the function that gives the token gave an end that is no time", hint=GIVES)
    return token, end
