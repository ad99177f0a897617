"""The documentation site: built strictly, and complete on a machine without a network."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="uv sync --group docs")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
FETCHES = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"?(?:https?:)?//|<link\b[^>]*\bhref=\"?(?:https?:)?//"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    place = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", place],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return place


def test_every_page_is_there_and_every_link_leads_somewhere(site):
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert [page for page in pages if not (site / page).exists()] == []


def test_no_page_fetches_anything_from_elsewhere(site):
    fetching = {path.name: found[0] for path in site.rglob("*.html") if (found := FETCHES.search(path.read_text()))}
    assert fetching == {}
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert not re.search(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", styles)


def test_the_reference_shows_what_is_public(site):
    text = "".join(path.read_text() for path in (site / "reference").glob("*.html"))
    shown = (
        "Client.submit",
        "AsyncClient.wait",
        "errors.LookupFailed",
        "registry.Registry.promote",
        "client.Jobs.list",
    )
    for name in shown:
        assert f'id="tuneway.{name}"' in text


def signature(site, page, name):
    """The signature of an object, as a reader sees it."""
    text = (site / "reference" / page).read_text()
    part = text.partition(f'id="{name}"')[2].partition('class="doc doc-contents')[0]
    return html.unescape(re.sub(r"<[^>]+>", "", part.partition("doc-signature")[2].partition(">")[2]))


def test_signatures_have_types_and_say_what_stands_behind_fields(site):
    recipe = signature(site, "recipe.html", "tuneway.Recipe")
    assert "training_data: Data" in recipe
    assert "seed: int | None" in recipe
    way = signature(site, "client.html", "tuneway.Client.fine_tune")
    assert "gates: Sequence[GateLike]" in way
    assert "-> FineTuned" in way
    assert "Unpack" not in recipe + way


def test_a_grader_is_shown_with_its_fields(site):
    grader = signature(site, "recipe.html", "tuneway.models.StringCheckGrader")
    assert "name: str" in grader
    assert "operation: Literal[" in grader
    assert "model_config" not in grader


def test_both_forms_of_a_check_are_shown_with_their_arguments(site):
    shown = re.sub(r"<[^>]+>", "", (site / "reference" / "client.html").read_text())
    assert "then: Unpack" not in shown


def test_a_task_of_prefect_is_shown_as_it_is_called(site):
    task = signature(site, "prefect.html", "prefect_tuneway.create_fine_tuning_job")
    assert "training_file:" in task
    assert "-> dict[str, Any]" in task
    assert "Step[" not in (site / "reference" / "prefect.html").read_text()


def test_an_operator_of_airflow_is_shown_with_the_arguments_of_its_bases(site):
    operator = signature(site, "airflow.html", "airflow_tuneway.operators.FineTuneOperator")
    for argument in ("model", "method", "name", "gates", "deferrable", "reuse", "conn_id"):
        assert f"    {argument}: " in operator
