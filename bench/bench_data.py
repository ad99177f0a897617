"""Training data from a frame, from a store and from a file: what checking each costs, beside the other ways.

The peer's way on a frame is `to_json` of the `datasets` package and the `together` package's checker on the file that
it writes. All take turns in one process, and the best of each counts. Time is CPU time of all threads, since what else
a machine does is no part of it.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import fsspec
import pandas as pd
import polars as pl
import pyarrow as pa
from _figures import figure
from bench_validate import MB, make
from together.lib.utils.files import check_file

from tuneway.dataset import validate

ROUNDS = 5
SIZE = 100 * MB


def best_of(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The best time of each, taken in turns, so that noise hits all alike."""
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.process_time()
            way()
            best[name] = min(best[name], time.process_time() - start)
    return best


def ours(data: Any) -> Callable[[], object]:
    """Check the data with Tuneway: read, check, hash, and spool whatever isn't a file."""

    def run() -> None:
        report = validate(data, tokenizer="estimate")
        assert report.ok, report.counts

    return run


def peers(frame: Callable[[], datasets.Dataset], path: Path) -> Callable[[], object]:
    """The peer's way: write a file, then check it."""

    def run() -> None:
        frame().to_json(path)
        assert check_file(path)["is_check_passed"]

    return run


def side_by_side(folder: Path, what: str, *, turns: int, words: int) -> None:
    """Print the figures for one kind of rows."""
    path = make(folder / "train.jsonl", SIZE, turns=turns, words=words)
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    fsspec.filesystem("memory").pipe("/bench/train.jsonl", path.read_bytes())
    frames = {"pandas": pd.DataFrame(rows), "polars": pl.DataFrame(rows), "Arrow": pa.Table.from_pylist(rows)}
    peer = folder / "peer.jsonl"
    best = best_of(
        {
            "a file": ours(path),
            "a store in memory": ours("memory://bench/train.jsonl"),
            "a list of rows": ours(rows),
            **{f"a frame of {name}": ours(frame) for name, frame in frames.items()},
            "peer, pandas": peers(lambda: datasets.Dataset.from_pandas(frames["pandas"]), peer),
            "peer, Arrow": peers(lambda: datasets.Dataset(frames["Arrow"]), peer),
        }
    )
    size = SIZE // MB
    for name in ("a store in memory", "a list of rows", *(f"a frame of {name}" for name in frames)):
        figure(
            f"validate {size} MB of {what} from {name}, beside a file",
            ours=best[name],
            peer=best["a file"],
            unit="CPU s",
            at_most=1.3,
        )
    for name in ("pandas", "Arrow"):
        figure(
            f"validate {size} MB of {what} from a frame of {name}, beside datasets' to_json and together's check_file",
            ours=best[f"a frame of {name}"],
            peer=best[f"peer, {name}"],
            unit="CPU s",
            at_most=1.0,
        )


def main() -> None:
    """Print the figures."""
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory(prefix="tuneway-bench-") as folder:
        side_by_side(Path(folder), "chats of about 2 kB", turns=4, words=80)
        side_by_side(Path(folder), "chats of about 300 bytes", turns=1, words=20)


if __name__ == "__main__":
    main()
