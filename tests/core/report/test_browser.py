"""The page in a real browser: visible, in light and dark, and silent."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from http.server import ThreadingHTTPServer

import pytest
from support.pictures import pixels
from support.receiver import QuietHandler, serving
from support.reports import full_report

from tuneway.report import render_html

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine (apt-get install chromium)"),
]

PAGE_URL = "http://report.test/"
QUIET = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--force-color-profile=srgb",
]  # fmt: skip
# What Chromium itself asks its maker now and then, whatever the page.
ITS_OWN = re.compile(r"(https?://)?([\w-]+\.)*(google|googleapis|gstatic|gvt1)\.com[:/]")
SPY = (
    "<img src='http://spy.test/img'><script src='http://spy.test/script'></script>"
    "<link rel=stylesheet href='http://spy.test/css'><iframe src='http://spy.test/frame'></iframe>"
    "<style>@import 'http://spy.test/import'; body{background:url(http://spy.test/url)}</style>"
)


class Proxy(ThreadingHTTPServer):
    """The browser's only way out: serves one page under any name, and remembers who else was asked for."""

    def __init__(self, *where):
        super().__init__(*where)
        self.page, self.asked = b"", []


class Handler(QuietHandler):
    server: Proxy

    def do_GET(self):  # noqa: N802 - http.server calls it so
        self.server.asked.append(self.path)
        body = self.server.page if self.path == PAGE_URL else b""
        self.answer(200 if body else 404, body, content_type="text/html; charset=utf-8")

    def do_CONNECT(self):  # noqa: N802
        self.server.asked.append(self.path)
        self.send_error(502)


@pytest.fixture
def visit(tmp_path):
    """Open a page; gives its picture, and every address that was asked for."""

    def visit(page, *, dark=False, width=1100, height=1400):
        picture = tmp_path / "page.png"
        with serving(Handler, Proxy) as proxy:
            proxy.page = page.encode()
            subprocess.run(
                [
                    CHROMIUM,
                    *QUIET,
                    f"--user-data-dir={tmp_path / 'profile'}",
                    f"--proxy-server=http://127.0.0.1:{proxy.server_port}",
                    "--proxy-bypass-list=<-loopback>",
                    f"--window-size={width},{height}",
                    f"--blink-settings=preferredColorScheme={0 if dark else 1}",
                    f"--screenshot={picture}",
                    PAGE_URL,
                ],
                check=True,
                capture_output=True,
                timeout=90,
            )
        return pixels(picture.read_bytes()), [address for address in proxy.asked if not ITS_OWN.match(address)]

    return visit


def colours(picture):
    return Counter("#{:02x}{:02x}{:02x}".format(*pixel[:3]) for line in picture for pixel in line)


@pytest.mark.parametrize(
    ("dark", "ground", "train", "valid"),
    [(False, "#f6f8fa", "#0072b2", "#d55e00"), (True, "#0e1116", "#56b4e9", "#e69f00")],
)
def test_the_curves_are_visible_and_nothing_is_fetched(visit, dark, ground, train, valid):
    picture, asked = visit(render_html(full_report("Sesame")), dark=dark)
    seen = colours(picture)
    assert seen.most_common(2)[0][0] in {ground, "#ffffff", "#161b22"}
    assert seen[ground] > 100_000
    assert seen[train] > 1000
    assert seen[valid] > 300
    assert asked == [PAGE_URL]


def test_hostile_text_fetches_nothing(visit):
    _, asked = visit(render_html(full_report(SPY)))
    assert asked == [PAGE_URL]


def test_the_policy_alone_would_keep_a_break_out_from_fetching(visit):
    page = render_html(full_report("Sesame"))
    _, asked = visit(page.replace("<h2>Configuration</h2>", f"{SPY}<h2>Configuration</h2>"))
    assert asked == [PAGE_URL]


def test_this_browser_would_have_fetched_without_the_policy(visit):
    _, asked = visit(f"<!doctype html><link rel=icon href='data:,'>{SPY}")
    assert {"http://spy.test/img", "http://spy.test/script", "http://spy.test/css"} <= set(asked)
