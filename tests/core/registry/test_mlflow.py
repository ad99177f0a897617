"""What is MLflow's own: what its UI shows, what others put there, a race in slow motion, a server that isn't there."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from support.receiver import QuietHandler, serving
from support.registries import assert_nothing_is_left_over, make_record

from tuneway.errors import NotRegistered, RegistryError, RegistryUnavailable
from tuneway.models import Event, MetricRow
from tuneway.registry import open_registry

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="needs tuneway[mlflow]"),
    pytest.mark.parametrize("uri", ["mlflow database"], indirect=True),
]


@pytest.fixture
def client(registry):
    """MLflow's own client, as its UI sees things."""
    return registry._backend._calls._client


def test_its_ui_can_plot_the_training(registry, client, name):
    checkpoints = [
        {"id": "ftckpt-1", "step": 10, "metrics": {"full_valid_loss": 0.6}},
        {"id": "ftckpt-2", "step": 20, "metrics": {"full_valid_loss": 0.5}},
    ]
    record = make_record(
        name,
        checkpoint="ftckpt-2",
        checkpoints=checkpoints,
        metrics={"full_valid_loss": 0.5, "train_loss": 0.4},
        resolved={"n_epochs": 3},
        job_finished_at=datetime(2026, 11, 19, tzinfo=UTC),
    )
    rows = [MetricRow(step=step, train_loss=1 - step / 50) for step in range(1, 21)]
    data = {"step": 15, "train_mean_token_accuracy": 0.75, "total_steps": 20, "note": "x"}
    event = Event(id="ftevent-1", type="metrics", data=data)
    registry.register(record, curve=[*rows, event])

    (version,) = client.search_model_versions(f"name = '{name}'")
    assert version.source == f"openai:/{record.model_id}"
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"base_model": "gpt-4o-mini", "method": "supervised", "trainer": "bytes", "n_epochs": "3"}
    losses = client.get_metric_history(version.run_id, "train_loss")
    assert sorted((m.step, m.value) for m in losses)[:2] == [(1, 0.98), (2, 0.96)]
    assert len(losses) == 20
    assert [m.step for m in client.get_metric_history(version.run_id, "full_valid_loss")] == [10, 20]
    assert set(run.data.metrics) == {"train_loss", "full_valid_loss", "train_mean_token_accuracy"}
    (model,) = client.search_logged_models([run.info.experiment_id])
    assert {(m.key, m.step, m.value) for m in model.metrics} == {
        ("full_valid_loss", 10, 0.6),
        ("full_valid_loss", 20, 0.5),
        ("train_loss", 20, 0.4),
    }
    assert model.tags["mlflow.model.isExternal"] == "true"
    assert model.status == "READY"


def test_its_search_finds_versions_by_their_lineage(registry, client, name):
    record = make_record(name, git={"commit": "c0ffee"}, origin={"text": "airflow router/1"}, service_url="http://l/v1")
    registry.register(record)
    assert record.training
    assert record.validation
    expected = {
        "job_id": record.job_id,
        "model_id": record.model_id,
        "base_model": "gpt-4o-mini",
        "trainer": "bytes",
        "git_commit": "c0ffee",
        "origin": "airflow router/1",
        "service_url": "http://l/v1",
        "training.file": "file-train",
        "training.sha256": record.training.sha256,
        "validation.sha256": record.validation.sha256,
    }
    for tag, value in expected.items():
        assert client.search_model_versions(f"name = '{name}' and tags.`tuneway.{tag}` = '{value}'"), tag


def test_a_curve_of_any_length_fits(registry, client, name):
    registry.register(make_record(name), curve=[{"step": step, "train_loss": 1 / step} for step in range(1, 2501)])
    (version,) = client.search_model_versions(f"name = '{name}'")
    assert len(client.get_metric_history(version.run_id, "train_loss")) == 2500


def test_versions_that_others_made_are_left_alone(registry, client, name):
    client.create_registered_model(name)
    client.create_model_version(name, "s3://bucket/model")
    client.set_registered_model_alias(name, "champion", "1")
    ours = registry.register(make_record(name), alias="champion")
    assert ours.version == 2
    assert [version.version for version in registry.versions(name)] == [2]
    assert registry.aliases(name) == {"champion": 2, "previous": 1}
    assert name in {model.name for model in registry.models()}
    with pytest.raises(NotRegistered):
        registry.get(f"{name}@previous")


def test_an_alias_moved_in_mlflows_ui_counts(registry, client, name):
    registry.register(make_record(name, "1"), alias="champion")
    registry.register(make_record(name, "2"))
    client.set_registered_model_alias(name, "champion", "2")
    assert registry.get(f"{name}@champion").version == 2
    registry.register(make_record(name, "3"), alias="champion")
    assert registry.aliases(name) == {"champion": 3, "previous": 2}


