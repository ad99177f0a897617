"""Drawing a training of 100,000 steps, beside matplotlib drawing the same curves.

uv run --group bench --extra report --with matplotlib python bench/bench_report.py
"""

from __future__ import annotations

import io
import math
import random
import statistics
import time
from collections.abc import Callable

from _figures import figure

from tuneway.models import Job, MetricRow
from tuneway.report import Report, curve_png, render_html, terminal_curve

STEPS = 100_000
RUNS = 5


def rows() -> list[MetricRow]:
    """A noisy descent, validated every 500 steps."""
    noise = random.Random(7)
    made = []
    for step in range(STEPS):
        level = 3 * math.exp(-step / 30_000)
        held_out = {"valid_loss": level + 0.1, "valid_mean_token_accuracy": 1 / (1 + level)} if step % 500 == 0 else {}
        loss, accuracy = level + noise.gauss(0, 0.3) ** 2, noise.random()
        made.append(MetricRow(step=step, train_loss=loss, train_accuracy=accuracy, **held_out))
    return made


def matplotlib_svg(data: list[MetricRow]) -> bytes:
    """The page's two charts, as plainly as matplotlib draws them."""
    return _matplotlib(data, "svg")


def matplotlib_png(data: list[MetricRow]) -> bytes:
    """The same as one image."""
    return _matplotlib(data, "png")


def _matplotlib(data: list[MetricRow], kind: str) -> bytes:
    from matplotlib.figure import Figure

    image = Figure(figsize=(10, 3))
    for axes, names in zip(
        image.subplots(1, 2),
        (("train_loss", "valid_loss"), ("train_accuracy", "valid_mean_token_accuracy")),
        strict=True,
    ):
        for name in names:
            pairs = [(row.step, value) for row in data if (value := getattr(row, name)) is not None]
            axes.plot(*zip(*pairs, strict=True), label=name)
        axes.legend()
    out = io.BytesIO()
    image.savefig(out, format=kind, dpi=200)
    return out.getvalue()


def median_seconds(*drawings: Callable[[], object]) -> list[float]:
    """The middle of several runs of each, taken in turns, so that noise hits all alike."""
    took: list[list[float]] = [[] for _ in drawings]
    for _ in range(RUNS):
        for draw, seconds in zip(drawings, took, strict=True):
            start = time.perf_counter()
            draw()
            seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds) for seconds in took]


def main() -> None:
    """Print the figures."""
    data = rows()
    report = Report(job=Job(id="ftjob-bench", status="succeeded"), rows=data)
    drawings: list[Callable[[], object]] = [
        lambda: render_html(report),
        lambda: [curve_png(data, metric=metric) for metric in ("loss", "accuracy")],
        lambda: terminal_curve(data),
        lambda: matplotlib_svg(data),
        lambda: matplotlib_png(data),
    ]
    page, images, text, peer_page, peer_images = median_seconds(*drawings)
    size, peer_size = len(render_html(report).encode()) / 1e3, len(matplotlib_svg(data)) / 1e3
    figure("page of 100,000 steps, beside two charts as SVG", ours=page, peer=peer_page, unit="s", at_most=1.2)
    figure("size of that page", ours=size, peer=peer_size, unit="kB", at_most=1)
    figure("page of 100,000 steps, alone", ours=page, peer=None, unit="s", at_most=1)
    figure("size of that page, alone", ours=size, peer=None, unit="kB", at_most=300)
    figure("two charts as PNG", ours=images, peer=peer_images, unit="s", at_most=1.2)
    figure("a curve in the terminal, alone", ours=text, peer=None, unit="s", at_most=1)


if __name__ == "__main__":
    main()
