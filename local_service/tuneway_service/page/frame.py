"""The frame of every page, and small parts that several pages use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from typing import Any

from tuneway import __version__
from tuneway._escape import url_segment
from tuneway._words import duration
from tuneway.report._markup import Markup, h, join
from tuneway_service.ids import now

# A page loads nothing from other hosts, and runs no script except its own file.
POLICY = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; connect-src 'self'; img-src data:;"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
PLACES = (("/", "Jobs"), ("/files", "Files"), ("/models", "Models"))


@cache
def asset(name: str) -> str:
    """A file that pages refer to. The style sheet starts with the one of reports, so that both look the same."""
    if name == "style.css":
        base = resources.files("tuneway.report").joinpath("report.css").read_text(encoding="utf-8")
        return base + _own("style.css")
    return _own(name)


def _own(name: str) -> str:
    return resources.files("tuneway_service.page").joinpath(name).read_text(encoding="utf-8")


def page(title: str, here: str, *content: object, live: bool = False) -> str:
    """A whole page. A live page is fetched again every second, and its parts with an id are replaced."""
    places = [h("a", name, href=place, aria_current="page" if place == here else None) for place, name in PLACES]
    head = h(
        "head",
        h("meta", charset="utf-8"),
        h("meta", name="viewport", content="width=device-width, initial-scale=1"),
        h("meta", name="color-scheme", content="light dark"),
        h("link", rel="icon", href="data:,"),
        h("link", rel="stylesheet", href="/style.css"),
        h("script", src="/live.js", defer="defer") if live else None,
        h("title", f"{title} · Tuneway"),
    )
    top = h("header", h("a", "Tuneway", href="/", class_="brand"), h("nav", *places) if here else None, class_="top")
    foot = h("footer", f"Tuneway {__version__}. Models here are trained on this machine.")
    return f"<!doctype html>\n{h('html', head, h('body', h('main', top, *content, foot)), lang='en')}\n"


def status(word: str) -> Markup:
    """A job's status as a coloured label."""
    return h("span", word.replace("_", " "), class_=f"status {word}")


def ago(epoch: int | None) -> str:
    """How long ago a time was."""
    return "" if epoch is None else f"{duration(max(0, now() - epoch))} ago"


def job_link(job_id: str) -> Markup:
    """A job's id, as a link to its page."""
    return h("a", h("code", job_id), href=f"/jobs/{url_segment(job_id)}")


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> Markup:
    """A table; without rows, the text `empty`."""
    body = [h("tr", *(h("td", cell) for cell in row)) for row in rows]
    if not body:
        return h("p", empty, class_="note")
    head = h("tr", *(h("th", name, scope="col") for name in heads))
    return h("div", h("table", h("thead", head), h("tbody", *body)), class_="scroll", tabindex=0)


def facts(*items: object) -> Markup:
    """A line of facts, without the empty ones."""
    return h("div", *(h("span", item) for item in items if item), class_="facts")


def tiles(figures: Iterable[tuple[str, object]]) -> Markup:
    """A row of large figures."""
    return h(
        "div",
        *(h("div", h("div", name, class_="over"), h("div", value, class_="figure")) for name, value in figures),
        class_="tiles",
    )


def button(action: str, name: str) -> Markup:
    """A button that sends a POST request."""
    return h("form", h("button", name), method="post", action=action)


def section(name: str, *content: object) -> Markup:
    """A section with a heading."""
    return h("section", h("h2", name), *content)


def bar(done: int, total: int) -> Markup:
    """A progress bar."""
    return h("progress", f"{done} of {total}", value=done, max=max(total, 1))


def pieces(*content: object) -> Markup:
    """Several parts after one another."""
    return join(*content)


def figure(value: Any) -> str:
    """A measured number with four digits; empty for anything else."""
    return f"{value:.4g}" if isinstance(value, int | float) else ""
