"""Every night: check the data, train, and make the new model the champion if it is no worse than the old one.

    python examples/prefect/nightly.py                     # once, here
    prefect deploy --all                                   # every night, on a worker: see prefect.yaml

The service is set by the environment: OPENAI_BASE_URL and OPENAI_API_KEY, of a hosted one or of `tuneway serve` on
this machine; or by a stored block, whose name you give as `credentials`. A run that is retried or run again finds what
it made before; one that is cancelled cancels its job.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from prefect import flow

from prefect_tuneway import (
    cancel_jobs,
    create_fine_tuning_job,
    register_model,
    upload_training_file,
    validate_training_data,
    wait_for_fine_tuning_job,
)
from tuneway.registry import Gate, NoWorseThanChampion

DATA = os.environ.get("SUPPORT_DATA", str(Path(__file__).parent.parent / "data"))


@flow(on_cancellation=[cancel_jobs])
def nightly(
    model: str = "gpt-4o-mini", credentials: str | None = None, reuse: Literal["run", "content"] = "run"
) -> dict[str, Any]:
    """Train the support router; with reuse="content", only if the data is new."""
    train, valid = f"{DATA}/support_train.jsonl", f"{DATA}/support_valid.jsonl"
    validate_training_data(train, validation_data=valid, model=model)
    files = upload_training_file(train, validation_data=valid, credentials=credentials)
    job = create_fine_tuning_job(
        model=model,
        training_file=files,
        method={"type": "supervised", "n_epochs": 3},
        suffix="support-router",
        seed=7,
        reuse=reuse,
        credentials=credentials,
    )
    done = wait_for_fine_tuning_job(job, credentials=credentials, timeout=6 * 3600, cancel_on_timeout=True)
    return register_model(
        done,
        name="support-router",
        alias="champion",
        gates=[Gate("full_valid_loss", max=1.0), NoWorseThanChampion("full_valid_loss", tolerance=0.05)],
        credentials=credentials,
    )


if __name__ == "__main__":
    nightly()
