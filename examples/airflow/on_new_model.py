"""Runs when the support router has a new version, and asks it a few questions.

It is scheduled on the model's asset, which `RegisterModelOperator` updates: no sensor waits for it, and no
time of day is guessed. Versions that something outside of Airflow registers are noticed as well, by a watcher
in the triggerer. Where nobody should look every minute, whoever registers can tell Airflow instead:
`webhook_receiver.py` does.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.sdk import DAG, AssetWatcher, task

from airflow_tuneway.assets import model_asset, version_of
from airflow_tuneway.hooks import FineTuningHook
from airflow_tuneway.triggers import ModelVersionTrigger

QUESTIONS = ["My card was declined when paying", "Where is my parcel?", "Please reset my password"]

router = model_asset("support-router")
from_outside = model_asset(
    "support-router-elsewhere",
    watchers=[
        AssetWatcher(
            name="new version", trigger=ModelVersionTrigger("support-router-elsewhere", conn_id="tuneway_default")
        )
    ],
)

with DAG(
    "try_new_model",
    schedule=router | from_outside,
    start_date=datetime(2026, 1, 1),  # noqa: DTZ001 - Airflow takes it for UTC
    catchup=False,
    tags=["fine-tuning"],
):

    @task
    def ask(triggering_asset_events: dict[Any, list[Any]] | None = None) -> dict[str, str]:
        """Ask the new version; its id came with the event."""
        [event, *_] = [event for events in (triggering_asset_events or {}).values() for event in events]
        model = version_of(event)["model_id"]
        client = FineTuningHook().client
        return {question: client.ask(model, [{"role": "user", "content": question}]) for question in QUESTIONS}

    ask()