def test_a_version_deleted_in_mlflows_ui_is_gone(registry, client, name):
    registry.register(make_record(name, "1"), alias="champion")
    registry.register(make_record(name, "2"), alias="champion")
    client.delete_model_version(name, "2")
    assert registry.aliases(name) == {"previous": 1}
    assert registry.register(make_record(name, "2")).version == 3


@pytest.mark.parametrize("moment", ["create_run", "log_batch", "create_model_version", "update_run"])
def test_the_second_registration_adopts_the_version_of_the_first(uri, name, moment):
    """Somebody registers the same job, all of it, just before one of our calls."""
    registry, other = open_registry(uri), open_registry(uri)
    registry.register(make_record(name, "1"), alias="champion")
    hooked = _Hook(registry, moment, lambda: other.register(make_record(name, "2"), alias="champion"))
    ours = registry.register(make_record(name, "2"), alias="champion")
    assert hooked.fired
    assert ours.version == 2
    assert registry.aliases(name) == {"champion": 2, "previous": 1}
    assert [event.action for event in registry.history(name)] == ["registered", "registered"]
    assert_nothing_is_left_over(registry, name)


class _Hook:
    """An `MlflowClient` that lets something happen before the first call of a method."""

    def __init__(self, registry, method, what):
        calls = registry._backend._calls
        self._client, calls._client = calls._client, self
        self._method, self._what, self.fired = method, what, False

    def __getattr__(self, method):
        if method == self._method and not self.fired:
            self.fired = True
            self._what()
        return getattr(self._client, method)


def test_of_two_promotions_at_once_the_later_event_stands(uri, name):
    registry, other = open_registry(uri), open_registry(uri)
    for job in "123":
        registry.register(make_record(name, job))
    registry.promote(f"{name}:1")
    hooked = _Hook(registry, "set_registered_model_alias", lambda: other.promote(f"{name}:3"))
    registry.promote(f"{name}:2")
    assert hooked.fired
    moved = [event for event in registry.history(name) if event.action == "moved"]
    assert [event.version for event in moved] == [1, 2, 3]
    assert registry.aliases(name) == moved[-1].moves == {"champion": 3, "previous": 2}


def test_an_alias_is_set_again_when_mlflow_fails_in_a_race(uri, name):
    """Two that set a new alias at once: MLflow looks, inserts, and lets one of them fail."""
    registry = open_registry(uri)
    trips = iter([RuntimeError("(psycopg2.errors.UniqueViolation) duplicate key value violates unique constraint")])
    hooked = _Hook(registry, "set_registered_model_alias", lambda: _throw(next(trips)))
    assert registry.register(make_record(name), alias="champion").aliases == ["champion"]
    assert hooked.fired


def _throw(error):
    raise error


def test_a_deleted_experiment_is_named(registry, client, name):
    registry.register(make_record(name))
    client.delete_experiment(client.get_experiment_by_name(f"tuneway/{name}").experiment_id)
    with pytest.raises(RegistryError, match=r"experiment .* was deleted"):
        registry.register(make_record(name, "2"))


def test_its_client_alone_is_enough(uri, name):
    """No NumPy, no pandas, no server."""
    code = f"""
import sys
for heavy in ("numpy", "pandas", "flask", "sklearn"):
    sys.modules[heavy] = None
from support.registries import make_record
from tuneway.registry import open_registry
print(open_registry({uri!r}).register(make_record({name!r}), alias="champion").ref)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": "tests", "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == f"{name}:1\n", done.stderr


def test_without_its_client_the_extra_is_named(uri, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    with pytest.raises(RegistryError, match=r"tuneway\[mlflow\]"):
        open_registry(uri)


def test_a_server_that_is_not_there_is_told_at_once_and_without_the_password(uri):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(RegistryUnavailable) as caught:
            open_registry(f"mlflow:http://ann:hunter2@127.0.0.1:{port}")
    assert caught.value.retryable
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.__dict__)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (401, RegistryError, "MLFLOW_TRACKING_USERNAME"),
        (403, RegistryError, "MLFLOW_TRACKING_USERNAME"),
        (500, RegistryUnavailable, "repeated safely"),
        (503, RegistryUnavailable, "repeated safely"),
    ],
)
def test_a_server_that_refuses_is_an_error_of_ours(uri, monkeypatch, status, kind, says):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    class Refuses(QuietHandler):
        def do_GET(self):  # noqa: N802 - http.server calls it so
            self.send_error(200 if self.path == "/health" else status)

    with serving(Refuses) as server, pytest.raises(kind, match=says) as caught:
        open_registry(f"mlflow:http://127.0.0.1:{server.server_port}").versions("router")
    assert type(caught.value) is kind
