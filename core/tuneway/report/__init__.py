"""Reports on a training: an HTML page, learning curves as SVG or PNG, and learning curves for the terminal."""

from tuneway.report._gather import gather
from tuneway.report._images import curve_png, data_uri
from tuneway.report._inputs import Report, SampleAnswer
from tuneway.report._page import render_html
from tuneway.report._svg import curve_svg
from tuneway.report._terminal import sparkline, terminal_curve
from tuneway.report._writing import KINDS, Place, check_report_place, report_place, write_report, write_report_of

__all__ = [
    "KINDS",
    "Place",
    "Report",
    "SampleAnswer",
    "check_report_place",
    "curve_png",
    "curve_svg",
    "data_uri",
    "gather",
    "render_html",
    "report_place",
    "sparkline",
    "terminal_curve",
    "write_report",
    "write_report_of",
]
