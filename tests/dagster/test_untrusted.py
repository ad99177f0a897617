"""What a service words, and what stands in rows: shown safely in Dagster, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg
import pytest
from support.dagster_runs import materializations, resources_of, said
from support.fault_server import FaultServer
from support.hostile_service import FORBIDDEN, HostileService
from support.markdown import addresses

from dagster_tuneway import FineTuningResource, fine_tuned_model_assets
from dagster_tuneway._metadata import report_page
from tuneway import Job, Outcome
from tuneway.flows import Trained

SECRET = "My card 4111 1111 1111 1111 was charged twice"
ROWS = [{"messages": [{"role": "user", "content": SECRET}, {"role": "assistant", "content": SECRET}]}] * 120

LINES = "".join(f"{json.dumps(row)}\n" for row in ROWS)


def assets_of(name, training_data, **more):
    return fine_tuned_model_assets(name, **{"training_data": training_data, "model": "gpt-4o-mini"} | more)


@pytest.mark.parametrize("job_id", ["..", ".", "", "/etc/passwd", "a\\b", "x" * 5000, "nul", "\0", "\ud800"])
def test_whatever_a_jobs_id_is_its_report_is_a_file_in_the_folder_of_reports(job_id, instance, tmp_path):
    job = Job.model_construct(id=job_id, status="succeeded")
    outcome = Outcome(trained=Trained(job=job), service_url="https://llm.example/v1")

    page = Path(report_page(outcome, FineTuningResource(reports=str(tmp_path)), instance).value)

    assert page.parent == tmp_path
    assert page.is_file()
    assert [page] == list(tmp_path.iterdir())


def test_nothing_that_a_service_words_is_a_link_or_an_escape_in_the_ui(run, registry, data, instance):
    with FaultServer(HostileService()) as server:
        result = run(assets_of("hostile", str(data)), resources=resources_of(server, registry, data.parent))
    told = materializations(result)["fine_tuned_model"].metadata
    pages = [one.value for one in told.values() if isinstance(one, dg.MarkdownMetadataValue)]
    assert any("evil.example" in page for page in pages)
    for page in pages:
        assert [one for one in addresses(page) if not one.startswith("data:image/")] == []
        assert not [one for one in FORBIDDEN if one in page]
    lines = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert any("evil.example" in line for line in lines)
    for line in lines:
        assert not [one for one in FORBIDDEN if one in line]
        assert "\nerror: forged" not in line


@pytest.mark.parametrize(
    "wrong",
    [LINES, json.dumps(ROWS[0]), SECRET, {"path": json.dumps(ROWS)}, [ROWS], [SECRET]],
    ids=["lines", "a line", "words", "a path of rows", "rows in a row", "words in a row"],
)  # fmt: skip
def test_rows_in_place_of_a_path_are_in_no_error_of_a_step(wrong, run, instance):
    @dg.asset
    def raw():
        return wrong

    made = assets_of("wrong", dg.AssetKey("raw"))
    result = run([raw, *made], fails=True)
    texts = [said(result), *(str(entry.to_json()) for entry in instance.all_logs(result.run_id))]
    assert not [text for text in texts if "4111 1111" in text]
