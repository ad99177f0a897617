"""Where training data comes from: a path, rows, a function, or an asset that yields one of these."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

from dagster import AssetKey, AssetsDefinition, AssetSpec, SourceAsset

from dagster_tuneway._names import filled
from dagster_tuneway._runs import partition_of
from tuneway._escape import file_name
from tuneway.errors import InvalidInput, InvalidSpec

if TYPE_CHECKING:
    from dagster import AssetCheckExecutionContext, AssetExecutionContext

Row: TypeAlias = Mapping[str, Any]
AssetLike: TypeAlias = AssetKey | AssetsDefinition | AssetSpec | SourceAsset
Data: TypeAlias = str | PathLike[str] | Iterable[Row] | Callable[..., Any]
"""A path, in which `{partition_key}` stands for the partition; rows; or a function of the context that gives one
of these."""

_ASSETS = (AssetKey, AssetsDefinition, AssetSpec, SourceAsset)


@dataclass(frozen=True)
class DataSource:
    """Where one file's worth of data comes from: an asset that yields it, or what the user gave.

    Args:
        name: `training_data` or `validation_data`.
        asset: The asset, if it is one.
        given: What was given, if it isn't.
    """

    name: str
    asset: AssetKey | None = None
    given: Any = None

    @classmethod
    def of(cls, name: str, given: Data | AssetLike) -> DataSource:
        """Tell an asset from other data."""
        if not _is_asset(given):
            return cls(name, given=given)
        if isinstance(given, AssetKey):
            return cls(name, asset=given)
        return cls(name, asset=given.key)

    def file(
        self, context: AssetExecutionContext | AssetCheckExecutionContext, loaded: Mapping[str, Any], folder: Path
    ) -> Path:
        """The data as a file; rows are written into the folder."""
        if self.asset is not None and self.name not in loaded:
            raise InvalidSpec(
                f"{self.name}: {self.asset.to_user_string()} is an asset, whose value isn't loaded here",
                field=self.name,
                hint="Take it as an argument of your asset, and give its value.",
            )
        given = loaded[self.name] if self.asset else self.given
        if callable(given):
            given = given(context)
        if isinstance(given, str | PathLike):
            return Path(filled(fspath(given), partition_of(context)))
        if isinstance(given, Mapping) and isinstance(given.get("path"), str | PathLike):
            return Path(given["path"])
        return _written(given, folder / file_name(self.name, ".jsonl"), self.asset)


def _is_asset(given: Any) -> TypeGuard[AssetLike]:
    return isinstance(given, _ASSETS)


def _written(rows: Any, path: Path, asset: AssetKey | None) -> Path:
    """Write rows as lines of JSON: the same rows give the same bytes, and so the same hash."""
    whose = f"the asset {asset.to_user_string()}" if asset else path.stem
    if isinstance(rows, Mapping | bytes) or not isinstance(rows, Iterable):
        raise InvalidInput(
            f"{whose} gave a {type(rows).__name__}, which is no training data",
            hint="Give the path of a JSONL file, or the rows: an iterable of dictionaries.",
        )
    try:
        with path.open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"a row of {whose} can't be written as JSON: {error}") from error
    return path
