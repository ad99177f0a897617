"""Hours of training, and no process that waits: the run is suspended until its job has ended.

Deploy both flows (see prefect.yaml): `patient` starts the job and is suspended; `resume_ended_runs` runs every few
minutes, looks at the jobs of all suspended runs at once, and resumes the runs whose jobs have ended. Where webhooks
from the service reach you, an automation can start it with the job's id as well.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from prefect import flow

from prefect_tuneway import (
    cancel_jobs,
    create_fine_tuning_job,
    register_model,
    resume_ended_runs,
    suspend_until_ended,
    upload_training_file,
)

__all__ = ["patient", "resume_ended_runs"]

DATA = os.environ.get("SUPPORT_DATA", str(Path(__file__).parent.parent / "data"))


@flow(on_cancellation=[cancel_jobs])
def patient(model: str = "gpt-4o-mini", credentials: str | None = None) -> dict[str, Any]:
    """Train; no worker waits for the job."""
    file = upload_training_file(f"{DATA}/support_train.jsonl", credentials=credentials)
    job = create_fine_tuning_job(model=model, training_file=file, credentials=credentials)
    done = suspend_until_ended(job, credentials=credentials, timeout=24 * 3600)
    return register_model(done, name="support-router", credentials=credentials)
