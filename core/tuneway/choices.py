"""The words that some arguments take, for the core, the wrappers and the command line.

Engines read this when they parse a pipeline, so it imports the standard library alone.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

Reuse = Literal["run", "content", "never"]
"""Which existing jobs are adopted: those of this requester, those with the same content whoever made them, or none."""

OnStaleData = Literal["adopt", "cancel", "fail"]
"""What becomes of a job of an earlier attempt that is still running when the data has changed.

"adopt" goes on with it, "cancel" cancels it and trains anew, and "fail" raises `StaleData` and leaves it alone. A job
that somebody else has made is never cancelled.
"""

Choice = Literal["last", "best"]
"""The checkpoint to register: the job's own model, or the checkpoint with the lowest validation loss."""

Order = Literal["given", "content"]
"""The order of rows: as they come, or sorted by their hash, so that the same set of rows is the same file."""

Scoring = Literal["exact", "contains"]
"""How an answer is compared with the expected one: it is the same, or it contains it."""


def check_word(word: object, choice: Any, *, field: str, hint: str | None = None) -> Any:
    """Return the word if it is one of these.

    Args:
        word: The word.
        choice: A type that lists the words, such as `Reuse`.
        field: The name of the argument.
        hint: What else may be given.

    Raises:
        InvalidSpec: It isn't.
    """
    words = get_args(choice)
    if word in words:
        return word
    from tuneway._escape import excerpt
    from tuneway.errors import InvalidSpec

    raise InvalidSpec(f"{field} can't be {excerpt(word)}: it is one of {', '.join(words)}", field=field, hint=hint)
