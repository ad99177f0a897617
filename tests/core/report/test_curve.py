"""The learning curve, wherever it is drawn: as SVG, as PNG, in a terminal."""

from __future__ import annotations

import itertools
import math
import re
import sys
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pictures import pixels

from tuneway.errors import InvalidSpec, MissingExtra
from tuneway.models import Checkpoint, MetricRow
from tuneway.report import curve_png, curve_svg, data_uri, sparkline, terminal_curve
from tuneway.report._theme import PAGE, THEMES

SVG = "{http://www.w3.org/2000/svg}"
BLUE = "#0072b2"
HELD_OUT = {30: 1.4, 60: 0.9, 90: 1.1}
ROWS = [MetricRow(step=step, train_loss=3 / step**0.3, valid_loss=HELD_OUT.get(step)) for step in range(1, 91)]
CHECKPOINTS = [
    Checkpoint(id=f"ftckpt-{step}", step_number=step, metrics={"full_valid_loss": loss})
    for step, loss in HELD_OUT.items()
]


def parsed(*arguments, **options):
    return ET.fromstring(curve_svg(*arguments, **options))


def texts(svg):
    return [node.text for node in svg.iter(f"{SVG}text")]


def paths(svg, colour=BLUE):
    return [node.get("d") for node in svg.iter(f"{SVG}path") if node.get("stroke") == colour]


def coordinates(svg):
    """Every absolute x and y that is drawn."""
    for node in svg.iter():
        for one, other in (("x", "y"), ("cx", "cy")):
            if node.tag != f"{SVG}svg" and node.get(one):
                yield float(node.get(one)), float(node.get(other))
        for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", node.get("d") or ""):
            yield float(x), float(y)


def test_a_curve_says_in_words_what_it_shows():
    svg = parsed(ROWS, CHECKPOINTS, theme="light")
    assert svg.get("role") == "img"
    assert svg.find(f"{SVG}title").text == "Loss by training step"
    summary = svg.find(f"{SVG}desc").text
    assert "train from 3 at step 1 to 0.7778 at step 90" in summary
    assert "checkpoints at step 30, 60, 90" in summary
    assert svg.get("aria-label") == f"Loss by training step: {summary}"


def test_series_differ_in_more_than_their_colour():
    svg = parsed(ROWS, CHECKPOINTS, theme="light")
    styles = {node.get("stroke"): node.get("stroke-dasharray") for node in svg.iter(f"{SVG}path") if node.get("stroke")}
    light = THEMES["light"]
    dashes = [styles[colour] for colour in (light.train, light.valid, light.full_valid)]
    assert len(set(dashes)) == 3


def test_the_best_checkpoint_is_named():
    assert texts(parsed(ROWS, CHECKPOINTS)).count("best") == 1
    (ring,) = [node for node in parsed(ROWS, CHECKPOINTS).iter(f"{SVG}circle") if node.get("fill") == "none"]
    flags = [node.get("d") for node in parsed(ROWS, CHECKPOINTS).iter(f"{SVG}path") if "l-4.5-8" in node.get("d")]
    assert f"M{ring.get('cx').split('.')[0]}" in flags[2]  # after the legend's own comes step 30, then step 60


def test_one_checkpoint_is_not_the_best_of_anything():
    assert "best" not in texts(parsed(ROWS, CHECKPOINTS[:1]))


def test_checkpoints_alone_make_a_curve_where_a_service_reports_nothing_else():
    svg = parsed([], CHECKPOINTS, theme="light")
    assert "full validation from 1.4 at step 30 to 1.1 at step 90" in svg.find(f"{SVG}desc").text


def test_a_single_point_is_a_dot():
    svg = parsed([{"step": 5, "train_loss": 2.0}], theme="light")
    assert [node for node in svg.iter(f"{SVG}circle") if node.get("fill") == BLUE]


def test_a_line_breaks_where_the_value_is_not_a_number():
    values = [1.0, 1.1, math.nan, 1.2, 1.3]
    (whole,) = paths(parsed([{"step": n, "train_loss": v} for n, v in enumerate(values)], theme="light"))[1:]
    assert whole.count("M") == 2


def test_a_line_does_not_break_where_nothing_was_measured():
    rows = [{"step": n, "train_loss": None if n == 2 else 1.0 + n} for n in range(5)]
    (whole,) = paths(parsed(rows, theme="light"))[1:]
    assert whole.count("M") == 1


