"""Every night: check the data, train, and make the new model the champion if it is no worse than the old one.

Copy this file into your DAGs folder. It needs one connection, `tuneway_default`: its host is the service's address,
hosted or `tuneway serve` on this machine, and its password the API key. A retry finds what the try before it has
made: nothing is uploaded or paid for twice.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from airflow.sdk import DAG

from airflow_tuneway.operators import (
    CreateFineTuningJobOperator,
    RegisterModelOperator,
    UploadTrainingFileOperator,
    ValidateTrainingDataOperator,
    WaitForFineTuningJobOperator,
)
from tuneway.registry import Gate, NoWorseThanChampion

DATA = os.environ.get("SUPPORT_DATA", "/data/support")
TRAIN, VALID = f"{DATA}/support_train.jsonl", f"{DATA}/support_valid.jsonl"

with DAG(
    "nightly_fine_tune",
    schedule="0 3 * * *",
    start_date=datetime(2026, 1, 1),  # noqa: DTZ001 - Airflow takes it for UTC
    catchup=False,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["fine-tuning"],
):
    data = {"training_data": TRAIN, "validation_data": VALID}
    validate = ValidateTrainingDataOperator(task_id="validate", model="gpt-4o-mini", **data)
    upload = UploadTrainingFileOperator(task_id="upload", **data)
    create = CreateFineTuningJobOperator(
        task_id="create",
        model="gpt-4o-mini",
        training_file=upload.output,  # the validation file comes along
        method={"type": "supervised", "n_epochs": 3},
        suffix="support-router",
        seed=7,
    )
    wait = WaitForFineTuningJobOperator(
        task_id="wait", job=create.output, deferrable=True, timeout=timedelta(hours=6), cancel_on_timeout=True
    )
    RegisterModelOperator(
        task_id="register",
        job=wait.output,
        name="support-router",
        alias="champion",
        gates=[Gate("full_valid_loss", max=1.0), NoWorseThanChampion("full_valid_loss", tolerance=0.05)],
        reason="{{ run_id }}",
    )
    validate >> upload
