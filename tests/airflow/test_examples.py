"""The examples, run to their end as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.support_chats import chats

from tuneway.registry import open_registry

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(database):
    """Loads an example as a DAG."""

    def load(file, dag_id):
        from support.any_airflow import DagBag

        folder = EXAMPLES / "airflow"
        bag = DagBag(dag_folder=folder / file)
        assert bag.import_errors == {}
        return bag.dags[dag_id]

    return load


def test_one_task_trains_a_model_for_each_file(run, service, monkeypatch, tmp_path, example):
    languages = {"de": 31, "en": 32, "fr": 33}
    for language, seed in languages.items():
        (tmp_path / f"{language}.jsonl").write_text("\n".join(map(json.dumps, chats(12, seed=seed))) + "\n")
    monkeypatch.setenv("LANGUAGES_DATA", str(tmp_path))

    state, _ = run(example("many_models.py", "fine_tune_many"))

    assert state == "success"
    registry = open_registry(f"sqlite:///{tmp_path / 'models.db'}")
    versions = {language: registry.get(f"router-{language}") for language in languages}
    assert len({version.record.job_id for version in versions.values()}) == 3
    assert {version.record.training.sha256 for version in versions.values()} == {
        _sha256(tmp_path / f"{language}.jsonl") for language in languages
    }
    assert {version.record.origin.step for version in versions.values()} == {"fine_tune"}


def test_the_nightly_model_becomes_the_champion(run, service, monkeypatch, tmp_path, example):
    monkeypatch.setenv("SUPPORT_DATA", str(EXAMPLES / "data"))

    state, told = run(example("nightly.py", "nightly_fine_tune"))

    assert state == "success"
    champion = open_registry(f"sqlite:///{tmp_path / 'models.db'}").get("support-router@champion")
    assert champion.record.job_id == told["wait", "job_id"]
    assert champion.record.metrics["full_valid_loss"] <= 1.0
    assert champion.record.training.rows
    assert champion.record.validation.rows


def _sha256(path):
    from hashlib import sha256

    return sha256(path.read_bytes()).hexdigest()
