"""Run benches, and write what they measured into RESULTS.md.

    python bench/results.py clear                       begin a run: forget the pieces of the one before
    python bench/results.py run bench/bench_waits.py    run benches here, and keep what they print as pieces
    python bench/results.py write                       the pieces of this run, as bench/RESULTS.md
    python bench/results.py add                         the pieces of this run, and what RESULTS.md says of the others

Each engine has an environment of its own, so the benches of one run are run in several, and meet in `.bench/`.
Nothing gets into the table in any other way; a bench that wasn't run, or broke, is said to be so. `make bench` runs
all and writes; `add` is for benches that were run again, or are new. Both renew the figures that the docs tell.
"""

from __future__ import annotations

import ast
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
PIECES = HERE.parent / ".bench"
TABLE = HERE / "RESULTS.md"
TOLD = HERE.parent / "docs" / "explanation" / "figures.md"

# Whose versions a figure may depend on, where they are installed.
NAMED = (
    *("tuneway", "httpx", "pydantic", "tenacity", "numpy", "starlette", "uvicorn", "matplotlib", "openai", "together"),
    *("apache-airflow", "apache-airflow-providers-openai", "prefect", "dagster", "mlflow-skinny"),
    *("torch", "transformers", "peft", "trl", "bitsandbytes", "ray"),
    *("pandas", "polars", "pyarrow", "fsspec", "datasets"),
)

HEAD = (
    "# Figures beside peers\n",
    "Written by `make bench` from what its benches measured; do not edit. *Ours* and *peer* come from the same run",
    "of the same script. A target is on their ratio where there is a peer, else on ours alone.\n",
)

NOT_RUN = "**not run**"

Piece = dict[str, Any]
Cells = tuple[str, ...]


def run(script: Path) -> Piece:
    """Run a bench, show what it prints, and keep its figures."""
    print(f"\n{script.name}", flush=True)
    began, figures = time.monotonic(), []
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            row = _figure(line)
            if row is None:
                print(f"  {line}", end="", flush=True)
            else:
                figures.append(row)
    return {
        "bench": script.stem,
        "status": process.returncode,
        "seconds": round(time.monotonic() - began),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "python": platform.python_version(),
        "versions": dict(_versions()),
        "figures": figures,
    }


def keep(piece: Piece) -> int:
    """Keep a piece for the table; gives 1 if its bench broke."""
    PIECES.mkdir(exist_ok=True)
    (PIECES / f"{piece['bench']}.json").write_text(json.dumps(piece, indent=1) + "\n", encoding="utf-8")
    return int(piece["status"] != 0)


def machine() -> dict[str, Any]:
    """What it was measured on, and how busy that was."""
    return {
        "system": f"{platform.system()} {platform.release().split('-')[0]}, {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "load": round(os.getloadavg()[0], 1),
    }


class Page(NamedTuple):
    """What RESULTS.md says.

    Args:
        rows: The table of figures.
        ended: What was run: the bench, what it measures, how it ended.
        places: Where it was measured.
        versions: Versions of what was installed, after the names of the benches that met them.
    """

    rows: list[Cells]
    ended: list[Cells]
    places: list[str]
    versions: list[str]

    @classmethod
    def of(cls, pieces: Sequence[Piece], benches: Sequence[Path]) -> Page:
        """The pieces of a run."""
        known = {piece["bench"]: piece for piece in pieces}
        return cls(
            rows=[_row(piece["bench"], figure) for piece in pieces for figure in piece["figures"]],
            ended=[_ended(path, known.get(path.stem)) for path in benches],
            places=_places(pieces),
            versions=list(_environments(pieces)),
        )

    @classmethod
    def read(cls, text: str) -> Page:
        """A page that was written before."""
        parts = [part.splitlines() for part in text.split("\n## ")]
        figures, ended, places, versions = ([line for line in part if line[:2] in ("| ", "- ")] for part in parts)
        return cls(
            rows=[_cells(line) for line in figures[2:]],
            ended=[_cells(line) for line in ended[2:]],
            places=[line[2:] for line in places],
            versions=[line[2:] for line in versions],
        )

    def with_kept(self, before: Page) -> Page:
        """This page, with what one before says of the benches that weren't run again."""
        again = {bench.removeprefix("bench_") for bench, _, end in self.ended if end != NOT_RUN}
        ends = {bench: end for bench, _, end in before.ended}
        kept = [(names, text) for line in before.versions for names, _, text in [line.partition(". ")]]
        left = [(", ".join(name for name in names.split(", ") if name not in again), text) for names, text in kept]
        ran = f"{', '.join(sorted(again))}: "
        return Page(
            rows=sorted([*self.rows, *(row for row in before.rows if row[0] not in again)], key=lambda row: row[0]),
            ended=[(bench, about, ends.get(bench, end) if end == NOT_RUN else end) for bench, about, end in self.ended],
            places=[
                *(line for line in before.places if not again.issuperset(line.partition(": ")[0].split(", "))),
                *(f"{ran}{line}" for line in self.places if line not in before.places),
            ],
            versions=sorted([*self.versions, *(f"{names}. {text}" for names, text in left if names)]),
        )

    def __str__(self) -> str:
        verdicts = [row[-1] for row in self.rows]
        met, missed, without = (verdicts.count(word) for word in ("pass", "**miss**", ""))
        parts = [
            *HEAD,
            f"{met} targets met, {missed} missed; {without} without one.\n",
            _table(("Bench", "What", "Ours", "Peer", "Ratio", "Target", "Met"), self.rows),
            "## What was run\n",
            _table(("Bench", "What it measures", "Ended"), self.ended),
            "## Where\n",
            *(f"- {line}" for line in self.places),
            "\n## Versions\n",
            *(f"- {line}" for line in self.versions),
        ]
        return "\n".join(parts) + "\n"


