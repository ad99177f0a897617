"""The learning curve as a PNG, and images as data URIs."""

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
    """Draw the same as `curve_svg`, as a PNG of `zoom` times its size.

    Raises:
        MissingExtra: The extra `report` isn't installed, which contains the renderer.
    """
    try:
        import resvg_py
    except ImportError:
        raise MissingExtra("the renderer for PNG images isn't installed", extra="report") from None
    svg = curve_svg(rows, checkpoints, metric=metric, theme=theme, width=width, height=height, title=title)
    # Slim containers have no fonts, so texts would be missing without an error. The package contains the letters that
    # charts use (Roboto by Google, Apache-2.0, reduced to Latin). System fonts are loaded only for a title that needs
    # other letters.
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
    """Turn an SVG or PNG image into a data URI, for Markdown such as `![loss]({data_uri(svg)})`."""
    kind, content = ("svg+xml", image.encode()) if isinstance(image, str) else ("png", image)
    return f"data:image/{kind};base64,{b64encode(content).decode()}"