@pytest.mark.parametrize("rows", [[], [{"step": 1, "train_loss": math.nan}], [{"train_loss": 1.0}]])
def test_nothing_to_draw_says_so(rows):
    assert "No values yet" in texts(parsed(rows))
    assert terminal_curve(rows) == "No loss has been reported yet."


def test_many_noisy_values_get_a_trend_over_them():
    few = [{"step": n, "train_loss": 1 + n % 2} for n in range(20)]
    many = [{"step": n, "train_loss": 1 + n % 2} for n in range(500)]
    assert len(paths(parsed(many, theme="light"))) == len(paths(parsed(few, theme="light"))) + 1


def test_a_hundred_thousand_rows_stay_a_small_image_and_keep_their_peak():
    rows = [{"step": n, "train_loss": 9.0 if n == 54_321 else 1 + n % 7 / 10} for n in range(100_000)]
    svg = curve_svg(rows, theme="light")
    assert len(svg) < 60_000
    # on an axis up to 10, everything but the peak is below 2; the first path is the legend's
    heights = [y for path in paths(ET.fromstring(svg))[1:] for _, y in pairs(path)]
    assert min(heights) < 110
    assert sorted(heights)[1] > 220


def pairs(path):
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)]


wild = st.floats(allow_nan=True, allow_infinity=True) | st.integers() | st.none()
row = st.fixed_dictionaries(
    {"step": st.integers() | wild, "train_loss": wild, "valid_loss": wild, "full_valid_loss": wild}
)


@given(st.lists(row, max_size=30), st.lists(st.integers() | st.none(), max_size=5), st.sampled_from(list(THEMES)))
def test_whatever_a_service_reports_is_drawn_inside_the_image(rows, steps, theme):
    checkpoints = [
        Checkpoint(id=f"ftckpt-{n}", step_number=step, metrics={"valid_loss": n}) for n, step in enumerate(steps)
    ]
    svg = parsed(rows, checkpoints, theme=theme, width=500, height=250)
    assert all(-1 <= x <= 501 and -1 <= y <= 251 for x, y in coordinates(svg))
    lines = terminal_curve(rows, 60, 12, checkpoints=checkpoints).splitlines()
    assert all(len(line) <= 60 for line in lines[:-1])


@pytest.mark.parametrize("title", ["<script>alert(1)</script>", 'a" onload="x', "]]>&amp;", "nul\x00\ud800", "训练"])
def test_a_hostile_title_stays_text(title):
    svg = parsed(ROWS, title=title)
    harmless = parsed(ROWS, title="x")
    assert [node.tag for node in svg.iter()] == [node.tag for node in harmless.iter()]
    assert [sorted(node.keys()) for node in svg.iter()] == [sorted(node.keys()) for node in harmless.iter()]
    assert svg.find(f"{SVG}title").text == title.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")


@pytest.mark.parametrize(("name", "options"), [("metric", {"metric": "perplexity"}), ("theme", {"theme": "neon"})])
def test_an_unknown_name_is_refused_with_those_that_are_known(name, options):
    with pytest.raises(InvalidSpec, match="Give one of") as caught:
        curve_svg(ROWS, **options)
    assert caught.value.field == name


# --- Colours ---


def luminance(colour):
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


GROUNDS = {"both": ["#ffffff", "#1b1f27", "#000000"], "light": ["#ffffff"], "dark": ["#12161c"]}


@pytest.mark.parametrize(("theme", "ground"), [(name, ground) for name, many in GROUNDS.items() for ground in many])
def test_lines_and_words_stand_out_from_their_background(theme, ground):
    colours = THEMES[theme]
    assert min(contrast(c, ground) for c in (colours.train, colours.valid, colours.full_valid)) >= 3
    assert min(contrast(c, ground) for c in (colours.ink, colours.muted)) >= (4.5 if theme != "both" else 3)


# What the three kinds of colour-blindness see, after Viénot, Brettel and Mollon (1999) and, for blue, Brettel
# et al. (1997), in linear light.
BLIND = {
    "red": [[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]],
    "green": [[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]],
    "blue": [[1.0, 0.1446, -0.1446], [0.0, 0.8592, 0.1408], [0.0, 0.8592, 0.1408]],
}


@pytest.mark.parametrize("theme", list(THEMES))
@pytest.mark.parametrize("kind", list(BLIND))
def test_the_colour_blind_tell_the_lines_apart(theme, kind):
    colours = THEMES[theme]

    def seen(colour):
        linear = [(int(colour[i : i + 2], 16) / 255) ** 2.2 for i in (1, 3, 5)]
        mixed = [sum(m * c for m, c in zip(line, linear, strict=True)) for line in BLIND[kind]]
        return [max(0.0, value) ** (1 / 2.2) for value in mixed]

    for one, other in itertools.combinations((colours.train, colours.valid, colours.full_valid), 2):
        assert math.dist(seen(one), seen(other)) > 0.15


