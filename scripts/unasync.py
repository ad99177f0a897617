"""Write the blocking client from the awaited one: `python scripts/unasync.py`.

Each file in FILES is read, translated word by word, and written beside its source. `--check` writes nothing: it
names the files that aren't what the translation gives, and exits with 1.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = "core/tuneway/client"

FILES = {
    "_async.py": "_sync.py",
    "_async_data.py": "_blocking_data.py",
    "_async_operations.py": "_blocking_operations.py",
    "_async_registering.py": "_blocking_registering.py",
    "_async_steps.py": "_blocking_steps.py",
    "_async_waiting.py": "_blocking_waiting.py",
}
"""The awaited source of each blocking file."""

PHRASES = {
    "The asyncio client.": "The blocking client.",
    "The asyncio client's steps": "The blocking client's steps",
    "one method each, to be awaited:": "one method each, blocking:",
    "A client belongs to the loop it is first used on.\n\n"
    "    Making one takes some 20 ms, so make one for all, and outside of a busy loop where you can.\n":
    "Threads may share a client.\n",
}  # fmt: skip
"""Parts of docstrings that differ between the two. Each must occur in a source."""

WORDS = [
    (r"  # noqa: ASYNC\d+\b.*$", ""),
    (r"\basync (def|for|with)\b", r"\1"),
    (r"\bawait (?=\S)", ""),
    (r"\b__a(enter|exit|iter|next)__", r"__\1__"),
    (r"\ba(close|closing|iter|next)\b", r"\1"),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\benter_async_context\b", "enter_context"),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"\b_async_(?=[a-z])", "_blocking_"),
    (r"(?<=\.)_async\b", "_sync"),
    (r"\b(_?)Async(?=[A-Z])", r"\1"),  # AsyncClient, AsyncIterator, _AsyncNamespace, httpx.AsyncClient
    (r"^( *)for (\w+) in (.+):\n +yield \2$", r"\1yield from \3"),  # async generators lack `yield from`
]
"""Patterns and their replacements, applied in this order to a whole file, docstrings included."""

LEFT = re.compile(r"\b(a?sync|await|asyncio|anyio)\b|Async|_async", re.IGNORECASE)
"""Words that no blocking file may contain: the tables above lack a line for them."""

# Not formatted: a line that `async` or `await` made too long stays wrapped here, where it would fit.
HEADER = """\
# Generated from {source} by scripts/unasync.py: change that file, then run the script.
# fmt: off
"""

IMPORT = re.compile(r"^from (\S+) import (?:\(([^()#]*)\)|([^()#\n]*))$", re.MULTILINE)


class Untranslated(Exception):
    """A source contains something that the tables above can't translate."""


def translated(text: str, source: str) -> str:
    """The blocking form of a file's text."""
    for phrase, other in PHRASES.items():
        text = text.replace(phrase, other)
    for pattern, other in WORDS:
        text = re.sub(pattern, other, text, flags=re.MULTILINE)
    for line in text.splitlines():
        if left := LEFT.search(line):
            raise Untranslated(
                f"{source}: {left.group()!r} is left in {line.strip()!r}: add it to WORDS or PHRASES in "
                f"scripts/unasync.py, or move it to where the two differ (drivers, watcher)"
            )
    return HEADER.format(source=source) + IMPORT.sub(_in_order, text)


def _in_order(found: re.Match[str]) -> str:
    """An import's names in ruff's order again, each once."""
    module, lines, line = found.groups()
    names = sorted({name.strip() for name in (lines or line).split(",") if name.strip()}, key=_rank)
    if lines:
        return f"from {module} import (\n" + "".join(f"    {name},\n" for name in names) + ")"
    return f"from {module} import {', '.join(names)}"


def _rank(name: str) -> tuple[int, str, str]:
    """Constants, then classes, then the rest, as ruff sorts them."""
    kind = 0 if len(name) > 1 and name.isupper() else 1 if name[0].isupper() else 2
    return kind, name.lower(), name


def generated(folder: Path) -> Iterator[tuple[Path, str]]:
    """Each blocking file, and the text that it should have."""
    sources = {source: (folder / source).read_text(encoding="utf-8") for source in FILES}
    for phrase in PHRASES:
        if not any(phrase in text for text in sources.values()):
            raise Untranslated(f"no source says {phrase!r} any more: change PHRASES in scripts/unasync.py")
    for source, text in sources.items():
        yield folder / FILES[source], translated(text, source)


def main() -> int:
    """Write the files, or check them."""
    parser = argparse.ArgumentParser(description="Write the blocking client from the awaited one.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a file would change")
    check = parser.parse_args().check
    try:
        files = list(generated(ROOT / FOLDER))
    except Untranslated as error:
        print(error, file=sys.stderr)
        return 1
    status = 0
    for path, text in files:
        # bytes: the line ends count too
        if path.exists() and path.read_bytes() == text.encode():
            continue
        name = path.relative_to(ROOT).as_posix()
        if check:
            print(f"{name} isn't what scripts/unasync.py makes: run it, and commit the file", file=sys.stderr)
            status = 1
        else:
            path.write_bytes(text.encode())
            print(f"wrote {name}")
    return status


if __name__ == "__main__":
    sys.exit(main())
