"""What a check of the data found: small, printable, JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, computed_field

from tuneway.errors import InvalidDataset

if TYPE_CHECKING:
    from collections.abc import Iterator

Format = Literal["chat", "completions", "preference", "reinforcement"]

_SHOWN_IN_ERRORS = 3


class ValidateProgress(NamedTuple):
    """How far a check has come, in bytes of all its files."""

    done_bytes: int
    total_bytes: int
    rows: int


class Fingerprint(NamedTuple):
    """What identifies a file's content, and when the file was last written."""

    sha256: str
    size_bytes: int
    modified_ns: int | None = None


class _Frozen(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, defer_build=True, protected_namespaces=())


class Problem(_Frozen):
    """One breach of one rule.

    Args:
        line: The line in the file, from 1; None when it is about the file.
        rule: The rule's id, a key of `RULES`.
        severity: "error" blocks, "warning" doesn't.
        where: The place inside the row, such as `messages[2].role`.
        found: What is there, shortened.
        expected: What should be.
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
    """How many examples have from `low` to `high` tokens, both included."""

    low: int
    high: int
    rows: int


class TokenCount(_Frozen):
    """Tokens of a file, with what training adds around each message.

    Args:
        total: All of them, once through the file.
        exact: Whether they were counted by the model's own tokenizer, or estimated.
        method: How they were counted.
        min: The shortest example.
        median: The example in the middle.
        p95: 95 of 100 examples are no longer than this.
        max: The longest example.
        histogram: How the lengths spread.
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
    """What the training would cost.

    Args:
        usd: Price × trained tokens.
        usd_per_million: The price of a million trained tokens.
        model: The base model that the price is for.
        prices_as_of: The day of the price table; None for a price that you gave.
    """

    usd: float
    usd_per_million: float
    model: str
    prices_as_of: str | None


class DatasetReport(_Frozen):
    """What is in a training file, and what is wrong with it.

    Every problem is counted, in `counts` by rule; of the problems themselves only the first few are kept, in
    the order of their lines, in `errors` and `warnings`.
    """

    path: str
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
    """When the file was last written before it was read: an upload refuses a file that has changed since."""

    @computed_field  # type: ignore[prop-decorator]  # mypy has no support for properties under decorators
    @property
    def ok(self) -> bool:
        """Whether nothing blocks an upload, in this file and in its validation file."""
        return not self.error_count and (self.validation is None or self.validation.ok)

    def budget_problem(self, max_usd: float) -> str | None:
        """Why this training can't be begun with so much money; None if it can."""
        if self.cost is None:
            return (
                f"no price is known for {self.model}, so max_usd can't be kept; "
                f"give prices={{'{self.model}': dollars for a million tokens}}"
            )
        if self.cost.usd <= max_usd:
            return None
        return f"the training is estimated to cost ${self.cost.usd:,.2f}, more than max_usd=${max_usd:,.2f}"

    def raise_for_errors(self) -> None:
        """Raise `InvalidDataset`, naming the first problems, unless all is well."""
        if self.ok:
            return
        reports = [self] if self.validation is None else [self, self.validation]
        total = sum(report.error_count for report in reports)
        shown = [line for report in reports for line in _first_errors(report)]
        more = total - len(shown)
        lines = [f"the data has {total:,} error{'s' * (total != 1)}:", *(f"  {line}" for line in shown)]
        if more:
            lines.append(f"  … and {more:,} more")
        raise InvalidDataset(
            "\n".join(lines),
            report=self,
            hint="Correct these lines; `tuneway validate` shows more of them, with hints.",
        )


def _first_errors(report: DatasetReport) -> Iterator[str]:
    for problem in report.errors[:_SHOWN_IN_ERRORS]:
        yield f"{report.path}:{problem}" if problem.line else f"{report.path}: {problem}"
