"""The steps of a fine-tune as tasks: each one's output is the next one's input, as it is.

    @flow(on_cancellation=[cancel_jobs])
    def nightly():
        file = upload_training_file("train.jsonl")
        job = create_fine_tuning_job(model="gpt-4o-mini", training_file=file)
        done = wait_for_fine_tuning_job(job)
        return register_model(done, name="support-router")

Each has a second form to be awaited, whose name begins with `a`. `.submit()`, `.map()` and `.with_options()`
work on all of them.
"""

from __future__ import annotations

from prefect_tuneway import _data, _jobs, _models, _wait
from prefect_tuneway._steps import both, worth_retrying

validate_training_data, avalidate_training_data = both(_data.validate_training_data, retries=0)
upload_training_file, aupload_training_file = both(_data.upload_training_file)
create_fine_tuning_job, acreate_fine_tuning_job = both(_jobs.create_fine_tuning_job)
wait_for_fine_tuning_job, await_for_fine_tuning_job = both(_wait.wait_for_fine_tuning_job)
cancel_fine_tuning_job, acancel_fine_tuning_job = both(_jobs.cancel_fine_tuning_job)
pause_fine_tuning_job, apause_fine_tuning_job = both(_jobs.pause_fine_tuning_job)
resume_fine_tuning_job, aresume_fine_tuning_job = both(_jobs.resume_fine_tuning_job)
register_model, aregister_model = both(_models.register_model)
evaluate_model, aevaluate_model = both(_models.evaluate_model)

__all__ = [
    "acancel_fine_tuning_job",
    "acreate_fine_tuning_job",
    "aevaluate_model",
    "apause_fine_tuning_job",
    "aregister_model",
    "aresume_fine_tuning_job",
    "aupload_training_file",
    "avalidate_training_data",
    "await_for_fine_tuning_job",
    "cancel_fine_tuning_job",
    "create_fine_tuning_job",
    "evaluate_model",
    "pause_fine_tuning_job",
    "register_model",
    "resume_fine_tuning_job",
    "upload_training_file",
    "validate_training_data",
    "wait_for_fine_tuning_job",
    "worth_retrying",
]
