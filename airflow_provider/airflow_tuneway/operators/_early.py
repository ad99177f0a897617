"""What is refused when a DAG file is parsed: arguments that are given literally, and are wrong.

Templates and outputs of other tasks are checked when the task runs, before anything is sent; so is everything of a
mapped task, which is made when it runs. Importing the core takes too long to do it for each DAG file, so it is asked
only about what doesn't look plainly right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, get_args

from airflow_tuneway._literals import is_literal, is_mapped
from tuneway.choices import Choice, Order, check_word

REGISTRATION_WORDS = ("name", "alias", "checkpoint")
FILES = ("training_file", "validation_file")
DATA = ("training_data", "validation_data")

STANDS_IN = "template"
"""Replaces a value that is only known at run time, so that the core can check the rest."""


def check_word_early(operator: Any, word: object, choice: Any, *, field: str) -> None:
    """Refuse a word that isn't one of these."""
    if is_literal(word) and not is_mapped(operator):
        check_word(word, choice, field=field)


def check_registration_early(given: Mapping[str, Any]) -> None:
    """Refuse wrong words and gates of a registration."""
    words = {name: given[name] for name in REGISTRATION_WORDS if name in given and is_literal(given[name])}
    named, gates = "name" in given, given.get("gates")
    if _are_plain(words) and not gates and (named or "alias" not in given):
        return
    from tuneway.registry import check_registration

    checked: dict[str, Any] = {name: words[name] for name in ("alias", "checkpoint") if name in words}
    name = words.get("name", STANDS_IN) if named else None
    check_registration(**checked, name=name, gates=gates or ())


def check_training_early(given: Mapping[str, Any]) -> None:
    """Refuse wrong fields of a training, and data that is given twice or not at all."""
    both = [all(name in given for name in pair) for pair in zip(DATA, FILES, strict=True)]
    literal = {name: value for name, value in given.items() if name not in (*DATA, *FILES) and is_literal(value)}
    if _are_plain(literal) and not any(both) and (FILES[0] in given or DATA[0] in given):
        return
    from tuneway.steps import asked_training

    asked_training(literal | {name: _place(given[name]) for name in (*DATA, *FILES, "model") if name in given})


def check_wait_early(timeout: Any, poll: Any) -> None:
    """Refuse a wrong time-out or schedule of a wait."""
    if timeout is not None and is_literal(timeout) and not _is_seconds(timeout):
        from tuneway.flows import deadline_after

        deadline_after(timeout, 0.0)
    if poll is not None and is_literal(poll) and not _is_schedule(poll):
        from airflow_tuneway._connection import as_schedule
        from tuneway import Poll
        from tuneway.client._settings import schedule

        schedule(as_schedule(poll), Poll())


def check_report_early(report_to: Any) -> None:
    """Refuse a wrong place of a report."""
    if report_to is None or not is_literal(report_to) or _is_report(report_to):
        return
    from tuneway.report import check_report_place

    check_report_place(report_to, field="report_to")


def _place(value: Any) -> Any:
    """Replace data or a model by a placeholder: the core checks the other fields, and reads no data."""
    known = isinstance(value, int | float) or (isinstance(value, str) and not value)
    return value if known else f"{STANDS_IN}.jsonl"


# --- What the core surely accepts. ---


def _matches(pattern: str) -> Callable[[Any], bool]:
    compiled = re.compile(pattern)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


_is_report = _matches(r"[\w./:{}-]+\.(html|svg|png)")


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9


def _is_schedule(value: Any) -> bool:
    known = isinstance(value, Mapping) and value.keys() <= {"minimum", "maximum"}
    return known and all(map(_is_seconds, value.values())) and len(set(value.values())) == 1


def _is_method(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and value.get("type") == "supervised"
        and value.keys() <= {"type", "n_epochs", "batch_size"}
        and all(_is_whole(value[name], 1, 50) for name in value if name != "type")
    )


def _is_metadata(value: Any) -> bool:
    short = _matches(r"[\w.,: -]{1,64}")
    return (
        isinstance(value, Mapping) and len(value) < 10 and all(short(item) for pair in value.items() for item in pair)
    )


_PLAIN: dict[str, Callable[[Any], bool]] = {
    "checkpoint": _matches("|".join(get_args(Choice))),
    "name": _matches(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"),
    "alias": _matches(r"(?!latest|previous)[a-z]{1,64}"),
    "model": _matches(r"[\w./:@-]+"),
    "suffix": _matches(r"[a-z0-9-]{1,18}"),
    "seed": lambda value: _is_whole(value, 0, 2**31 - 1),
    "method": _is_method,
    "metadata": _is_metadata,
    "order": _matches("|".join(get_args(Order))),
    "max_usd": _is_seconds,
}


def _are_plain(given: Mapping[str, Any]) -> bool:
    return all(name in _PLAIN and _PLAIN[name](value) for name, value in given.items())
