"""Options of the commands that use the model registry, and how versions are shown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneway._escape import excerpt
from tuneway._words import ago, count, figure, moment, money
from tuneway.choices import Choice
from tuneway.cli._options import group
from tuneway.errors import InvalidInput

if TYPE_CHECKING:
    from tuneway.registry import DataFile, GateLike, ModelRecord, ModelVersion, Registry

_GATE = re.compile(r"(?P<metric>\w+)\s*(?P<sign><=|>=)\s*(?P<bound>[-+.\deE]+)")


@group("Registry")
class Place:
    """The registry."""

    registry: Annotated[
        str | None,
        typer.Option(
            envvar="TUNEWAY_REGISTRY_URI",
            metavar="URI",
            help="The registry: sqlite:///models.db, mlflow:https://… Default: a file in your data folder.",
        ),
    ] = None

    def open(self) -> Registry:
        """Open the registry."""
        from tuneway.registry import open_registry

        return open_registry(self.registry)


@group("Registry")
class Registering:
    """How a model is registered."""

    alias: Annotated[
        str | None,
        typer.Option(metavar="WORD", help="An alias to move to the version: champion, challenger, …"),
    ] = None
    checkpoint: Annotated[
        Choice,
        typer.Option(help="Register the last checkpoint, or the one with the best validation loss."),
    ] = "last"


@group("Registry")
class Gates:
    """The gates that a version must pass before an alias moves to it."""

    gate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BOUND",
            help="Move the alias only if this holds: 'full_valid_loss<=0.5'; repeatable. Else the exit code is 9.",
        ),
    ] = None
    no_worse: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC", help="Move the alias only if this metric is no worse than the champion's; repeatable."
        ),
    ] = None

    def all(self) -> list[GateLike]:
        """All gates that were given."""
        from tuneway.registry import NoWorseThanChampion

        return [*map(_gate, self.gate or ()), *map(NoWorseThanChampion, self.no_worse or ())]


@group("Registry")
class Reason:
    """The reason for a change."""

    reason: Annotated[str | None, typer.Option(metavar="WORDS", help="The reason, for the model's history.")] = None


def registration(registering: Registering, gates: Gates, reason: Reason, place: Place) -> dict[str, Any]:
    """How to register a model, from the options of a command: `RegistrationFields` without the name."""
    return {
        "registry": place.registry,
        "alias": registering.alias,
        "checkpoint": registering.checkpoint,
        "gates": gates.all(),
        "reason": reason.reason,
    }


def _gate(text: str) -> GateLike:
    from tuneway.registry import Gate

    found = _GATE.fullmatch(text.strip())
    try:
        bound = float(found["bound"]) if found else None
    except ValueError:
        bound = None
    if found is None or bound is None:
        raise InvalidInput(f"--gate {excerpt(text)} is not a bound", hint="For example: --gate 'full_valid_loss<=0.5'")
    return Gate(found["metric"], max=bound) if found["sign"] == "<=" else Gate(found["metric"], min=bound)


COLUMNS = ["version", "aliases", "metric", "registered", "model"]


def row(version: ModelVersion, now: float) -> tuple[Any, ...]:
    """A version as a row of a table under `COLUMNS`."""
    record = version.record
    return (
        version.ref,
        ", ".join(version.aliases),
        _headline(record.metrics),
        ago(record.created_at.timestamp(), now),
        record.model_id if version.status == "active" else f"{record.model_id} ({version.status})",
    )


def _headline(metrics: dict[str, float]) -> str:
    """One metric: a loss or reward, on validation data if there is any."""
    from tuneway.cli._watch import shown_metrics
    from tuneway.models import Role

    order = shown_metrics(Role.FULL_VALID, Role.VALID, Role.TRAIN)
    name = next((metric.name for metric in order if metric.name in metrics), None)
    return f"{figure(metrics[name])} {name.removeprefix('full_').replace('_', ' ')}" if name else ""


def facts(version: ModelVersion) -> dict[str, Any]:
    """All facts about a version, for people."""
    record = version.record
    git = record.git
    cost = record.cost
    return {
        "version": version.ref,
        "aliases": ", ".join(version.aliases),
        "model": record.model_id,
        "status": None if version.status == "active" else str(version.status),
        "from": record.base_model,
        "job": record.job_id,
        "method": record.method,
        **_knobs(record),
        "seed": record.seed,
        **_data("data", record.training),
        **_data("validation", record.validation),
        "checkpoint": f"{record.checkpoint} ({record.checkpoint_choice})" if record.checkpoint else None,
        "trained by": record.trainer,
        "tokens": f"{record.trained_tokens:,}" if record.trained_tokens else None,
        "cost": f"{money(cost.amount, cost.currency)}{' (estimated)' if cost.estimated else ''}" if cost else None,
        **{name.replace("_", " "): figure(value) for name, value in sorted(record.metrics.items())},
        "requested by": record.origin.text or record.origin.pipeline if record.origin else None,
        "code": f"{git.commit[:12]}{', with changes' if git.dirty else ''}" if git else None,
        "service": record.service_url,
        "registered": moment(record.created_at.timestamp()),
    }


def _knobs(record: ModelRecord) -> dict[str, Any]:
    """The hyperparameters that the service used, and those that were requested where they differ."""
    used, requested = record.resolved, record.requested
    shown = used | {
        name: f"{used.get(name, 'unknown')} (requested: {wish})"
        for name, wish in requested.items()
        if wish != used.get(name)
    }
    return {name.replace("_", " "): value for name, value in sorted(shown.items())}


def _data(name: str, file: DataFile | None) -> dict[str, str | None]:
    if file is None:
        return {}
    rows = count(file.rows, "example") if file.rows else None
    shown = (file.filename or file.id).replace(f".sha256-{file.sha256}", "")
    return {name: ", ".join(filter(None, [shown, rows])), f"{name} sha256": file.sha256}


def warn(versions: Iterable[ModelVersion]) -> list[str]:
    """The warnings about these versions."""
    return [warning for version in versions for warning in version.warnings]
