"""A model for each file in a folder, as many at a time as a limit allows; all waits share one poll.

prefect gcl create fine-tuning-jobs --limit 3
python examples/prefect/many_models.py
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from prefect import flow, task, unmapped
from prefect.concurrency.sync import concurrency

from prefect_tuneway import (
    cancel_jobs,
    create_fine_tuning_job,
    register_model,
    upload_training_file,
    wait_for_fine_tuning_job,
)

DATA = os.environ.get("LANGUAGES_DATA", "/data/languages")


@task(task_run_name="train {path}")
def train(path: str, credentials: str | None = None) -> dict[str, Any]:
    """Train one model, holding one of the slots until it has ended."""
    with concurrency("fine-tuning-jobs"):
        file = upload_training_file(path, credentials=credentials)
        job = create_fine_tuning_job(model="gpt-4o-mini", training_file=file, credentials=credentials)
        done = wait_for_fine_tuning_job(job, credentials=credentials)
    return register_model(done, name=f"router-{Path(path).stem}", credentials=credentials)


@flow(on_cancellation=[cancel_jobs])
def many_models(credentials: str | None = None) -> list[dict[str, Any]]:
    """Train on all files."""
    paths = sorted(str(path) for path in Path(DATA).glob("*.jsonl"))
    return train.map(paths, credentials=unmapped(credentials)).result()


if __name__ == "__main__":
    many_models()
