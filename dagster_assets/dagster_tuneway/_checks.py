"""Checks: of the data before anything is paid for, of the model before anybody uses it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster import AssetCheckResult, AssetCheckSpec, AssetKey

from tuneway.errors import InvalidSpec

if TYPE_CHECKING:
    from tuneway import Client, DatasetReport
    from tuneway.registry import GateLike, ModelRecord, Verdict

VALID, BUDGET, TRAINED, BASE = "valid_data", "within_budget", "trained", "no_worse_than_base"


# --- of the data


def data_check_specs(asset: AssetKey, max_usd: float | None) -> list[AssetCheckSpec]:
    """The checks of training data; a failed one blocks everything after it."""
    specs = [
        AssetCheckSpec(
            VALID, asset=asset, blocking=True, description="The data has no error that the service would refuse."
        )
    ]
    if max_usd is not None:
        words = f"Training is estimated to cost no more than ${max_usd:,.2f}."
        specs.append(AssetCheckSpec(BUDGET, asset=asset, blocking=True, description=words))
    return specs


def valid_data_result(report: DatasetReport) -> AssetCheckResult:
    """The result of the check `valid_data`."""
    from dagster_tuneway._metadata import data_metadata, known, problems

    return AssetCheckResult(
        check_name=VALID,
        passed=report.ok,
        description=_counts(report),
        metadata=problems(report) | known(data_metadata(report)),
    )


def budget_result(report: DatasetReport, max_usd: float, *, refused: bool) -> AssetCheckResult:
    """The result of the check `within_budget`.

    Args:
        report: The data.
        max_usd: The budget.
        refused: Whether the training is refused for it; it isn't by a service that sends no bill, nor at once by one
            that says its own price when the job is to be created.
    """
    from dagster_tuneway._metadata import known

    cost = report.cost.usd if report.cost else None
    problem = report.budget_problem(max_usd)
    why = problem or f"the training is estimated to cost ${cost:,.2f}; max_usd is ${max_usd:,.2f}"
    if problem and not refused:
        why = "this service sends no bill, or says its own price before it creates the job"
    return AssetCheckResult(
        check_name=BUDGET,
        passed=not refused,
        description=why,
        metadata=known({"estimated_cost_usd": cost, "max_usd": max_usd, "tokens": report.trained_tokens}),
    )


def _counts(report: DatasetReport) -> str:
    if report.ok:
        return f"{report.rows:,} rows without errors"
    some = ((one.unit, problem) for one in report.reports for problem in one.errors)
    unit, first = next(some)
    total = sum(one.error_count for one in report.reports)
    place = "" if first.line is None else f"{unit} "
    return f"{total:,} error{'s' * (total != 1)} in the data, first: {place}{first}"


# --- of the model


class NoWorseThanBase:
    """A gate that asks the base model and the tuned one the held-out questions.

    Args:
        held_out: Rows, or a JSONL file of them.
        score: As in `client.evaluate`.
    """

    def __init__(self, held_out: Path | Sequence[Mapping[str, Any]], score: Any) -> None:
        self.held_out = held_out
        self.score = score
        self.evaluation: Any = None

    def asking(self, client: Client) -> GateLike:
        """The gate, as a function that evaluates with this client."""

        def no_worse_than_base(candidate: ModelRecord, _champion: ModelRecord | None) -> Verdict:
            if candidate.base_model is None:
                raise InvalidSpec("the job names no base model to compare with", field="held_out")
            self.evaluation = client.evaluate(
                self.held_out, base=candidate.base_model, tuned=candidate.model_id, score=self.score
            )
            verdict: Verdict = self.evaluation.verdict(BASE)
            return verdict

        return no_worse_than_base


def gate_name(gate: Any) -> str:
    """The name of a gate's check: always the same for the same gate, and one that Dagster accepts."""
    text = gate.__name__ if callable(gate) and hasattr(gate, "__name__") else str(gate)
    name = re.sub(r"[^A-Za-z0-9_]+", "_", text.replace("'", "")).strip("_")
    if not name or text == "<lambda>":
        raise InvalidSpec("a gate without a name", field="gates", hint="Give a function with a name, or a Gate.")
    return name


def model_check_specs(asset: AssetKey, gates: Sequence[GateLike], *, held_out: bool) -> list[AssetCheckSpec]:
    """The checks of a model; a failed one blocks everything after it."""
    words = {gate_name(gate): _description(gate) for gate in gates}
    if held_out:
        words[BASE] = "On held-out rows the tuned model answers no worse than its base."
    return [AssetCheckSpec(name, asset=asset, blocking=True, description=text or None) for name, text in words.items()]


def model_check_names(gates: Sequence[GateLike], *, held_out: bool) -> list[str]:
    """The names of these checks."""
    return [*map(gate_name, gates), *([BASE] if held_out else [])]


def _description(gate: GateLike) -> str:
    return (gate.__doc__ or "").strip() if hasattr(gate, "__name__") else str(gate)


def model_check_results(
    verdicts: Mapping[str, Verdict], base: NoWorseThanBase | None, asset: AssetKey
) -> list[AssetCheckResult]:
    """The results of these checks: what the gates said."""
    from dagster_tuneway._metadata import evaluation_metadata, verdict_metadata

    answers = evaluation_metadata(base.evaluation) if base and base.evaluation else {}
    return [
        AssetCheckResult(
            check_name=name,
            asset_key=asset,
            passed=verdict.passed,
            description=verdict.why,
            metadata=verdict_metadata(verdict) | (answers if name == BASE else {}),
        )
        for name, verdict in verdicts.items()
    ]
