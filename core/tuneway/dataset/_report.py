"""The report of a check of the data. It is small, can be printed, and is JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, computed_field

from tuneway.errors import InvalidDataset

if TYPE_CHECKING:
    from collections.abc import Iterator

Format = Literal["chat", "completions", "preference", "reinforcement"]

_SHOWN_IN_ERRORS = 3


class ValidateProgress(NamedTuple):
    """The progress of a check, in bytes of all its data. `total_bytes` is 0 where the size isn't known."""

    done_bytes: int
    total_bytes: int
    rows: int


class Fingerprint(NamedTuple):
    """A file's hash and size, and when it was last written."""

    sha256: str
    size_bytes: int
    modified_ns: int | None = None


class _Frozen(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(
        hide_input_in_errors=True, frozen=True, defer_build=True, protected_namespaces=()
    )


class Problem(_Frozen):
    """One violation of a rule.

    Args:
        line: The number of the line, from 1, or of the row of a list or frame, from 0; None if the problem is about
            the whole data.
        rule: The rule's id, a key of `RULES`.
        severity: "error" blocks an upload, "warning" doesn't.
        where: The place in the row, such as `messages[2].role`.
        found: What was found there, shortened.
        expected: What should be there.
        hint: What to do about it.
    """

    line: int | None
    rule: str
    severity: Literal["error", "warning"]
    where: str | None
    found: str
    expected: str
    hint: str | None = None

    def __str__(self) -> str:
        place = f"{self.rule} {self.where}" if self.where else self.rule
        text = f"{place}: found {self.found}, expected {self.expected}"
        return text if self.line is None else f"{self.line}: {text}"


class Bin(NamedTuple):
    """The number of examples that have from `low` to `high` tokens, both included."""

    low: int
    high: int
    rows: int


class TokenCount(_Frozen):
    """The number of tokens in a file, with those that training adds around each message.

    Args:
        total: The tokens of all examples together, for one epoch.
        exact: Whether the model's own tokenizer counted them; else they are estimated.
        method: How they were counted.
        min: The tokens of the shortest example.
        median: The median of an example's tokens.
        p95: 95 % of the examples have at most this number of tokens.
        max: The tokens of the longest example.
        histogram: The number of examples by length.
    """

    total: int
    exact: bool
    method: str
    min: int
    median: int
    p95: int
    max: int
    histogram: list[Bin]


class CostEstimate(_Frozen):
    """The estimated cost of the training.

    Args:
        usd: The price times the trained tokens.
        usd_per_million: The price of a million trained tokens.
        model: The base model that the price is for.
        prices_as_of: The date of the price table; None for the user's own price.
    """

    usd: float
    usd_per_million: float
    model: str
    prices_as_of: str | None


class DatasetReport(_Frozen):
    """The report of a check: what is in the data, and what is wrong with it.

    All problems are counted, in `counts` by rule. `errors` and `warnings` contain only the first ones, sorted by line.
    """

    path: str
    unit: Literal["line", "row"] = "line"
    """What `line` of a problem counts: lines of a file, from 1, or rows, from 0."""
    sha256: str
    size_bytes: int
    format: Format | None
    rows: int
    model: str | None
    tokens: TokenCount
    n_epochs: int
    trained_tokens: int | None
    cost: CostEstimate | None
    errors: list[Problem]
    warnings: list[Problem]
    error_count: int
    warning_count: int
    counts: dict[str, int]
    validation: DatasetReport | None = None
    modified_ns: int | None = None
    """When the file was last written. An upload refuses the file if it has changed since."""

    @computed_field  # type: ignore[prop-decorator]  # mypy has no support for properties under decorators
    @property
    def ok(self) -> bool:
        """Whether the data has no errors, the validation data included."""
        return not self.error_count and (self.validation is None or self.validation.ok)

    @property
    def reports(self) -> list[DatasetReport]:
        """This report, and that of the validation data if it was checked as well."""
        return [self] if self.validation is None else [self, self.validation]

    def placed(self, problem: Problem) -> str:
        """A problem with the place where it is: the source, and the line or row."""
        return f"{self.path}{self._beside(problem)}{problem}"

    def place_of(self, problem: Problem) -> str:
        """The place of a problem alone."""
        return self.path if problem.line is None else f"{self.path}{self._beside(problem)}{problem.line}"

    def _beside(self, problem: Problem) -> str:
        """What stands between the source and the number of a line or row."""
        if problem.line is None:
            return ": "
        return ":" if self.unit == "line" else ", row "

    def budget_problem(self, max_usd: float) -> str | None:
        """Say why the training may not start with this budget; None if it may."""
        if self.cost is None:
            return (
                f"no price is known for {self.model}, so max_usd can't be checked; "
                f"give prices={{'{self.model}': dollars for a million tokens}}"
            )
        if self.cost.usd <= max_usd:
            return None
        return f"the training is estimated to cost ${self.cost.usd:,.2f}, more than max_usd=${max_usd:,.2f}"

    def raise_for_errors(self) -> None:
        """Raise `InvalidDataset` with the first errors, if the data has any."""
        if self.ok:
            return
        total = sum(report.error_count for report in self.reports)
        shown = [line for report in self.reports for line in _first_errors(report)]
        more = total - len(shown)
        lines = [f"the data has {total:,} error{'s' * (total != 1)}:", *(f"  {line}" for line in shown)]
        if more:
            lines.append(f"  … and {more:,} more")
        raise InvalidDataset(
            "\n".join(lines),
            report=self,
            hint="Correct these lines. `tuneway validate` shows more errors, with hints.",
        )


def _first_errors(report: DatasetReport) -> Iterator[str]:
    for problem in report.errors[:_SHOWN_IN_ERRORS]:
        yield report.placed(problem)
