"""Write a report to a file, on this machine or in an object store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from tuneway._escape import file_name, one_line
from tuneway.data import place_name, write_place
from tuneway.errors import InvalidSpec, TunewayError
from tuneway.report._images import curve_png
from tuneway.report._inputs import Report
from tuneway.report._page import render_html
from tuneway.report._svg import curve_svg

if TYPE_CHECKING:
    from tuneway.outcome import Outcome

Place: TypeAlias = Any
"""Where a report is written.

A path, a URL of an object store such as `s3://reports/{job_id}.html`, or a `UPath`, which may have credentials. In a
text, `{job_id}` is the job's id.
"""

KINDS = (".html", ".svg", ".png")


def write_report(report: Report, to: Place, *, field: str = "to") -> str:
    """Write a report as a page (.html), or its learning curve as a picture (.svg, .png).

    Args:
        report: The report.
        to: A path, a URL of an object store such as `s3://reports/{job_id}.html`, or a `UPath`, which may have
            credentials. In a text, `{job_id}` is the job's id. An object store needs the extra `stores` and the
            store's own package.
        field: What the place is called in an error.

    Returns:
        Where it was written, without what is secret in a URL.

    Raises:
        InvalidSpec: The place has another ending, or can't be written.
        MissingExtra: It is a PNG, and the extra `report` isn't installed.
    """
    kind = check_report_place(to, field=field)
    to = report_place(to, report.job.id)
    if kind == ".html":
        content: str | bytes = render_html(report)
    else:
        rows = [*report.rows, *report.events]
        draw = curve_png if kind == ".png" else curve_svg
        content = draw(rows, checkpoints=report.checkpoints)
    return write_place(to, content.encode() if isinstance(content, str) else content, field=field)


def write_report_of(outcome: Outcome, to: Place, log: Any, *, field: str = "report_to") -> str | None:
    """Write the report of a training, and tell it in a log.

    Args:
        outcome: The training, with its log.
        to: As `write_report` takes it.
        log: A logger. It is also told why there is no report: that is no reason to fail a training.
        field: What the place is called in an error.

    Returns:
        Where it was written; None if it wasn't.
    """
    try:
        where = write_report(Report.of(outcome), to, field=field)
    except TunewayError as error:
        log.warning("There is no report: %s", one_line(error, 1000))
        return None
    log.info("The report of %s is written to %s", one_line(outcome.job.id), one_line(where, 1000))
    return where


def report_place(to: Place, job_id: str) -> Place:
    """Where the report of this job is written: in a text, `{job_id}` is the job's id."""
    return to.replace("{job_id}", file_name(job_id)) if isinstance(to, str) else to


def check_report_place(to: Place, *, field: str = "to") -> str:
    """Check where a report is to be written, without opening anything; gives its ending.

    Raises:
        InvalidSpec: It is no path and no URL, or it has another ending than .html, .svg and .png.
    """
    name = place_name(to, field=field)
    kind = next((kind for kind in KINDS if name.lower().endswith(kind)), None)
    if kind is None:
        raise InvalidSpec(f"{name} doesn't end in {', '.join(KINDS)}", field=field, hint="For example: report.html")
    return kind
