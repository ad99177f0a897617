"""Names that have moved between the versions of Airflow that the tests run on."""

from __future__ import annotations

try:
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.sdk._shared.module_loading import import_string
    from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferred
    from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime
    from airflow.serialization.serialized_objects import DagSerialization
except ImportError:  # 3.1
    from airflow.exceptions import AirflowRescheduleException, TaskDeferred
    from airflow.models.dagbag import DagBag, sync_bag_to_db
    from airflow.providers_manager import ProvidersManager as ProvidersManagerTaskRuntime
    from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization
    from airflow.utils.module_loading import import_string

__all__ = [
    "AirflowRescheduleException",
    "DagBag",
    "DagSerialization",
    "ProvidersManagerTaskRuntime",
    "TaskDeferred",
    "import_string",
    "sync_bag_to_db",
]
