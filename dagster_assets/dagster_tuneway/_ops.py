"""The functions that Dagster runs.

Dagster reads their annotations as they are. So none of them is text, and this file doesn't have
`from __future__ import annotations`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from dagster import AssetCheckExecutionContext, AssetCheckResult, AssetExecutionContext

from dagster_tuneway._data import DataSource
from dagster_tuneway._recipe import AssetRecipe

Function = Callable[..., Any]


def uploading(recipe: AssetRecipe) -> Function:
    """The step that checks and uploads."""

    def upload(context: AssetExecutionContext, **loaded: Any) -> Any:
        from dagster_tuneway import _uploading

        yield from _uploading.upload(context, recipe.in_step(context), loaded)

    return upload


def observing(source: DataSource) -> Function:
    """The step that looks at a file."""

    def observe(context: AssetExecutionContext) -> Any:
        from dagster_tuneway import _observing

        yield from _observing.observe(context, source)

    return observe


def training(recipe: AssetRecipe) -> Function:
    """The step that submits and waits."""

    def train(context: AssetExecutionContext) -> Any:
        from dagster_tuneway import _training

        yield from _training.train(context, recipe.in_step(context))

    return train


def registering(recipe: AssetRecipe) -> Function:
    """The step that registers."""

    def register(context: AssetExecutionContext) -> Any:
        from dagster_tuneway import _registering

        yield from _registering.register(context, recipe.in_step(context))

    return register


def looking(recipe: AssetRecipe) -> Function:
    """The check that looks at the latest job."""

    def trained(context: AssetCheckExecutionContext) -> AssetCheckResult:
        from dagster_tuneway import _training

        return _training.look(context, recipe.in_check(context))

    return trained


def checking(source: DataSource, max_usd: float | None, options: Mapping[str, Any]) -> Function:
    """The checks of data that a user's asset yields."""

    def check_data(context: AssetCheckExecutionContext, **loaded: Any) -> Any:
        from dagster_tuneway import _uploading

        yield from _uploading.check(context, source, loaded, max_usd, options)

    return check_data
