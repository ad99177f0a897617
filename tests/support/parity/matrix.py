"""What differs from the plain client, and all of it as one matrix: scenario × runner.

    python -m support.parity.matrix          prints it, from the pieces that the tests have left

No environment has all engines, so each leaves its piece in a folder, `.parity/`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from support.parity.scenarios import TABLE

PIECES = Path(__file__).parents[3] / ".parity"
SAME = "same"
ONE_STEP = "one step: "
UNFINISHED = {"run": "it didn't come to its end"}
END = {status: status for status in ("succeeded", "failed", "cancelled")}
NAMES = ("plain client", "command line", "Airflow", "Prefect", "Dagster")


def differing(plain: Mapping[str, Any], seen: Mapping[str, Any]) -> dict[str, str]:
    """What differs, and where first: {"reached": "[1].body.seed: 7, not 8"}."""
    return {name: next(_places(seen[name], plain[name])) for name in plain if seen[name] != plain[name]}


def _places(seen: Any, plain: Any, place: str = "") -> Iterator[str]:
    """Where two values differ, in depth-first order."""
    if isinstance(seen, dict) and isinstance(plain, dict):
        for name in plain.keys() | seen.keys():
            if seen.get(name) != plain.get(name):
                yield from _places(seen.get(name), plain.get(name), f"{place}.{name}".lstrip("."))
    elif isinstance(seen, list) and isinstance(plain, list) and len(seen) == len(plain):
        for number, (one, other) in enumerate(zip(seen, plain, strict=True)):
            if one != other:
                yield from _places(one, other, f"{place}[{number}]")
    else:
        yield f"{place}: {_short(seen)}, not {_short(plain)}".lstrip(": ")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:300]}…"


def in_all(found: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """What differs in all forms of one runner: of the one-step form under a name of its own."""
    return {
        what if form == "steps" else f"{ONE_STEP}{what}": place
        for form, differences in found.items()
        for what, place in differences.items()
    }


def undeclared(scenario: str, runner: str, found: Mapping[str, str]) -> list[str]:
    """Differences without a reason, and reasons without a difference. A reason holds for both forms."""
    wanted = TABLE[scenario].differs.get(runner)
    declared = wanted.what if wanted else frozenset()
    differing = {what.removeprefix(ONE_STEP) for what in found}
    return [f"{what}: {place}" for what, place in found.items() if what.removeprefix(ONE_STEP) not in declared] + [
        f"{what} is the same now: its reason can go" for what in declared if what not in differing
    ]


def keep(scenario: str, runner: str, found: Mapping[str, str]) -> None:
    """Leave a cell for the matrix."""
    PIECES.mkdir(exist_ok=True)
    piece = PIECES / f"{runner.replace(' ', '-').lower()}.json"
    cells = json.loads(piece.read_text()) if piece.exists() else {"runner": runner, "cells": {}}
    cells["cells"][scenario] = dict(found)
    piece.write_text(json.dumps(cells, indent=1, ensure_ascii=False))


# --- The matrix. ---


def markdown(pieces: Mapping[str, Mapping[str, Mapping[str, str]]]) -> str:
    """The matrix with its reasons as a page's text; `pieces` are what differed, by runner and scenario."""
    names = [name for name in NAMES if name in pieces]
    notes: list[str] = []
    lines = [f"| What happens | {' | '.join(names)} |", f"| --- |{' --- |' * len(names)}"]
    for scenario, row in TABLE.items():
        cells = [_cell(scenario, name, pieces[name].get(scenario), notes) for name in names]
        lines.append(f"| {row.title} | {' | '.join(cells)} |")
    lines += ["", *(f"{number}. {note}" for number, note in enumerate(notes, 1))]
    return "\n".join(lines).rstrip() + "\n"


def _cell(scenario: str, runner: str, found: Mapping[str, str] | None, notes: list[str]) -> str:
    if found is None:
        return "not run"
    if runner == NAMES[0] and not found:
        return _what_happens(TABLE[scenario].expects)
    bad = undeclared(scenario, runner, found)
    if bad:
        return "**differs**: " + "; ".join(bad).replace("|", "\\|").replace("\n", " ")
    known = TABLE[scenario].differs.get(runner)
    if known is None:
        return SAME
    note = f"{runner}: {known.why}"
    if note not in notes:
        notes.append(note)
    return f"{', '.join(sorted(known.what))}: see {notes.index(note) + 1}"


def _what_happens(expects: Mapping[str, Any]) -> str:
    """What the plain client does, which all others are compared with."""
    sent = [_count(expects[f"{word}s"], word) for word in ("file", "create", "cancel") if expects[f"{word}s"]]
    made = _count(expects["versions"], "version") if expects["versions"] else ""
    ends = ", ".join(dict.fromkeys(END.get(status, "the job goes on") for status in expects["jobs"]))
    error = "an error" if "error" in expects else ""
    return "; ".join(filter(None, [", ".join(sent) or "nothing sent", ends, made, error]))


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def collect() -> dict[str, dict[str, dict[str, str]]]:
    """All pieces that there are."""
    pieces = [json.loads(path.read_text()) for path in sorted(PIECES.glob("*.json"))]
    return {piece["runner"]: piece["cells"] for piece in pieces}


if __name__ == "__main__":
    found = collect()
    if not found:
        sys.exit(f"There are no pieces in {PIECES}: run tests/whole/parity in each engine's environment first.")
    sys.stdout.write(markdown(found))