def _figure(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and "figure" in row else None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"


def _versions() -> Iterator[tuple[str, str]]:
    for name in NAMED:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def _row(bench: str, figure: dict[str, Any]) -> tuple[str, ...]:
    unit = f" {figure['unit']}" if figure["unit"] else ""
    alone = figure["peer"] is None
    aim = "" if figure["target"] == "none" else f"{figure['target']}{unit}" if alone else f"ratio {figure['target']}"
    return (
        bench.removeprefix("bench_"),
        figure["figure"],
        f"{_short(figure['ours'])}{unit}",
        "" if alone else f"{_short(figure['peer'])}{unit}",
        "" if figure["ratio"] is None else f"{figure['ratio']:.3g}",
        aim.replace("<=", "≤").replace(">=", "≥"),
        "" if not aim else "pass" if figure["pass"] else "**miss**",
    )


def _short(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"


def _ended(path: Path, piece: Piece | None) -> tuple[str, ...]:
    about = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
    if piece is None:
        end = NOT_RUN
    elif piece["status"]:
        end = f"**broke** (exit status {piece['status']}) after {piece['seconds']} s"
    else:
        end = f"{piece['at'][:16].replace('T', ' ')} UTC, {piece['seconds']} s"
    return path.stem, " ".join(about.split()), end


def _places(pieces: Sequence[Piece]) -> list[str]:
    if not pieces:
        return ["nothing was run"]
    place = pieces[0]["machine"]
    loads = [piece["machine"]["load"] for piece in pieces]
    return [
        f"{place['processor']}, {place['cores']} cores, {place['memory_gib']} GiB of memory",
        f"{place['system']}",
        f"Load average when the benches had ended: {min(loads)} to {max(loads)}",
    ]


def _environments(pieces: Sequence[Piece]) -> Iterator[str]:
    """Each set of versions once, with the benches that met it."""
    benches: dict[str, list[str]] = {}
    for piece in pieces:
        words = ", ".join(f"{name} {version}" for name, version in piece["versions"].items())
        benches.setdefault(f"Python {piece['python']}: {words}", []).append(piece["bench"].removeprefix("bench_"))
    for text, names in benches.items():
        yield f"{', '.join(names)}. {text}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines) + "\n"


def _cells(line: str) -> Cells:
    """The cells of a line of a table that `_table` wrote."""
    return tuple(cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1])


def retold(text: str, figures: Sequence[Cells]) -> str:
    """A page that tells some of the figures, with the newest ones: a row is known by its words and its unit."""
    newest = {_known_by(row[1:]): row[1:5] for row in figures}

    def line_of(line: str) -> str:
        row = newest.get(_known_by(_cells(line))) if line.startswith("|") else None
        return f"| {' | '.join(row)} |" if row else line

    return "\n".join(map(line_of, text.split("\n")))


def _known_by(row: Cells) -> tuple[str, ...]:
    what, ours, *_ = (*row, "", "")
    return what, ours.partition(" ")[2]


def main(words: Sequence[str]) -> int:
    """Do one of the four."""
    match words:
        case ["clear"]:
            shutil.rmtree(PIECES, ignore_errors=True)
        case ["run", *scripts]:
            return max([keep(run(Path(script))) for script in scripts], default=0)
        case ["write" | "add" as how]:
            pieces = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(PIECES.glob("*.json"))]
            page = Page.of(pieces, sorted(HERE.glob("bench_*.py")))
            if how == "add":
                page = page.with_kept(Page.read(TABLE.read_text(encoding="utf-8")))
            TABLE.write_text(str(page), encoding="utf-8")
            TOLD.write_text(retold(TOLD.read_text(encoding="utf-8"), page.rows), encoding="utf-8")
            print(page)
        case _:
            sys.exit(__doc__)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
