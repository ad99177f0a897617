"""Data in an object store, opened with the credentials of an Airflow connection when a task runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_LOCAL = ("", "file", "local")
DEFAULTS = {
    "s3": "aws_default",
    "s3a": "aws_default",
    "s3n": "aws_default",
    "gs": "google_cloud_default",
    "gcs": "google_cloud_default",
}
"""The connection that Airflow's own operators take for a store, where none is named."""

# as Airflow writes it, the connection stands before the bucket; what else may stand there is a key with its secret
_WITH_CONNECTION = re.compile(r"(s3[an]?|gc?s)://[^/@:?#]+@[^/@]+/")


def located(given: Sequence[Any], conn_id: str | None) -> list[Any]:
    """Data as it was given; a URL of a store that Airflow knows becomes a path that opens itself by a connection.

    Raises:
        InvalidSpec: A connection is named, and none of it is in a store that it could open.
        AirflowNotFoundException: There is no connection of that name. The store would be asked without one.
    """
    from airflow.sdk import BaseHook, ObjectStoragePath

    found = [_located(data, conn_id) for data in given]
    if not conn_id:
        return found
    if any(isinstance(data, ObjectStoragePath) for data in found):
        BaseHook.get_connection(conn_id)
        return found
    from tuneway.errors import InvalidSpec

    raise InvalidSpec(
        "data_conn_id: the data isn't in a store that Airflow opens by a connection",
        field="data_conn_id",
        hint="Give a URL such as s3://bucket/train.jsonl, and install the store's provider, such as "
        "apache-airflow-providers-amazon[s3fs]. For other data leave data_conn_id out.",
    )


def _located(data: Any, conn_id: str | None) -> Any:
    from airflow.sdk import ObjectStoragePath
    from airflow.sdk.io import has_fs

    if isinstance(data, ObjectStoragePath):
        if conn_id and data.conn_id is None and data.protocol not in _LOCAL:
            return ObjectStoragePath(str(data), conn_id=conn_id)
        return data
    if not isinstance(data, str):
        return data
    if _WITH_CONNECTION.match(data):
        return ObjectStoragePath(data)
    scheme, _, rest = data.partition("://")
    if not rest or "@" in rest.partition("/")[0] or scheme in _LOCAL or not has_fs(scheme):
        return data
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
