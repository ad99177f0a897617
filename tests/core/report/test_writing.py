"""A report is written to a path, to an object store, or to a path of another library."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.reports import full_report

from tuneway.errors import InvalidSpec
from tuneway.flows import Trained
from tuneway.outcome import Outcome
from tuneway.report import check_report_place, report_place, write_report, write_report_of

REPORT = full_report("router")


@pytest.mark.parametrize(("name", "begins"), [("page.html", b"<!doctype html>"), ("curve.svg", b"<svg")])
@pytest.mark.parametrize("given", [str, Path, Path.as_uri])
def test_a_report_is_written_to_a_path_or_its_url(tmp_path, name, begins, given):
    path = tmp_path / name
    assert write_report(REPORT, given(path)) == str(given(path))
    assert path.read_bytes().startswith(begins)


@pytest.mark.skipif(find_spec("resvg_py") is None, reason="needs the extra `report`")
def test_the_ending_says_what_is_written(tmp_path):
    write_report(REPORT, tmp_path / "CURVE.PNG")
    assert (tmp_path / "CURVE.PNG").read_bytes().startswith(b"\x89PNG")


def test_a_report_is_written_to_an_object_store():
    store = pytest.importorskip("fsspec").filesystem("memory")
    assert write_report(REPORT, "memory://reports/page.html") == "memory://reports/page.html"
    assert store.cat("/reports/page.html").startswith(b"<!doctype html>")


def test_a_report_is_written_to_a_path_that_opens_itself():
    path = pytest.importorskip("upath").UPath("memory://reports/opens-itself.html")
    assert write_report(REPORT, path) == "memory://reports/opens-itself.html"
    assert path.read_bytes().startswith(b"<!doctype html>")


def test_a_place_may_name_the_job(tmp_path):
    shown = write_report(full_report("ft/job 1"), f"{tmp_path}/{{job_id}}.html")
    assert [str(path) for path in tmp_path.iterdir()] == [shown]


@pytest.mark.parametrize(
    ("to", "named"), [("{job_id}.html", "ft%2Fjob%201.html"), (Path("{job_id}"), Path("{job_id}"))]
)
def test_only_in_a_text_the_jobs_id_is_put_in(to, named):
    assert report_place(to, "ft/job 1") == named


@pytest.mark.parametrize(("folder", "written"), [("", True), ("nowhere", False)])
def test_a_report_beside_a_training_is_told_in_the_log_and_fails_nothing(tmp_path, caplog, folder, written):
    place = tmp_path / folder / "page.html"
    outcome = Outcome(trained=Trained(job=REPORT.job), service_url="http://127.0.0.1:9/v1")
    caplog.set_level("INFO")

    where = write_report_of(outcome, place, logging.getLogger(__name__))

    assert where == (str(place) if written else None)
    assert place.exists() == written
    assert (f"is written to {place}" if written else f"There is no report: {place} can't be written") in caplog.text


@pytest.mark.parametrize(
    ("to", "says"),
    [
        ("report.pdf", r"report.pdf doesn't end in .html, .svg, .png"),
        ("s3://reports/page", "doesn't end in"),
        (7, "a int is not data|neither a path nor a URL"),
        ([{"messages": []}], "a list is neither a path nor a URL"),
    ],
)
def test_a_place_that_is_none_is_refused_before_anything_is_opened(to, says):
    with pytest.raises(InvalidSpec, match=says) as caught:
        check_report_place(to, field="report_to")
    assert caught.value.field == "report_to"


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InvalidSpec, match=r"nowhere/page.html can't be written: No such file or directory"):
        write_report(REPORT, tmp_path / "nowhere/page.html")


@pytest.mark.parametrize(
    ("to", "says"),
    [
        ("https://user:hidden@127.0.0.1:9/page.html?signature=hidden", "can't be written: it is a web address"),
        ("nothing://bucket/page.html", "no store is known for nothing://bucket/page.html"),
    ],
)
def test_a_url_that_can_not_be_written_is_named_without_its_secrets(to, says):
    pytest.importorskip("fsspec")
    with pytest.raises(InvalidSpec, match=says) as caught:
        write_report(REPORT, to)
    assert "hidden" not in f"{caught.value!r}{caught.value.hint}"
