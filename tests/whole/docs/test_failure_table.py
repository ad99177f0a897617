"""What the failure table quotes is what the code says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TABLE = ROOT / "docs" / "guides" / "operations.md"
ANYTHING = "…"


def sayings() -> set[str]:
    """Every text in the core and the service, with an ellipsis where something varies."""
    found = set()
    for path in (path for root in ("core", "local_service") for path in (ROOT / root).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.add(
                    "".join(str(part.value) if isinstance(part, ast.Constant) else ANYTHING for part in node.values)
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def quoted() -> list[str]:
    """The first column, where it quotes."""
    rows = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    return [re.match(r"\| `(.+?)` \|", row)[1] for row in rows]


ALL = sayings()


@pytest.mark.parametrize("quote", quoted())
def test_the_code_says_so(quote):
    pieces = [re.escape(piece) for piece in quote.split(ANYTHING)]
    pattern = re.compile(".*".join(pieces), re.DOTALL)
    assert [text for text in ALL if pattern.search(text)], f"no text of the code says: {quote}"


def test_a_quote_that_nobody_says_would_be_noticed():
    assert len(quoted()) > 30
    assert not [text for text in ALL if "this was never said by anybody" in text]
