"""Training data: `validate`, `estimate`, `upload`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneway._words import count, money, printable, size
from tuneway.cli._connect import Connection
from tuneway.cli._exits import ExitCode
from tuneway.cli._live import showing
from tuneway.cli._output import Output
from tuneway.cli._spec import read_json
from tuneway.errors import InvalidInput

if TYPE_CHECKING:
    from tuneway.dataset import DatasetReport, Problem

DataFile = Annotated[Path, typer.Argument(metavar="FILE", help="A JSONL file.", show_default=False)]
Model = Annotated[
    str | None, typer.Option("--model", "-m", metavar="NAME", help="The model to tune: for its limits and its price.")
]
Epochs = Annotated[int | None, typer.Option(min=1, max=50, metavar="N", help="How often it will see the data.")]
Prices = Annotated[
    Path | None, typer.Option(metavar="JSON", help='Your own prices: {"model": dollars for a million tokens}.')
]


def validate(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="A JSONL file.", show_default=False)] = None,
    *,
    valid: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A validation file: checked too, also for overlap.")
    ] = None,
    model: Model = None,
    grader: Annotated[
        Path | None, typer.Option(metavar="JSON", help="A grader: the fields that it names must be in every row.")
    ] = None,
    show: Annotated[int, typer.Option(min=1, metavar="N", help="Print so many errors and warnings; count all.")] = 50,
    rules: Annotated[bool, typer.Option("--rules", help="List all rules and exit.")] = False,
    output: Output,
) -> None:
    """Check training data against every rule; exit code 3 if it has errors.

    Nothing is sent. Errors are what services refuse; warnings are what they take in silence.

    Examples:
        tuneway validate train.jsonl
        tuneway validate train.jsonl --valid valid.jsonl --model gpt-4o-mini
        tuneway validate train.jsonl --json | jq '.errors[].line'
        tuneway validate --rules
    """
    if rules:
        _print_rules(output)
        return
    if file is None:
        raise InvalidInput("which file?", hint="For example: tuneway validate train.jsonl")
    report = check(
        output, file, validation_file=valid, model=model, max_shown=show,
        grader=read_json(grader, "--grader") if grader else None,
    )  # fmt: skip
    if output.json:
        output.record(report)
    else:
        for one in filter(None, (report, report.validation)):
            _print_report(one, output)
    if not report.ok:
        raise typer.Exit(ExitCode.INVALID_DATA)


def check(output: Output, file: Path, **options: Any) -> DatasetReport:
    """Check a file, and show how far that is."""
    from tuneway.dataset import validate as validate_data
    from tuneway.progress import Checking

    with showing(output) as show:
        show.begin("checking", str(file))
        return validate_data(file, on_progress=lambda step: show.hear(Checking(*step)), **options)


def summary(report: DatasetReport) -> str:
    """A file in a few words."""
    parts = [count(report.rows, "example"), tokens(report), report.format or "no format that is known"]
    return f"{report.path}: {', '.join(parts)}"


def tokens(report: DatasetReport) -> str:
    """How many tokens, and whether that is an estimate."""
    return f"{'' if report.tokens.exact else 'about '}{count(report.tokens.total, 'token')}"


def _print_rules(output: Output) -> None:
    from tuneway.dataset import RULES

    if output.json:
        for rule in RULES.values():
            output.record(rule._asdict())
        return
    output.table(
        ["rule", "breach is", "what it says"], [(rule.id, rule.severity, rule.summary) for rule in RULES.values()]
    )


def _print_report(report: DatasetReport, output: Output) -> None:
    output.result(f"{summary(report)}, {size(report.size_bytes)}")
    problems = [*report.errors, *report.warnings]
    if not problems:
        output.result("No problems.")
        return
    if output.out.is_terminal:
        _print_table(problems, output)
    else:
        for problem in problems:
            place = f"{report.path}:{problem.line}" if problem.line else report.path
            output.result(f"{place}: {problem.severity}: {problem.rule}: {_what(problem)}")
    hidden = report.error_count + report.warning_count - len(problems)
    found = f"{count(report.error_count, 'error')}, {count(report.warning_count, 'warning')}"
    output.result(f"{found}{f'; {hidden:,} of them not shown' if hidden else ''}.")


def _print_table(problems: list[Problem], output: Output) -> None:
    from rich.text import Text

    styles = {"error": "red", "warning": "yellow"}
    rows = [
        (problem.line or "", Text(problem.severity, styles[problem.severity]), problem.rule, _what(problem))
        for problem in problems
    ]
    output.out.print()
    output.table(["line", "", "rule", "what"], rows, right=["line"])
    for rule, hint in {problem.rule: problem.hint for problem in problems if problem.hint}.items():
        output.out.print(Text.assemble("\n", (f"{rule}: ", "bold"), printable(hint)), end="")
    output.out.print("\n")


def _what(problem: Problem) -> str:
    where = f"{problem.where}: " if problem.where else ""
    return f"{where}found {problem.found}, expected {problem.expected}"


def estimate(
    file: DataFile, *, model: Model = None, epochs: Epochs = None, prices: Prices = None, output: Output
) -> None:
    """Estimate tokens and cost of a training.

    Without a model, for every model whose price is known.

    Examples:
        tuneway estimate train.jsonl
        tuneway estimate train.jsonl --model gpt-4o-mini --epochs 2
        tuneway estimate train.jsonl --model my-model --prices prices.json
    """
    report = check(output, file, model=model, n_epochs=epochs, prices=prices)
    costs = list(_costs(report))
    if output.json:
        output.record(
            report.model_dump(
                mode="json", include={"path", "rows", "model", "n_epochs", "tokens", "trained_tokens", "cost"}
            )
            | {"costs": costs}
        )
        return
    output.result(summary(report))
    trained = report.trained_tokens
    epochs_of = f"{count(report.n_epochs, 'epoch')}{'' if epochs else ', as services choose by themselves'}"
    output.result(f"{count(trained, 'trained token')} in {epochs_of}." if trained else "Nothing to train on.")
    if costs:
        output.result("")
        rows = [(one["model"], money(one["usd_per_million"]), money(one["usd"])) for one in costs]
        output.table(["model", "a million tokens", "this training"], rows, right=["a million tokens", "this training"])
    elif model:
        output.note(f"No price is known for {model}: give yours with --prices.")
    day = next((one["prices_as_of"] for one in costs if one["prices_as_of"]), None)
    if day:
        output.note(f"Prices of {day}; --prices takes your own.")
    if report.error_count:
        output.note(f"The data has {count(report.error_count, 'error')}: see tuneway validate {file}", style="yellow")


def _costs(report: DatasetReport) -> Iterator[dict[str, Any]]:
    """The cost for the model that was asked for, else for each that has a price."""
    from tuneway.dataset import PRICES_AS_OF, USD_PER_MILLION_TRAINED_TOKENS

    if report.cost is not None:
        yield report.cost.model_dump(mode="json")
    elif report.model is None and report.trained_tokens:
        for model, price in sorted(USD_PER_MILLION_TRAINED_TOKENS.items(), key=lambda item: item[1]):
            usd = round(report.trained_tokens * price / 1_000_000, 4)
            yield {"usd": usd, "usd_per_million": price, "model": model, "prices_as_of": PRICES_AS_OF}


def upload(
    file: DataFile,
    *,
    check_first: Annotated[bool, typer.Option("--check/--no-check", help="Check the data before it is sent.")] = True,
    purpose: Annotated[str, typer.Option(metavar="WORD", help="What it is for.")] = "fine-tune",
    expires_after: Annotated[
        int | None, typer.Option(min=3600, max=2_592_000, metavar="SECONDS", help="Let the service delete it then.")
    ] = None,
    connection: Connection,
    output: Output,
) -> None:
    """Have a file on the service, never sent twice. Prints its id.

    The data's hash rides in the file's name, so any later upload of the same data finds it there.

    Examples:
        tuneway upload train.jsonl
        FILE=$(tuneway upload train.jsonl)
    """
    with connection.client() as client, showing(output) as show:
        show.begin("checking" if check_first else "uploading", str(file))
        found = client.upload(
            file, validate=check_first, purpose=purpose, expires_after=expires_after, on_event=show.hear
        )
    output.record(found) if output.json else output.result(found.id)
