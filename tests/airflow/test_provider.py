"""What Airflow sees of the provider: its description, its connections, what its names cost to import."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.models.connection import Connection as StoredConnection
from airflow.sdk import DAG, Connection

from airflow_tuneway._connection import client_settings
from airflow_tuneway.hooks import FineTuningHook
from airflow_tuneway.links import FineTuningJobLink, job_url
from airflow_tuneway.operators import FineTuneOperator, WaitForFineTuningJobOperator
from airflow_tuneway.provider_info import get_provider_info
from tuneway import Client, InvalidSpec
from tuneway.registry import open_registry

EXAMPLES = Path(__file__).parents[2] / "examples" / "airflow"


def test_the_description_is_complete_by_airflows_own_schema():
    import jsonschema

    schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())
    info = get_provider_info()

    jsonschema.validate(info, schema)

    assert info.keys() <= schema["properties"].keys() | {"versions"}


def test_everything_that_the_description_names_is_there():
    from support.any_airflow import import_string

    info = get_provider_info()
    for kind in ("operators", "sensors", "hooks", "triggers"):
        for entry in info[kind]:
            for module in entry["python-modules"]:
                assert import_string(f"{module}.__name__") == module
    named = [
        *info["extra-links"],
        *(entry["class-name"] for entry in info["task-decorators"]),
        *(entry["hook-class-name"] for entry in info["connection-types"]),
    ]
    for path in named:
        assert import_string(path)


def test_airflow_finds_the_provider_its_connection_and_its_decorator():
    from airflow.providers_manager import ProvidersManager
    from support.any_airflow import ProvidersManagerTaskRuntime

    manager, runtime = ProvidersManager(), ProvidersManagerTaskRuntime()

    assert manager.providers["tuneway"].data["name"] == "Tuneway"
    assert runtime.hooks["tuneway"].hook_class_name == "airflow_tuneway.hooks.FineTuningHook"
    assert "airflow_tuneway.links.FineTuningJobLink" in manager.extra_links_class_names
    assert "fine_tune" in runtime.taskflow_decorators
    assert not [plugin for plugin in manager.plugins if plugin.name == "tuneway"]  # it would be loaded twice


def test_the_form_of_a_connection_says_what_goes_where():
    from airflow import __version__

    program = "from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService\n"
    program += "forms = {form.connection_type: form for form in HookMetaService.hook_meta_data()}\n"
    program += "print(forms['tuneway'].model_dump_json())"
    out = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    form = json.loads(out.splitlines()[-1])

    assert form["standard_fields"]["host"]["title"] == "Base URL"
    assert form["standard_fields"]["password"]["title"] == "API key"
    assert form["standard_fields"]["login"]["hidden"]
    if __version__ >= "3.2":  # before, these are keys of the extra field, which has no form
        assert {"organization", "project", "registry", "timeout", "settle", "poll"} <= form["extra_fields"].keys()


def test_airflow_loads_the_plugin_once_and_shows_its_tab():
    from airflow.plugins_manager import get_plugin_info

    [plugin] = [plugin for plugin in get_plugin_info() if plugin["name"] == "tuneway"]

    assert type(plugin["source"]).__name__ == "EntryPointSource"
    assert [(view["name"], view["destination"]) for view in plugin["external_views"]] == [
        ("Fine-tuning", "task_instance")
    ]


@pytest.mark.parametrize(
    ("connection", "settings"),
    [
        ({"host": "https://llm.example/v1", "password": "k"}, {"base_url": "https://llm.example/v1", "api_key": "k"}),
        ({"password": "k"}, {"base_url": None, "api_key": "k"}),
        ({"host": "llm.example", "port": 8080, "schema": "http"}, {"base_url": "http://llm.example:8080/v1"}),
        ({"host": "proxy.corp/v1"}, {"base_url": "https://proxy.corp/v1"}),
        ({"host": "proxy.corp/llm/v1/"}, {"base_url": "https://proxy.corp/llm/v1"}),
        ({"host": "proxy.corp/v1", "port": 8080, "schema": "http"}, {"base_url": "http://proxy.corp:8080/v1"}),
        (
            {"extra": {"organization": "org-1", "project": "proj_1", "timeout": 5, "registry": "sqlite:///m.db"}},
            {"organization": "org-1", "project": "proj_1", "timeout": 5},
        ),
        (
            # as Airflow's own OpenAI provider has it
            {"conn_type": "openai", "extra": {"openai_client_kwargs": {"api_key": "k2", "base_url": "http://b/v1"}}},
            {"api_key": "k2", "base_url": "http://b/v1"},
        ),
        ({"extra": {"poll": {"minimum": 7}}}, {"poll": {"minimum": 7}}),
        ({"extra": {"service_options": {"auth": "entra"}}}, {"service_options": {"auth": "entra"}, "api_key": None}),
        ({"extra": {"service_options": '{"auth": "entra"}'}}, {"service_options": {"auth": "entra"}}),
        ({"extra": {"service_options": None}}, {"service_options": None}),
    ],
)
def test_a_connection_becomes_the_arguments_of_a_client(connection, settings):
    connection = {"conn_type": "tuneway"} | connection
    extra = json.dumps(connection.pop("extra", {}))

    made = client_settings(Connection(conn_id="c", extra=extra, **connection))

    assert {name: made.get(name) for name in settings} == settings
    assert "registry" not in made


@pytest.mark.parametrize("given", ["auth=entra", "[]", ["auth"]])
def test_service_options_that_are_no_mapping_are_refused(given):
    connection = Connection(conn_id="c", conn_type="tuneway", extra=json.dumps({"service_options": given}))
    with pytest.raises(InvalidSpec, match=r"service_options can't be .* it takes a mapping"):
        client_settings(connection)


@pytest.mark.parametrize(
    ("uri", "settings"),
    [
        ("tuneway://:k@llm.example", {"base_url": "https://llm.example/v1", "api_key": "k"}),
        ("tuneway://:k@proxy.corp:8080/v1", {"base_url": "https://proxy.corp:8080/v1"}),
        ("tuneway://:k@proxy.corp/llm%2Fv1", {"base_url": "https://proxy.corp/llm/v1"}),
        ("tuneway://:k@llm.example/http", {"base_url": "http://llm.example/v1"}),
        (
            "tuneway://llm.example/?timeout=30&settle=2.5&lookup_pages=7&project=12",
            {"timeout": 30, "settle": 2.5, "lookup_pages": 7, "project": "12"},
        ),
        ("tuneway://llm.example/?poll=%7B%22minimum%22%3A+7%7D", {"poll": {"minimum": 7}}),
        ("tuneway://llm.example/?registry=sqlite%3A%2F%2F%2Fm.db", {"base_url": "https://llm.example/v1"}),
    ],
)
def test_a_connection_that_is_a_uri_becomes_the_arguments_of_a_client(uri, settings):
    made = client_settings(_of_uri(uri))

    assert {name: made.get(name) for name in settings} == settings
    with Client(**{"api_key": "k"} | {name: value for name, value in made.items() if value is not None}):
        pass  # and the client takes them


@pytest.mark.parametrize(("extra", "said"), [("timeout=soon", "timeout"), ("poll=often", "poll")])
def test_text_that_is_no_number_is_named(extra, said):
    with pytest.raises(InvalidSpec, match=said):
        Client(**client_settings(_of_uri(f"tuneway://:k@llm.example/?{extra}")))


def _of_uri(uri):
    stored = StoredConnection(conn_id="c", uri=uri)
    names = ("conn_type", "host", "login", "password", "schema", "port", "extra")
    return Connection(conn_id="c", **{name: getattr(stored, name) for name in names})


def test_a_connection_can_be_tried(service, monkeypatch):
    assert FineTuningHook().test_connection() == (True, f"{service.base_url} answers.")

    monkeypatch.setenv("AIRFLOW_CONN_NOWHERE", json.dumps({"conn_type": "tuneway", "host": "http://127.0.0.1:9/v1"}))
    works, why = FineTuningHook("nowhere").test_connection()
    assert not works
    assert "127.0.0.1:9" in why or "connect" in why.lower()


def test_a_step_can_be_stored_and_loaded_as_the_scheduler_does():
    from support.any_airflow import DagSerialization

    from tuneway import Supervised

    with DAG("stored", schedule=None) as dag:
        FineTuneOperator(
            task_id="tune", training_data="t.jsonl", model="m", method=Supervised(n_epochs=2), name="router"
        )
        WaitForFineTuningJobOperator.partial(task_id="wait").expand(job=["ftjob-1", "ftjob-2"])

    loaded = DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))

    tune = loaded.get_task("tune")
    assert tune.template_fields_renderers["method"] == "json"
    assert "training_data" in tune.template_fields
    assert [outlet.uri for outlet in tune.outlets] == ["tuneway://models/router"]
    assert [link.name for link in tune.operator_extra_links] == ["Fine-tuning job"]
    assert loaded.get_task("wait").is_mapped


def test_a_jobs_page_is_the_hosted_one_the_local_services_or_the_report():
    ti = SimpleNamespace(dag_id="d", run_id="manual__2026-01-01T00:00:00+00:00", task_id="g.t", map_index=3)

    assert job_url(ti, "ftjob-1", "https://api.openai.com/v1").startswith(
        "https://platform.openai.com/finetune/ftjob-1"
    )
    assert job_url(ti, "ftjob-1", "http://127.0.0.1:8765/v1") == "http://127.0.0.1:8765/jobs/ftjob-1"
    assert job_url(ti, "ftjob-1", "https://llm.example/v1") == (
        "/tuneway/report/d/manual__2026-01-01T00%3A00%3A00%2B00%3A00/g.t/3"
    )
    assert FineTuningJobLink().xcom_key == "job_url"


def test_the_examples_are_dags_that_airflow_can_load(database):
    from support.any_airflow import DagBag

    bag = DagBag(dag_folder=EXAMPLES)

    assert bag.import_errors == {}
    assert set(bag.dags) == {"nightly_fine_tune", "fine_tune_many", "try_new_model"}


def test_a_report_is_shown_to_nobody_who_has_not_logged_in(database):
    from fastapi.testclient import TestClient

    from airflow_tuneway._pages import make_app

    assert TestClient(make_app()).get("/report/d/r/t/-1").status_code == 401


def test_parsing_a_dag_imports_nothing_of_the_core():
    program = "import sys, airflow_tuneway.operators, airflow_tuneway.assets, airflow_tuneway.sensors\n"
    program += (
        "print([name for name in sys.modules if name in {'tuneway.client', 'tuneway.models', 'tuneway.dataset'}])"
    )
    out = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout

    assert out.strip().splitlines()[-1] == "[]"


def test_the_sensor_looks_and_leaves_the_job_alone(run, stuck, data):
    from airflow_tuneway.sensors import FineTuningJobSensor
    from tuneway import JobSpec

    with Client(base_url=stuck.base_url) as client:
        job = client.jobs.create(JobSpec(model="gpt-4o-mini", training_file=client.upload(data)))
        with DAG("sensed", schedule=None) as dag:
            FineTuningJobSensor(task_id="sense", job=job.id, poke_interval=0.1, timeout=0.3)

        assert run(dag)[0] == "failed"
        assert client.jobs.retrieve(job.id).status == "validating_files"


@pytest.mark.parametrize("deferrable", [True, False])
def test_the_sensor_gives_what_came_of_the_job(run, service, data, deferrable):
    from airflow_tuneway.sensors import FineTuningJobSensor
    from tuneway import JobSpec, Supervised

    with Client(base_url=service.base_url) as client:
        spec = JobSpec(model="gpt-4o-mini", training_file=client.upload(data), method=Supervised(n_epochs=1))
        job = client.jobs.create(spec)
        with DAG(f"sensed_{deferrable}", schedule=None) as dag:
            known = {"job_id": job.id, "requested": spec.requested}
            FineTuningJobSensor(task_id="sense", job=known, poke_interval=0.2, timeout=60, deferrable=deferrable)

        state, told = run(dag)

        assert state == "success"
        assert told["sense", "return_value"]["fine_tuned_model"] == client.jobs.retrieve(job.id).fine_tuned_model
        assert told["sense", "return_value"]["requested"] == {"n_epochs": 1}


def _recipe(data, uploaded):
    from tuneway import Recipe, Supervised

    return Recipe(model="gpt-4o-mini", training_data=data, method=Supervised(n_epochs=1), suffix="said")


def _specification(data, uploaded):
    from tuneway import JobSpec, Supervised
    from tuneway.steps import file_id_of

    file = file_id_of(uploaded)
    return JobSpec(model="gpt-4o-mini", training_file=file, method=Supervised(n_epochs=1), suffix="said")


def _fields(data, uploaded):
    method = {"type": "supervised", "n_epochs": 1}
    return {"model": "gpt-4o-mini", "training_file": uploaded, "method": method, "suffix": "said"}


@pytest.mark.parametrize(("says", "rows"), [(_recipe, 24), (_specification, None), (_fields, 24)])
def test_a_function_can_say_what_to_train(run, service, data, tmp_path, says, rows):
    from airflow.sdk import task

    from airflow_tuneway.operators import UploadTrainingFileOperator

    with DAG("said", schedule=None) as dag:

        @task.fine_tune(name="said-router", deferrable=True, timeout=60)
        def tune(uploaded):
            return says(str(data), uploaded)

        tune(UploadTrainingFileOperator(task_id="upload", training_data=str(data)).output)

    state, told = run(dag)

    assert state == "success"
    assert told["tune", "ref"] == "said-router:1"
    with Client(base_url=service.base_url) as client:
        assert ":said:" in client.jobs.retrieve(told["tune", "job_id"]).fine_tuned_model
    registered = open_registry(f"sqlite:///{tmp_path / 'models.db'}").get("said-router")
    assert registered.record.requested == {"n_epochs": 1}
    assert registered.record.training.rows == rows
