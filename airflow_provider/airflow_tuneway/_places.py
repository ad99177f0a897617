"""Data in an object store, opened with the credentials of an Airflow connection when a task runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULTS = {
    "s3": "aws_default",
    "s3a": "aws_default",
    "s3n": "aws_default",
    "gs": "google_cloud_default",
    "gcs": "google_cloud_default",
}
"""The connection that Airflow's own operators take for a store, where none is named."""


def located(given: Sequence[Any], conn_id: str | None) -> list[Any]:
    """Data as it was given; a URL of a store that Airflow knows becomes a path that opens itself by a connection.

    Raises:
        InvalidSpec: A connection is named, and none of it is in a store that it could open.
    """
    from airflow.sdk import ObjectStoragePath

    found = [_located(data, conn_id) for data in given]
    if conn_id and not any(isinstance(data, ObjectStoragePath) for data in found):
        from tuneway.errors import InvalidSpec

        raise InvalidSpec(
            "data_conn_id: the data isn't in a store that Airflow opens by a connection",
            field="data_conn_id",
            hint="Give a URL such as s3://bucket/train.jsonl, and install the store's provider, such as "
            "apache-airflow-providers-amazon[s3fs]. For other data leave data_conn_id out.",
        )
    return found


def _located(data: Any, conn_id: str | None) -> Any:
    from airflow.sdk import ObjectStoragePath
    from airflow.sdk.io import has_fs

    if isinstance(data, ObjectStoragePath):
        if conn_id and data.conn_id is None and data.protocol not in ("", "file", "local"):
            return ObjectStoragePath(str(data), conn_id=conn_id)
        return data
    if not isinstance(data, str):
        return data
    scheme, _, rest = data.partition("://")
    if not rest or scheme in ("file", "local") or not has_fs(scheme):
        return data
    if "@" in rest.partition("/")[0]:
        # as Airflow writes it, the connection stands before the bucket; in URLs of other stores, it is something else
        return ObjectStoragePath(data) if scheme in DEFAULTS else data
    conn_id = conn_id or _existing(DEFAULTS.get(scheme))
    return ObjectStoragePath(data, conn_id=conn_id) if conn_id else data


def _existing(conn_id: str | None) -> str | None:
    """A connection's id if it is there."""
    from airflow.sdk import BaseHook

    from airflow_tuneway._compat import AirflowNotFoundException

    if conn_id is None:
        return None
    try:
        BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        return None
    return conn_id
