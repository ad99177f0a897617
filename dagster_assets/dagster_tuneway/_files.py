"""The files that a group's data comes from, as assets that are observed: a file that changes is new data to Dagster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, simplefilter

from dagster import (
    AssetKey,
    AssetsDefinition,
    AssetSpec,
    AutomationCondition,
    BackfillPolicy,
    BetaWarning,
    multi_observable_source_asset,
)

from dagster_tuneway import _ops

if TYPE_CHECKING:
    from dagster_tuneway._recipe import AssetRecipe


class ObservedFiles:
    """The assets of the paths and URLs of one recipe.

    Args:
        recipe: What to train.
        prefix: Comes before the names in their keys.
        cron: When they are looked at; None for no such assets.
        translation: Changes their specs.
    """

    def __init__(
        self,
        recipe: AssetRecipe,
        prefix: Sequence[str],
        cron: str | None,
        common: Mapping[str, Any],
        translation: Callable[[AssetSpec], AssetSpec],
    ) -> None:
        self._recipe = recipe
        given = [source for source in (recipe.training, recipe.validation) if source is not None and source.is_file]
        self._files = [] if cron is None else given
        self._specs = {
            source.name: translation(
                AssetSpec(
                    AssetKey([*prefix, source.name]),
                    description="The file that the data comes from. Its data version changes with its content.",
                    kinds={"file"},
                    partitions_def=recipe.partitions_def if source.has_partition else None,
                    skippable=True,
                    **{**common, "automation_condition": _on_schedule(str(cron))},
                )
            )
            for source in self._files
        }

    @property
    def deps(self) -> list[AssetKey]:
        """What the uploaded data depends on."""
        return [spec.key for spec in self._specs.values()]

    def assets(self, place: str) -> Iterator[AssetsDefinition]:
        """Their definitions; `place` is the beginning of the steps' names."""
        for source in self._files:
            with catch_warnings():
                simplefilter("ignore", BetaWarning)
                define = multi_observable_source_asset(
                    name=f"{place}__observe_{source.name}", specs=[self._specs[source.name]]
                )
                made = define(_ops.observing(source))
            # one run looks at the files of all partitions
            yield made.with_attributes(backfill_policy=BackfillPolicy.single_run())


def _on_schedule(cron: str) -> AutomationCondition[AssetKey]:
    """At the times of a cron schedule, and at once when Dagster doesn't know the file yet."""
    due = AutomationCondition.cron_tick_passed(cron) | AutomationCondition.newly_missing()
    latest = AutomationCondition.in_latest_time_window()
    return (due & latest & ~AutomationCondition.in_progress()).with_label(f"observed at {cron}")
