"""Data that an operator is given: Airflow stores and shows where it comes from, its rows and its hash; never a row.

Airflow stores the template fields of each task, as they are after rendering, and of each DAG. So rows, frames and
URLs with secrets are kept in a `HiddenData`, which shows a description of itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow.sdk import Asset, BaseOperator

from airflow_tuneway._literals import is_literal
from airflow_tuneway._places import located
from airflow_tuneway.operators._early import DATA

_PATH = type(Path())
"""A path of this machine. Airflow 3.1 takes whatever has `resolve` for an output, and so fails where no file is yet."""


class HiddenData:
    """Data that isn't to be stored or shown.

    Args:
        data: The data.
    """

    def __init__(self, data: Any) -> None:
        self.data = data
        self.facts: Mapping[str, Any] = {}

    def serialize(self) -> dict[str, Any]:
        """What Airflow stores in its place."""
        from tuneway.data import shown_input

        return shown_input(self.data, self.facts)

    def __repr__(self) -> str:
        return str(self.serialize())


def revealed(value: Any) -> Any:
    """The data itself, also within arguments of a function."""
    if isinstance(value, HiddenData):
        return value.data
    if type(value) in (list, tuple):
        return type(value)(map(revealed, value))
    return {key: revealed(item) for key, item in value.items()} if type(value) is dict else value


class DataOperator(BaseOperator):
    """A step that is given training and validation data, or only has room for them.

    Data that is an `Asset` is read at its URI, and becomes an inlet of the task.

    Args:
        data_conn_id: The Airflow connection by which data at a URL is opened, such as `s3://bucket/train.jsonl`: with
            the store's provider, when the task runs. Without it, `s3` takes `aws_default` and `gs` takes
            `google_cloud_default` if they are there, and else what the environment has.
    """

    template_fields: Sequence[str] = ("data_conn_id",)

    def __init__(self, *, data_conn_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_inlets(self.__dict__.pop("_assets", ()))
        self.data_conn_id = data_conn_id

    def located(self, *given: Any) -> list[Any]:
        """Training and validation data, to be read: rows as they are, URLs with their connection."""
        return located([revealed(data) for data in given], self.data_conn_id)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in DATA:
            value = hidden(self._place_of(value) if isinstance(value, Asset) else value)
            if isinstance(value, HiddenData):
                self.overwrite_rtif_after_execution = True  # then rows and hash are known
        super().__setattr__(name, value)

    def _place_of(self, asset: Asset) -> str:
        """Where an asset is. It becomes an inlet, at once or when the operator has its own."""
        if "inlets" in self.__dict__:
            self.add_inlets([asset])
        else:
            self.__dict__.setdefault("_assets", []).append(asset)
        return asset.uri

    def describe_inputs(self, known: object) -> None:
        """Add rows and hash to what Airflow shows of the data.

        Args:
            known: The output of a step that knows them, or a report about the data.
        """
        from tuneway.steps import data_facts

        given = [value for name in DATA if (value := getattr(self, name, None)) is not None]
        for value, facts in zip(given, data_facts(known), strict=False):
            if isinstance(value, HiddenData):
                value.facts = facts


def with_rows_hidden(value: Any) -> Any:
    """Wrap rows and frames of a function's arguments in `HiddenData`; return everything else unchanged."""
    if value is None or isinstance(value, str | int | float | Mapping):
        return value
    if isinstance(value, list):
        return HiddenData(value) if value and all(isinstance(row, Mapping) for row in value) else value
    from tuneway.data import is_frame

    return HiddenData(value) if is_frame(value) else value


def hidden(value: Any) -> Any:
    """Wrap what isn't to be stored in a `HiddenData`; templates, outputs of other tasks and places stay as they are."""
    if type(value) is _PATH:
        return str(value)
    if value is None or isinstance(value, HiddenData) or _is_plain(value) or _is_known_later(value):
        return value
    from tuneway.data import is_place

    return value if is_place(value) else HiddenData(value)


def _is_plain(value: Any) -> bool:
    """Whether a value is certainly a path. Only for other values the core is imported to find out."""
    return isinstance(value, str) and len(value) < 4096 and "://" not in value and value[:1] not in "{[ \n\t"


def _is_known_later(value: Any) -> bool:
    """Whether it is known only when the task runs: a template, or the output of another task.

    A row isn't a template, whatever its text. Rows are alike, so the first shows whether outputs of tasks are within.
    """
    if isinstance(value, list | tuple):
        return any(map(_is_output, value)) or _has_outputs(value[:1])
    return not is_literal(value) if isinstance(value, str) else _is_output(value)


def _has_outputs(value: Any) -> bool:
    if isinstance(value, Mapping):
        value = list(value.values())
    return any(map(_has_outputs, value)) if isinstance(value, list | tuple) else _is_output(value)


def _is_output(value: Any) -> bool:
    return hasattr(value, "iter_references")
