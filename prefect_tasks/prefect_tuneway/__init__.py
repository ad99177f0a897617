"""Tuneway for Prefect: fine-tuning jobs as tasks, blocks and flows.

Prefect imports this package to register its blocks. Everything else is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect_tuneway.credentials import FineTuningCredentials
from prefect_tuneway.jobs import FineTuningJob, FineTuningJobRun
from tuneway._lazy import Finder, on_demand
from tuneway._version import __version__

if TYPE_CHECKING:
    from prefect_tuneway.assets import data_asset, model_asset
    from prefect_tuneway.flows import afine_tune, fine_tune
    from prefect_tuneway.hooks import cancel_jobs, cancel_jobs_with
    from prefect_tuneway.tasks import (
        acancel_fine_tuning_job,
        acreate_fine_tuning_job,
        aevaluate_model,
        apause_fine_tuning_job,
        aregister_model,
        aresume_fine_tuning_job,
        aupload_training_file,
        avalidate_training_data,
        await_for_fine_tuning_job,
        cancel_fine_tuning_job,
        create_fine_tuning_job,
        evaluate_model,
        pause_fine_tuning_job,
        register_model,
        resume_fine_tuning_job,
        upload_training_file,
        validate_training_data,
        wait_for_fine_tuning_job,
        worth_retrying,
    )
    from prefect_tuneway.waiting import asuspend_until_ended, resume_ended_runs, suspend_until_ended

_ELSEWHERE = {
    "prefect_tuneway.assets": ("data_asset", "model_asset"),
    "prefect_tuneway.flows": ("afine_tune", "fine_tune"),
    "prefect_tuneway.hooks": ("cancel_jobs", "cancel_jobs_with"),
    "prefect_tuneway.waiting": ("asuspend_until_ended", "resume_ended_runs", "suspend_until_ended"),
}

__all__ = [
    "FineTuningCredentials",
    "FineTuningJob",
    "FineTuningJobRun",
    "__version__",
    "acancel_fine_tuning_job",
    "acreate_fine_tuning_job",
    "aevaluate_model",
    "afine_tune",
    "apause_fine_tuning_job",
    "aregister_model",
    "aresume_fine_tuning_job",
    "asuspend_until_ended",
    "aupload_training_file",
    "avalidate_training_data",
    "await_for_fine_tuning_job",
    "cancel_fine_tuning_job",
    "cancel_jobs",
    "cancel_jobs_with",
    "create_fine_tuning_job",
    "data_asset",
    "evaluate_model",
    "fine_tune",
    "model_asset",
    "pause_fine_tuning_job",
    "register_model",
    "resume_ended_runs",
    "resume_fine_tuning_job",
    "suspend_until_ended",
    "upload_training_file",
    "validate_training_data",
    "wait_for_fine_tuning_job",
    "worth_retrying",
]

_HOMES = dict.fromkeys(__all__, "prefect_tuneway.tasks")  # those that aren't named above are tasks
_HOMES |= {name: home for home, names in _ELSEWHERE.items() for name in names}

__getattr__: Finder = on_demand(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
