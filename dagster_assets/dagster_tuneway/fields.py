"""The fields that the assets, `fine_tune` and the component share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Required

from tuneway.choices import Choice, Reuse, Scoring
from tuneway.models import TrainingFields
from tuneway.recipe import DataCheckFields

if TYPE_CHECKING:
    from dagster_tuneway._data import AssetLike, Data
    from tuneway.registry import GateLike


class AssetFields(TrainingFields, DataCheckFields, total=False):
    """What to train and how to register the model: the fields of the core's `Recipe`, and those of Dagster.

    Attributes:
        training_data: The path or URL of JSONL, Parquet, Arrow or CSV; rows; a frame; or a function of the context
            that gives one of these. For `fine_tuned_model_assets` also the asset that yields one of these; as an
            `AssetDep` or `AssetIn` with a `partition_mapping` or, of an `AssetIn`, an `input_manager_key`. In a path
            or URL, `{partition_key}` stands for the partition.
        validation_data: Likewise; measured during training, required for reinforcement. A number such as 0.1 is the
            share of the training data that is split off for it.
        reuse: Which existing jobs will do. "content", the default: whatever trains the same data in the same way,
            whoever made it, so materializing unchanged data costs nothing. "run": what this run, its retries and
            its re-executions have made; a new run trains again. "never": the same, but a re-execution by a person
            trains again as well. The run's tag `tuneway/reuse` overrides it. Failed and cancelled jobs are never
            used.
        timeout: Seconds to wait for the job. It goes on when they have passed, and the next attempt waits for it.
        cancel_on_termination: Whether the job is cancelled when a person terminates the run that made it, which is the
            default. It goes on when a worker is evicted. With False, 14 pairs of metadata are yours instead of 13.
        alias: "champion", "challenger" or a word of your own, moved to the version if the gates agree.
        checkpoint: "last" is the job's own model, "best" the checkpoint with the lowest validation loss.
        gates: What the version must show before the alias moves (`tuneway.registry`).
        held_out: Rows, or a JSONL file of them: both the base model and the tuned one are asked, and the tuned one
            must answer no worse. They are read before the job is paid for.
        score: How these answers are scored: "exact", "contains", or a function of the answer and the expected text.
    """

    training_data: Required[Data | AssetLike]
    validation_data: Data | AssetLike | float | None
    reuse: Reuse
    timeout: float | None
    cancel_on_termination: bool
    alias: str | None
    checkpoint: Choice
    gates: Sequence[GateLike]
    held_out: str | PathLike[str] | Sequence[Mapping[str, object]] | None
    score: Scoring | Callable[[str, str], float | bool]
