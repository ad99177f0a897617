"""The page: complete, self-contained, and not to be broken out of."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.reports import ROWS, data_report, full_report

from tuneway.models import Job
from tuneway.report import Report, SampleAnswer, render_html

JOB = Job(id="ftjob-1", status="running", model="smol")

# From the usual collections: closing what is open, events, addresses, encodings, other syntaxes.
HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<svg><style><!--</style><img src=x onerror=alert(1)>-->",
    "\"><img src=x onerror='alert(1)'>",
    "' onmouseover='alert(1)",
    '" autofocus onfocus="alert(1)" x="',
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<a href=javascript:alert(1)>x</a>",
    "]]><script>alert(1)</script><![CDATA[",
    "--><script>alert(1)</script><!--",
    "<base href=//192.0.2.1><meta http-equiv=refresh content='0;url=//192.0.2.1'>",
    "@import url(//192.0.2.1/x.css);",
    "{{7*7}}${7*7}<%=7*7%>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\x00<\x00script>\ufeff\u202e",
    "+ADw-script+AD4-alert(1)+ADw-/script+AD4-",
]


class Outline(HTMLParser):
    """Which elements and attributes a page has, and its text."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.elements, self.words, self.addresses = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.addresses += [value for name, value in attrs if name in {"href", "src", "action", "xlink:href"}]

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


HARMLESS = Outline(render_html(full_report("harmless")))


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_changes_no_element_and_no_attribute(hostile):
    page = Outline(render_html(full_report(hostile)))
    assert page.elements == HARMLESS.elements
    assert " ".join(hostile.replace("\x00", "\ufffd").replace("\u202e", "\ufffd").split()) in page.text


@given(st.text(st.characters(), min_size=1, max_size=80))
def test_no_answer_whatever_changes_an_element(text):
    report = Report(job=JOB, samples=[SampleAnswer(prompt=text, base=text, tuned=text)])
    harmless = dataclasses.replace(report, samples=[SampleAnswer(prompt="x", base="x", tuned="x")])
    page = render_html(report)
    assert Outline(page).elements == Outline(render_html(harmless)).elements
    page.encode()  # a lone surrogate would not go into a file


def test_a_page_is_self_contained():
    page = render_html(full_report("anything"))
    outline = Outline(page)
    assert outline.addresses == ["data:,"]
    assert {"script", "iframe", "img", "object", "embed"}.isdisjoint(tag for tag, _ in outline.elements)
    assert "default-src &#x27;none&#x27;" in page
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert "url(" not in style
    assert "@import" not in style


def test_every_part_is_there():
    text = Outline(render_html(full_report("Sesame"))).text
    for heading in (
        "Learning curves", "Loss by training step", "Accuracy by training step", "Checkpoints", "Sample answers",
        "Training data", "Tokens per example", "Configuration", "Metadata", "Lineage", "Warnings",
    ):  # fmt: skip
        assert heading in text
    for fact in (
        "Validation loss 0.5000 best checkpoint, step 120", "Trained tokens 12,345", "Duration 2 min 5 s",
        "Cost, estimated 1.25 Sesame", "Examples 40", "Tokens, estimated 4,000",
        "12 to 199, median 95", "51.2 kB", "n_epochs 3", "Seed 7",
        "Score 0.7500 base model 0.2500",
        "Sesame: 0.750 against 0.250 for Sesame on 8 questions (4 better, 0 worse)", "Base model score 0.25 Sesame",
        "Tuned model right Sesame", "Registered Sesame:3 Sesame", "the best checkpoint", "with uncommitted changes",
        "2026-09-21 14:13 UTC",
    ):  # fmt: skip
        assert fact in text


def test_a_job_alone_makes_a_page():
    text = Outline(render_html(Report(job=JOB))).text
    assert "ftjob-1" in text
    assert "No metrics have been reported." in text
    for absent in ("Sample answers", "Training data", "Checkpoints", "Warnings", "Cost"):
        assert absent not in text


