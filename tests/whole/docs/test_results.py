"""`make bench` writes what was measured, and says what wasn't."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[3] / "bench"

MEASURES = '''"""What it measures, beside a peer.

More about it.
"""
import sys
sys.path.insert(0, {bench!r})
from _figures import figure
print("a note")
figure("time | wall", ours=1.0, peer=2.0, unit="s", at_most=0.6)
figure("memory", ours=300.0, peer=None, unit="MiB", at_most=200)
figure("delay", ours=3.0, peer=6.0, unit="s")
'''


FIGURES = """Words.

| What | Tuneway | Peer | Ratio |
| --- | --- | --- | --- |
| delay | 9 s | 9 s | 1 |
| delay | 9 kB | 9 kB | 1 |
"""


@pytest.fixture
def results(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("bench_results", BENCH / "results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, place in {"HERE": tmp_path, "PIECES": tmp_path / ".bench", "TABLE": tmp_path / "RESULTS.md"}.items():
        monkeypatch.setattr(module, name, place)
    monkeypatch.setattr(module, "TOLD", tmp_path / "figures.md")
    module.TOLD.write_text(FIGURES)
    return module


@pytest.fixture
def bench(tmp_path):
    def write(name, *more):
        path = tmp_path / f"bench_{name}.py"
        path.write_text(MEASURES.format(bench=str(BENCH)) + "\n".join(more))
        return str(path)

    return write


def test_a_run_becomes_a_table(results, bench, capfd):
    assert results.main(["run", bench("small")]) == 0
    assert results.main(["write"]) == 0
    text = results.TABLE.read_text()
    assert "| small | time \\| wall | 1 s | 2 s | 0.5 | ratio ≤ 0.6 | pass |" in text
    assert "| small | memory | 300 MiB |  |  | ≤ 200 MiB | **miss** |" in text
    assert "| small | delay | 3 s | 6 s | 0.5 |  |  |" in text
    assert "1 targets met, 1 missed; 1 without one." in text
    assert "| bench_small | What it measures, beside a peer. |" in text
    assert "a note" in capfd.readouterr().out
    assert results.TOLD.read_text() == FIGURES.replace("9 s | 9 s | 1", "3 s | 6 s | 0.5")


def test_what_was_not_run_or_broke_is_said_to_be_so(results, bench):
    bench("idle")
    assert results.main(["run", bench("broken", "raise SystemExit(3)"), bench("fine")]) == 1
    results.main(["write"])
    text = results.TABLE.read_text()
    assert "| bench_idle | What it measures, beside a peer. | **not run** |" in text
    assert "**broke** (exit status 3)" in text
    assert "| fine | delay" in text


def test_a_new_run_forgets_the_one_before(results, bench):
    results.main(["run", bench("small")])
    results.main(["clear"])
    results.main(["write"])
    assert "| small |" not in results.TABLE.read_text()
    assert "nothing was run" in results.TABLE.read_text()


def test_benches_that_are_run_again_keep_the_rows_of_the_others(results, bench, monkeypatch):
    results.main(["run", bench("early"), bench("other")])
    results.main(["write"])
    results.main(["clear"])
    monkeypatch.setattr(results, "_versions", lambda: iter([("new", "2.0")]))
    results.main(["run", bench("early", "figure('new', ours=1.0, peer=None, unit='s')"), bench("late")])
    results.main(["add"])
    text = results.TABLE.read_text()
    rows = [line.split(" | ")[:2] for line in text.splitlines() if line.startswith(("| early", "| late", "| other"))]
    names = ["time \\| wall", "memory", "delay"]
    assert rows == [
        [f"| {one}", name] for one in ("early", "late", "other") for name in [*names, *["new"][one != "early" :]]
    ]
    assert "3 targets met, 3 missed; 4 without one." in text
    assert "not run" not in text
    assert "- early, late. Python " in text
    assert [line.partition(".")[0] for line in text.splitlines() if line.startswith("- other")] == ["- other"]
    results.main(["add"])
    assert results.TABLE.read_text() == text


def test_the_page_can_be_read_again(results):
    text = (BENCH / "RESULTS.md").read_text()
    assert str(results.Page.read(text)) == text


HEAD = "| What | Tuneway | Peer | Ratio |\n| --- |"
TELLING = [BENCH.parent / "README.md", BENCH.parent / "docs" / "explanation" / "figures.md"]


def told():
    """The rows of each table of figures on the pages that have one."""
    for page in TELLING:
        for table in page.read_text().split(HEAD)[1:]:
            yield from (tuple(cells_of(line)) for line in table.partition("\n\n")[0].splitlines()[1:])


def test_the_pages_tell_no_figure_that_was_not_measured():
    measured = {tuple(cells[1:5]) for cells in map(cells_of, (BENCH / "RESULTS.md").read_text().splitlines())}
    rows = list(told())
    assert len(rows) > 5
    assert [row for row in rows if row not in measured] == []


def cells_of(line):
    return [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("|") else []
