"""The code in README and docs, run as a reader would: each page from its top, in an empty folder.

A page's blocks share what a reader's would: one folder, one terminal's environment, one Python session.

    ```python               runs, in the page's Python session
    ```bash                 runs, in the page's folder; what it exports stays
    ```text                 just below a block that ran: what it printed; `...` stands for anything
    ```python title="a.py"  is written to that file, for a later block to run; likewise any language
    ```json, ```toml        is read by a parser

A block that needs an engine (it imports one, or the comment `<!-- engine: airflow -->` is above it) runs where
that engine is installed, as a program of its own. A block that can't run says why, above it:

    <!-- not run: it would install packages -->
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
ENGINES = ("airflow", "prefect", "dagster")

_FENCE = re.compile(
    r"(?P<note><!-- (?:not run|engine): (?P<word>.*?) -->\n+)?"
    r"^(?P<indent> *)```(?P<language>\w*)(?P<rest>[^\n]*)\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_IMPORTS_ENGINE = re.compile(rf"^\s*(?:from|import) ({'|'.join(ENGINES)})\w*", re.MULTILINE)
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """One block of a page."""

    page: str
    line: int
    language: str
    code: str
    title: str | None = None
    engine: str | None = None
    not_run: str | None = None

    @property
    def place(self) -> str:
        """Where it stands, as editors understand it."""
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """A page's blocks, in order."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        indent, note, word = found["indent"], found["note"] or "", found["word"]
        code = "".join(line.removeprefix(indent) for line in found["code"].splitlines(keepends=True))
        title = _TITLE.search(found["rest"])
        imported = _IMPORTS_ENGINE.search(code)
        yield Block(
            page=str(page.relative_to(ROOT)),
            line=text.count("\n", 0, found.start("language")) + 1,
            language=found["language"],
            code=code,
            title=title[1] if title else None,
            engine=word if "engine:" in note else imported[1] if imported and found["language"] == "python" else None,
            not_run=word if "not run:" in note else None,
        )


def read(block: Block) -> None:
    """Let a parser read what isn't run."""
    {"json": json.loads, "toml": tomllib.loads}[block.language](block.code)
