"""Untrusted text is safe wherever it goes: each place has one function, and these are their promises."""

from __future__ import annotations

import json
import re
import string
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from support.markdown import inner

from tuneway._escape import (
    FEW,
    csv_cell,
    excerpt,
    file_name,
    html,
    json_line,
    markdown,
    one_line,
    path_shown,
    printable,
    slug,
    url_segment,
)

ESCAPES = (
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;http://evil.example\x07click\x1b]8;;\x07",
    "\x9b2J",
    "\x9d0;title\x9c",
    "user\u202etxt.exe",
    "\u2066a\u2069",
    "line\u2028line",
    "\U000e0041",
    "\ud800",
    "\r\x08\x7f",
)
MARKUP = (
    "[x](http://evil.example)",
    "![x](http://evil.example/p.png)",
    "http://evil.example www.evil.example a@evil.example",
    "<script>alert(1)</script><img src=x>",
    "`a` ``b`` ```",
    "`",
    "a|b\\|c|",
    "# heading\n\n- list\n\n> quote",
    "\\",
    "&lt;b&gt;",
)
PATHS = (
    "../../x",
    "..",
    ".",
    "",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "C:\\x",
    "nul",
    "CON.html",
    ".hidden",
    "~",
    "x" * 5000,
    "\0",
)

hostile = st.sampled_from([*ESCAPES, *MARKUP, *PATHS])
words = st.text(st.sampled_from("\x00\x07\x1b\t\r\n =+-@|`[]()!<>&\\/.:~%#?'\"aB9é\u202e\x9b\ud83d漢"), max_size=30)
texts = st.one_of(st.text(max_size=60), words, hostile, st.builds(str.__add__, hostile, words))


def obeyed(text: str, allowed: str = "") -> set[str]:
    """The characters that a terminal would obey."""
    kinds = {"Cc", "Cs", "Zl", "Zp"}
    return {one for one in text if one not in allowed and (unicodedata.category(one) in kinds or one in BIDI)}


BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@given(texts)
def test_a_terminal_gets_nothing_that_it_obeys(text):
    assert not obeyed(printable(text), "\t\n")
    assert not obeyed(printable(text, lines=False))
    assert not obeyed(one_line(text))


@given(st.text(string.printable.replace("\r", "").replace("\x0b", "").replace("\x0c", "")))
def test_plain_text_stays_as_it_is_on_a_terminal(text):
    assert printable(text) == text


@given(st.dictionaries(texts, texts))
def test_a_line_of_json_stays_the_same_json_and_has_nothing_that_a_terminal_obeys(value):
    line = json_line(json.dumps(value, ensure_ascii=False))
    assert not obeyed(line)
    assert json.loads(line) == value


@given(st.one_of(st.none(), st.integers(), st.floats(allow_nan=False)))
def test_numbers_stay_numbers_in_a_spreadsheet(number):
    assert csv_cell(number) is number


@given(texts)
@example("=HYPERLINK()")
@example("\t=1+1")
@example(" +1")
@example("＠SUM(1)")
@example("\r=1")
@example("\x00=1")
def test_no_cell_is_a_formula(text):
    cell = str(csv_cell(text))
    assert not re.match(r"[\s\ufffd\x00]*[=+\-@＝＋－＠]|[\t\r\n]", cell)
    assert not obeyed(cell)


@given(texts)
def test_markdown_takes_a_text_for_nothing_but_code(text):
    shown = one_line(text)
    found = [one for one in inner(f"Job {markdown(text)} ended.") if one[0] != "text"]
    assert found == ([("code_inline", shown)] if shown else [])


@given(texts)
def test_a_text_in_a_table_of_markdown_stays_in_its_cell(text):
    table = f"| a | b |\n|---|---|\n| x | {markdown(text, cell=True)} |"
    kinds = [kind for kind, _ in inner(table)]
    assert set(kinds) <= {"text", "code_inline"}
    assert kinds.count("code_inline") == (1 if one_line(text) else 0)
    blocks = [block.type for block in MarkdownIt("commonmark").enable("table").parse(table)]
    assert blocks.count("tr_open") == 2
    assert blocks.count("td_open") == 2


