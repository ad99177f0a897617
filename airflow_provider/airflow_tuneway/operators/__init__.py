"""The steps of a fine-tune as operators: each one's output is the next one's input, as it is.

    upload   = UploadTrainingFileOperator(task_id="upload", training_data="/data/train.jsonl")
    create   = CreateFineTuningJobOperator(task_id="create", model="gpt-4o-mini", training_file=upload.output)
    wait     = WaitForFineTuningJobOperator(task_id="wait", job=create.output, deferrable=True)
    register = RegisterModelOperator(task_id="register", job=wait.output, name="support-router")

Airflow parses DAG files all the time, so nothing heavy is imported here: the core is imported when a task runs.
"""

from airflow_tuneway.operators._control import (
    CancelFineTuningJobOperator,
    PauseFineTuningJobOperator,
    ResumeFineTuningJobOperator,
)
from airflow_tuneway.operators._create import CreateFineTuningJobOperator
from airflow_tuneway.operators._data import UploadTrainingFileOperator, ValidateTrainingDataOperator
from airflow_tuneway.operators._fine_tune import FineTuneOperator
from airflow_tuneway.operators._models import DeleteFineTunedModelOperator, RegisterModelOperator
from airflow_tuneway.operators._wait import WaitForFineTuningJobOperator

__all__ = [
    "CancelFineTuningJobOperator",
    "CreateFineTuningJobOperator",
    "DeleteFineTunedModelOperator",
    "FineTuneOperator",
    "PauseFineTuningJobOperator",
    "RegisterModelOperator",
    "ResumeFineTuningJobOperator",
    "UploadTrainingFileOperator",
    "ValidateTrainingDataOperator",
    "WaitForFineTuningJobOperator",
]