def test_the_page_names_its_colours_for_its_style_sheet():
    assert all(str(colour).startswith("var(--") for colour in (PAGE.ink, PAGE.train, PAGE.valid, PAGE.full_valid))


# --- PNG ---


def test_a_png_is_twice_the_size_for_sharp_screens():
    pytest.importorskip("resvg_py", reason="needs the extra `report`")
    image = pixels(curve_png(ROWS, CHECKPOINTS, width=240, height=160))
    assert (len(image[0]), len(image)) == (480, 320)


def test_a_png_has_its_words_even_on_a_machine_without_fonts(monkeypatch):
    resvg_py = pytest.importorskip("resvg_py", reason="needs the extra `report`")
    render = resvg_py.svg_to_bytes
    seen: dict[str, object] = {}

    def spy(**options):
        seen.update(options)
        return render(**options)

    monkeypatch.setattr(resvg_py, "svg_to_bytes", spy)
    image = pixels(curve_png([{"step": 1, "train_loss": 1.0}], width=240, height=160))
    assert seen["skip_system_fonts"] is True
    ink = [pixel for line in image[10:50] for pixel in line[20:] if sum(pixel[:3]) < 300]
    assert len(ink) > 500


def test_a_title_in_another_script_may_use_the_systems_fonts(monkeypatch):
    resvg_py = pytest.importorskip("resvg_py", reason="needs the extra `report`")
    render = resvg_py.svg_to_bytes
    seen: dict[str, object] = {}

    def spy(**options):
        seen.update(options)
        return render(**options)

    monkeypatch.setattr(resvg_py, "svg_to_bytes", spy)
    curve_png(ROWS, title="训练")
    assert seen["skip_system_fonts"] is False


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(MissingExtra, match=r"pip install 'tuneway\[report\]'") as caught:
        curve_png(ROWS)
    assert caught.value.extra == "report"


def test_an_image_fits_into_markdown():
    assert data_uri("<svg/>") == "data:image/svg+xml;base64,PHN2Zy8+"
    assert data_uri(b"\x89PNG").startswith("data:image/png;base64,iVBO")


# --- Terminal ---


def test_a_sparkline_is_as_high_as_its_values():
    assert sparkline([1, 2, 3, 4, 5, 6, 7, 8]) == "▁▂▃▄▅▆▇█"


def test_a_sparkline_of_many_values_is_as_wide_as_asked_and_shows_their_means():
    assert sparkline([0.0, 2.0] * 50 + [7.0, 9.0] * 50, width=10) == "▁▁▁▁▁█████"


@pytest.mark.parametrize("values", [[None], [math.nan, None], [math.inf]])
def test_a_sparkline_is_blank_where_there_is_no_number(values):
    assert sparkline(values).strip() == ""
    assert len(sparkline([1.0, *values, 2.0])) == len(values) + 2


def test_an_even_sparkline_is_level():
    assert sparkline([3, 3, 3]) == "▄▄▄"
    assert sparkline([]) == ""


def test_a_terminal_curve_falls_from_left_to_right_along_labelled_axes():
    rows = [{"step": step, "train_loss": 2.0 - step / 100} for step in range(101)]
    legend, *plot, axis, numbers = terminal_curve(rows, 60, 12).splitlines()
    assert legend == "loss   ─ train 1"
    filled = [[column for column, mark in enumerate(line[5:]) if mark != " "] for line in plot]
    assert min(filled[0]) < 3
    assert max(filled[-1]) > 50
    assert plot[0].startswith("2.0 ┤")
    assert plot[-1].startswith("1.0 ┤")
    assert axis.lstrip().startswith("└")
    assert numbers.split() == ["0", "20", "40", "60", "80", "100", "step"]


def test_a_terminal_curve_has_the_size_that_was_asked_for():
    lines = terminal_curve(ROWS, 80, 20, checkpoints=CHECKPOINTS).splitlines()
    assert len(lines) == 20
    assert max(map(len, lines)) <= 80


def test_validation_and_checkpoints_have_marks_of_their_own_in_a_terminal():
    *plot, axis, _ = terminal_curve(ROWS, 70, 16, checkpoints=CHECKPOINTS).splitlines()
    assert axis.count("▲") == 3
    assert "".join(plot[2:]).count("x") == 3
