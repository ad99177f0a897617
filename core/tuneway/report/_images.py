"""The learning curve as a PNG, and images inside of text."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from importlib import resources

from tuneway.errors import MissingExtra
from tuneway.models import Checkpoint
from tuneway.report._series import Row
from tuneway.report._svg import curve_svg


def curve_png(
    rows: Iterable[Row],
    checkpoints: Sequence[Checkpoint] = (),
    *,
    metric: str = "loss",
    theme: str = "light",
    width: int = 720,
    height: int = 320,
    title: str | None = None,
    zoom: int = 2,
) -> bytes:
    """Draw what `curve_svg` draws, as a PNG of `zoom` times its size.

    Raises:
        MissingExtra: The extra `report`, which does the drawing, isn't installed.
    """
    try:
        import resvg_py
    except ImportError:
        raise MissingExtra("drawing a PNG needs a renderer that isn't installed", extra="report") from None
    svg = curve_svg(rows, checkpoints, metric=metric, theme=theme, width=width, height=height, title=title)
    # Slim containers have no fonts at all, and text would silently be missing: so bring the letters that
    # charts use (Roboto by Google, Apache-2.0, cut down to Latin), and load the system's only for a title
    # that needs others.
    font = resources.files("tuneway.report").joinpath("roboto-latin.ttf")
    with resources.as_file(font) as path:
        png: bytes = resvg_py.svg_to_bytes(
            svg_string=svg,
            font_files=[str(path)],
            font_family="Roboto",
            sans_serif_family="Roboto",
            skip_system_fonts=(title or "").isascii(),
            zoom=zoom,
        )
    return png


def data_uri(image: str | bytes) -> str:
    """An SVG or PNG image as an address that holds it, for Markdown: `![loss]({data_uri(svg)})`."""
    kind, content = ("svg+xml", image.encode()) if isinstance(image, str) else ("png", image)
    return f"data:image/{kind};base64,{b64encode(content).decode()}"
