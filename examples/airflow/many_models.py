"""One mapped task, many models: one for each language. All of them wait on one poll, and none holds a worker."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

from airflow.sdk import DAG, task

from airflow_tuneway.operators import FineTuneOperator

DATA = os.environ.get("LANGUAGES_DATA", "/data/languages")

with DAG(
    "fine_tune_many",
    schedule=None,
    start_date=datetime(2026, 1, 1),  # noqa: DTZ001 - Airflow takes it for UTC
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["fine-tuning"],
):

    @task
    def languages() -> list[dict[str, str]]:
        """What to train: a model for each file."""
        files = sorted(Path(DATA).glob("*.jsonl"))
        return [{"training_data": str(path), "name": f"router-{path.stem}"} for path in files]

    FineTuneOperator.partial(
        task_id="fine_tune",
        model="gpt-4o-mini",
        method={"type": "supervised", "n_epochs": 3},
        deferrable=True,
        timeout=timedelta(hours=6).total_seconds(),
        map_index_template="{{ task.name }}",
    ).expand_kwargs(languages())