class Elements(HTMLParser):
    """What a browser makes of a piece of HTML."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.found: list[object] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, attrs))

    def handle_comment(self, data):
        self.found.append(data)


@given(texts)
def test_html_takes_a_text_for_nothing_but_text(text):
    (element,) = Elements(f'<p title="{html(text)}">{html(text)}</p>').found
    assert element[0] == "p"
    assert [name for name, _ in element[1]] == ["title"]
    assert not {"\x1b", "\x9b", "\u202e", "\ud800"} & set(html(text))


@given(texts)
def test_an_id_stays_in_its_segment_of_an_address(text):
    segment = url_segment(text)
    address = urlsplit(f"https://host/v1/jobs/{segment}/events?a=1")
    assert (address.netloc, address.query, address.fragment) == ("host", "a=1", "")
    assert address.path.split("/") == ["", "v1", "jobs", segment, "events"]
    assert segment not in {".", ".."}
    assert unquote(segment) == text.encode("utf-8", "replace").decode()


@given(texts)
def test_the_name_of_a_file_stays_in_its_folder(text):
    folder = Path("/folder/of/reports")
    for suffix in ("", ".html"):
        name = file_name(text, suffix)
        path = folder / name
        assert path.parent == folder
        assert path.name == name not in {".", ".."}
        assert not name.startswith(".")
        assert not set(name) & set('/\\:*?"<>|\0')
        assert len(name.encode()) <= 255
        assert not obeyed(name)


@given(st.lists(texts, unique=True, min_size=2, max_size=8))
def test_two_ids_have_two_names_of_files(ids):
    assert len({file_name(one, ".html") for one in ids}) == len(ids)


@given(st.from_regex(r"ftjob-[A-Za-z0-9]{8,40}", fullmatch=True))
def test_an_ordinary_id_is_its_own_name(job_id):
    assert file_name(job_id, ".html") == f"{job_id}.html"
    assert slug(job_id) == job_id.lower()
    assert url_segment(job_id) == job_id


@given(texts)
def test_a_slug_has_lower_case_letters_digits_and_dashes(text):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug(text))


def test_ids_that_differ_in_odd_letters_have_different_slugs():
    odd = ["a/b", "a b", "a\nb", "a?b", "", "/", "?", "é"]
    assert len({slug(one) for one in [*odd, "a-b"]}) == len(odd) + 1


@given(st.text(min_size=FEW + 1))
def test_an_error_shows_few_characters_of_a_text(text):
    shown = excerpt(text)
    assert shown.endswith("…")
    assert shown.startswith(repr(text[:FEW]).encode("utf-8", "backslashreplace").decode())
    assert not obeyed(shown)


SECRET = "the whole conversation with a customer"


@pytest.mark.parametrize(
    "value",
    [
        [SECRET],
        (SECRET,),
        {"content": SECRET},
        {SECRET: 1},
        {SECRET},
        SECRET.encode(),
        [{"messages": [{"content": SECRET}]}] * 120,
        iter([SECRET]),
        Path(SECRET),
        10**5000,
        type("Frame", (), {"__repr__": lambda _self: SECRET})(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_shows_little_of_any_value(value):
    shown = excerpt(value)
    assert SECRET[: FEW + 1] not in shown
    assert len(shown) < 60


@pytest.mark.parametrize(
    "path",
    ["train.jsonl", "/data/my files/train set 2.jsonl", "data/ümlaut.jsonl", "train", "../up.jsonl"],
)
def test_a_path_is_shown_whole(path):
    assert path_shown(path) == path


@pytest.mark.parametrize(
    "text",
    [
        "I was charged twice, please help me with my card 4111",
        '{"messages": [{"role": "user"}]}',
        '[{"role": "user"}]',
        "one\ntwo.jsonl",
        "x" * 300,
        "word " * 10 + "/train.jsonl",
        "a/" * 600,
    ],
)
def test_a_text_in_place_of_a_path_is_not_shown_whole(text):
    assert text not in path_shown(text)
    assert len(path_shown(text)) < 60
