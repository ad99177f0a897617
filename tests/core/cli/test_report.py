"""`report`."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from support.console import lines_of, write

from tuneway.cli._exits import ExitCode


def test_a_report_is_one_page(tuneway, trained, here):
    assert tuneway("report", trained).stdout == "report.html\n"
    page = (here / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert trained in page


def test_a_report_describes_data_answers_and_lineage_when_given(tuneway, trained, here, train):
    tuneway("register", trained, "-n", "router")
    held_out = write(here / "held-out.jsonl", 3, start=50)
    (result,) = lines_of(
        tuneway("report", trained, "-o", "all.html", "--training-data", train, "--held-out", held_out, "--json")
    )
    assert result == {"job_id": trained, "output": "all.html"}
    page = (here / "all.html").read_text()
    assert "router" in page
    assert "ft:base:org::ftjob-1 heard question 50" in page


def test_the_curve_alone_is_a_picture(tuneway, trained, here):
    tuneway("report", trained, "-o", "curve.svg")
    assert (here / "curve.svg").read_text().startswith("<svg")


@pytest.mark.skipif(find_spec("resvg_py") is None, reason="needs the extra `report`")
def test_the_curve_is_a_png_where_the_extra_is_installed(tuneway, trained, here):
    tuneway("report", trained, "-o", "curve.png")
    assert (here / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_page_can_go_to_standard_output(tuneway, trained):
    assert tuneway("report", trained, "-o", "-").stdout.startswith("<!doctype html>")


def test_what_can_not_be_written_is_said(tuneway, trained):
    assert ".html, .svg, .png" in tuneway("report", trained, "-o", "report.pdf", code=ExitCode.USAGE).stderr
    assert "nowhere/report.html" in tuneway("report", trained, "-o", "nowhere/report.html", code=ExitCode.USAGE).stderr


def test_a_model_that_is_not_there_yet_can_not_be_asked(tuneway, service, train):
    service.add_job()
    tuneway("report", "ftjob-1", "--held-out", train, code=ExitCode.USAGE)