def test_a_failed_job_says_why():
    fault = {"code": "invalid_training_file", "message": "line 3 has no messages", "param": "training_file"}
    job = Job.model_validate({"id": "ftjob-1", "status": "failed", "error": fault})
    page = render_html(Report(job=job))
    assert "invalid_training_file (training_file) line 3 has no messages" in Outline(page).text
    assert 'role="alert"' in page


def test_an_empty_error_is_none():
    job = Job.model_validate({"id": "ftjob-1", "status": "succeeded", "error": {}})
    assert 'role="alert"' not in render_html(Report(job=job))


def test_an_answer_that_matches_what_was_expected_is_marked():
    sample = SampleAnswer(prompt="2+2", base="five", tuned=" 4\n", expected="4")
    page = render_html(Report(job=JOB, samples=[sample]))
    assert "Base model differs five Tuned model matches 4 Expected 4" in Outline(page).text
    assert page.count('class="tag good"') == 1


def test_without_a_registry_the_cost_is_what_the_check_of_the_data_reckoned():
    text = Outline(render_html(Report(job=JOB, data=data_report("2026-06-30")))).text
    assert "Cost, estimated $0.036 at $3.00 a million tokens, prices of 2026-06-30" in text


def test_a_price_of_a_model_that_was_not_truly_trained_is_not_shown():
    job = Job.model_validate({"id": "ftjob-1", "status": "succeeded", "usage_metrics": {"trainer": "bytes"}})
    text = Outline(render_html(Report(job=job, data=data_report("x")))).text
    assert "Cost" not in text
    assert "trained by bytes" in text
    assert "Trainer bytes" in text


def test_a_problem_of_the_data_names_its_line():
    text = Outline(render_html(Report(job=JOB, data=data_report("thing")))).text
    assert "error 3 thing: found thing, expected thing thing warning – found thing, expected thing" in text


def test_clean_data_is_called_clean():
    clean = data_report("x", errors=[], warnings=[], error_count=0, warning_count=0)
    assert "No problems were found." in render_html(Report(job=JOB, data=clean))


@pytest.mark.parametrize(("score", "tag"), [(1, '"tag good">right'), (0, '"tag">wrong'), (0.5, '"tag">score 0.5')])
def test_the_graders_score_decides_how_an_answer_is_marked(score, tag):
    sample = SampleAnswer(prompt="2+2", tuned="four", expected="4", tuned_score=score)
    assert tag in render_html(Report(job=JOB, samples=[sample]))


def test_what_is_not_a_number_is_counted():
    rows = [*ROWS, {"step": 500, "train_loss": float("nan")}]
    assert "1 value is not a number" in Outline(render_html(Report(job=JOB, rows=rows))).text


def test_long_lists_and_long_texts_are_cut_and_say_so():
    report = Report(
        job=JOB,
        samples=[SampleAnswer(prompt="p" * 100_000, tuned="t" * 100_000)] * 60,
        data=data_report("x", errors=data_report("m" * 100_000).errors * 60, error_count=100_000),
    )
    page = render_html(report)
    assert "and 10 more" in page
    assert "and 99,950 more" in page
    assert "more characters)" in page
    assert len(page) < 1_000_000


def test_a_hundred_thousand_rows_make_a_page_below_300_kb():
    rows = [
        {"step": n, "train_loss": 2 + n % 17 / 10, "train_accuracy": n % 13 / 13}
        | ({"valid_loss": 2.0, "valid_mean_token_accuracy": 0.5} if n % 100 == 0 else {})
        for n in range(100_000)
    ]
    assert len(render_html(dataclasses.replace(full_report("x"), rows=rows)).encode()) < 300_000


def test_the_values_under_the_pointer_are_shown():
    page = render_html(Report(job=JOB, rows=ROWS))
    assert "step 120 · train 0.8573 · validation 0.8335" in page


@pytest.mark.parametrize("moment", [-1e18, 1e300, 253_402_300_800.0])
def test_times_beyond_the_calendar_are_left_out(moment):
    job = Job(id="ftjob-1", status="running", created_at=moment, finished_at=moment + 5)
    assert "ftjob-1" in render_html(Report(job=job))


def test_the_same_report_gives_the_same_page():
    assert render_html(full_report("x")) == render_html(full_report("x"))
