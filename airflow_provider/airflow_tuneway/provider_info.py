"""What Airflow's provider manager asks for."""

from __future__ import annotations

from typing import Any

from tuneway._version import __version__

NAME = "Tuneway"
FORM = {
    "hidden-fields": ["schema", "login", "port"],
    "relabeling": {"host": "Base URL", "password": "API key"},
    "placeholders": {"host": "https://api.openai.com/v1"},
}
DEPLOYMENT = {
    "description": "The name of this Airflow, such as staging. Set it where several installations share an account "
    "and have DAGs and runs of the same names: jobs of one are never taken for jobs of the other. Without it the "
    "environment variable TUNEWAY_DEPLOYMENT counts.",
    "version_added": None,
    "type": "string",
    "example": "staging",
    "default": None,
}
REGISTRY = {
    "description": "The address of the model registry, for tasks and connections that name none: "
    "sqlite:////data/models.db where all workers have the folder, else mlflow:https://… or mlflow:postgresql://…. "
    "Without it the environment variable TUNEWAY_REGISTRY_URI counts, or else a file in the home folder of the worker.",
    "version_added": None,
    "type": "string",
    "example": "mlflow:https://mlflow.example",
    "default": None,
}


def get_provider_info() -> dict[str, Any]:
    """Describe this provider to Airflow.

    The plugin isn't named here but is an entry point of its own: that one Airflow loads as it comes, while
    plugins of providers are loaded only where it is told to discover all providers eagerly.
    """
    return {
        "package-name": "tuneway",
        "name": NAME,
        "description": "Fine-tuning jobs as ordinary DAG steps.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": NAME,
                "how-to-guide": ["/docs/guides/airflow.md"],
                "logo": "/docs/images/logo.svg",
                "tags": ["service"],
            }
        ],
        "operators": [{"integration-name": NAME, "python-modules": ["airflow_tuneway.operators"]}],
        "hooks": [{"integration-name": NAME, "python-modules": ["airflow_tuneway.hooks"]}],
        "triggers": [{"integration-name": NAME, "python-modules": ["airflow_tuneway.triggers"]}],
        "connection-types": [_connection_type()],
        "sensors": [{"integration-name": NAME, "python-modules": ["airflow_tuneway.sensors"]}],
        "task-decorators": [{"name": "fine_tune", "class-name": "airflow_tuneway.decorators.fine_tune_task"}],
        "extra-links": ["airflow_tuneway.links.FineTuningJobLink"],
        "asset-uris": [{"schemes": ["tuneway"], "handler": None}],
        "config": {
            "tuneway": {
                "description": "Fine-tuning jobs.",
                "options": {"deployment": DEPLOYMENT, "registry": REGISTRY},
            }
        },
    }


def _connection_type() -> dict[str, Any]:
    return {
        "connection-type": "tuneway",
        "hook-class-name": "airflow_tuneway.hooks.FineTuningHook",
        "hook-name": NAME,
        "conn-fields": {
            "organization": _text("Organisation"),
            "project": _text("Project"),
            "registry": _text("Model registry", "sqlite:////data/models.db or mlflow:https://…"),
            "timeout": {
                "label": "Request time-out",
                "description": "Seconds that one request may take in all",
                "schema": {"type": ["number", "null"]},
            },
            "settle": {
                "label": "Settle window",
                "description": "seconds after which the service surely shows what a request has done",
                "schema": {"type": ["number", "null"]},
            },
            "poll": {
                "label": "Poll",
                "description": 'how often a wait looks, such as {"minimum": 30, "maximum": 120}',
                "schema": {"type": ["object", "null"]},
            },
            "dialect": _text("Dialect", "such as azure; guessed from the address when left out"),
            "api_version": _text("API version", "for Azure's dated API"),
            "service_options": {
                "label": "Service options",
                "description": 'What else the service needs: {"auth": "entra"}',
                "schema": {"type": ["object", "null"]},
            },
        },
        "ui-field-behaviour": FORM,
    }


def _text(label: str, description: str | None = None) -> dict[str, Any]:
    field: dict[str, Any] = {"label": label, "schema": {"type": ["string", "null"]}}
    return field | ({"description": description} if description else {})
