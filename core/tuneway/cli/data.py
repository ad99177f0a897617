"""Training and validation data: `validate`, `estimate`, `upload`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneway._escape import printable
from tuneway._words import count, money, size
from tuneway.cli._connect import Connection
from tuneway.cli._exits import ExitCode
from tuneway.cli._live import showing
from tuneway.cli._output import Output
from tuneway.cli._reading import DATA, RowOptions, ValidationData, validation_of
from tuneway.cli._spec import Prices, read_json
from tuneway.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from tuneway.dataset import DatasetReport, Problem
    from tuneway.models import MemoryEstimate

TrainingData = Annotated[
    str | None, typer.Argument(metavar="DATA", help=f"The training data. {DATA}.", show_default=False)
]
Model = Annotated[
    str | None, typer.Option("--model", "-m", metavar="NAME", help="The base model, for its limits and its price.")
]


def validate(
    training_data: TrainingData = None,
    *,
    validation_data: ValidationData = None,
    model: Model = None,
    grader: Annotated[
        Path | None,
        typer.Option(metavar="JSON", help="A file with a grader: every row must have the fields that it names."),
    ] = None,
    show: Annotated[
        int, typer.Option(min=1, metavar="N", help="Print at most this many errors and warnings; all are counted.")
    ] = 50,
    whole: Annotated[
        bool, typer.Option("--report", help="Print the whole report as JSON, with the line of each problem.")
    ] = False,
    rules: Annotated[bool, typer.Option("--rules", help="List all rules and exit.")] = False,
    reading: RowOptions,
    output: Output,
) -> None:
    """Check training data, validation data or both against every rule.

    Nothing is sent. Errors are what services refuse; warnings are what they accept without a word. Data with
    errors gives exit code 3. With --json the data is summarised, and errors go to standard error with their lines.

    Examples:
        tuneway validate train.jsonl
        tuneway validate train.jsonl --validation-data valid.jsonl --model gpt-4o-mini
        tuneway validate s3://bucket/train.parquet --row user=question --row assistant=answer
        tuneway validate train.jsonl --json | jq .sha256
        tuneway validate train.jsonl --report | jq '.errors[].line, .warnings[].line'
        tuneway validate --rules
    """
    from tuneway.steps import data_summary

    if rules:
        _print_rules(output)
        return
    report = _check(
        output, _needed("validate", training_data, validation_data), validation_data=validation_of(validation_data),
        model=model, max_shown=show, grader=read_json(grader, "--grader") if grader else None, **reading.fields(),
        **reading.checking(),
    )  # fmt: skip
    if whole:
        output.record(report)
    elif output.json:
        output.record(data_summary(report))
        report.raise_for_errors()
    else:
        for one in report.reports:
            _print_report(one, output)
    if not report.ok:
        raise typer.Exit(ExitCode.INVALID_DATA)


def _needed(command: str, training_data: str | None, validation_data: str | None) -> str | None:
    """The training data; it may be missing if there is validation data."""
    if training_data is None and validation_data is None:
        raise InvalidInput("no data was given", hint=f"For example: tuneway {command} train.jsonl")
    return training_data


def _check(output: Output, training_data: str | None, **options: Any) -> DatasetReport:
    """Check data, and show how much of it is read."""
    from tuneway.data import name_of
    from tuneway.dataset import validate as validate_data
    from tuneway.progress import Checking

    with showing(output) as show:
        show.begin("checking", name_of(training_data or options["validation_data"]))
        return validate_data(training_data, on_progress=lambda step: show.hear(Checking(*step)), **options)


def _print_rules(output: Output) -> None:
    from tuneway.dataset import RULES

    rules = [rule._asdict() for rule in RULES.values()]
    output.listing(
        rules, ["rule", "severity", "what it checks"], lambda rule: (rule["id"], rule["severity"], rule["summary"])
    )


def _print_report(report: DatasetReport, output: Output) -> None:
    from tuneway.cli._wording import summary

    output.result(f"{summary(report)}, {size(report.size_bytes)}")
    problems = [*report.errors, *report.warnings]
    if not problems:
        output.result("No problems.")
        return
    if output.out.is_terminal:
        _print_table(problems, report.unit, output)
    else:
        for problem in problems:
            output.result(f"{report.place_of(problem)}: {problem.severity}: {problem.rule}: {_what(problem)}")
    hidden = report.error_count + report.warning_count - len(problems)
    found = f"{count(report.error_count, 'error')}, {count(report.warning_count, 'warning')}"
    output.result(f"{found}{f'; {hidden:,} of them not shown' if hidden else ''}.")


def _print_table(problems: list[Problem], unit: str, output: Output) -> None:
    from rich.text import Text

    styles = {"error": "red", "warning": "yellow"}
    rows = [
        (
            "" if problem.line is None else problem.line,
            Text(problem.severity, styles[problem.severity]),
            problem.rule,
            _what(problem),
        )
        for problem in problems
    ]
    output.out.print()
    output.table([unit, "", "rule", "what"], rows, right=[unit])
    for rule, hint in {problem.rule: problem.hint for problem in problems if problem.hint}.items():
        output.out.print(Text.assemble("\n", (f"{rule}: ", "bold"), printable(hint)), end="")
    output.out.print("\n")


def _what(problem: Problem) -> str:
    where = f"{problem.where}: " if problem.where else ""
    return f"{where}found {problem.found}, expected {problem.expected}"


def estimate(
    training_data: Annotated[
        str, typer.Argument(metavar="TRAINING_DATA", help=f"The training data. {DATA}.", show_default=False)
    ],
    *,
    validation_data: ValidationData = None,
    model: Model = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, max=50, metavar="N", help="How often training goes over the data.")
    ] = None,
    prices: Prices = None,
    service: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="A local service, which says how much memory the training of --model needs.",
        ),
    ] = None,
    spec: Annotated[
        Path | None,
        typer.Option(metavar="JSON", help="With --service: a file with a job's `method`, as for `create`."),
    ] = None,
    reading: RowOptions,
    output: Output,
) -> None:
    """Estimate the tokens and the cost of a training, and on a local service its memory.

    Without a model, for every model whose price is known. Validation data costs nothing: what is split off isn't
    trained.

    Examples:
        tuneway estimate train.jsonl
        tuneway estimate train.jsonl --validation-data 0.1
        tuneway estimate train.jsonl --model gpt-4o-mini --epochs 2
        tuneway estimate train.jsonl --model my-model --prices prices.json
        tuneway estimate train.jsonl --model qwen --service http://127.0.0.1:8765/v1
    """
    if service is not None and model is None:
        raise InvalidInput("--service needs --model", hint="The memory depends on the model.")
    if spec is not None and service is None:
        raise InvalidInput("--spec needs --service", hint="Only the memory depends on the method.")
    report = _check(
        output, training_data, validation_data=validation_of(validation_data), model=model, n_epochs=epochs,
        prices=prices, **reading.fields(), **reading.checking(),
    )  # fmt: skip
    costs = list(_costs(report))
    memory = _memory(report, service, read_json(spec, "--spec") if spec else {}) if service and model else None
    if output.json:
        estimated = _counted(report) | report.model_dump(mode="json", include=_ESTIMATED) | {"costs": costs}
        output.record(estimated | ({"memory": memory.model_dump(mode="json")} if memory else {}))
    else:
        _print_estimate(report, costs, output, chosen=epochs is not None, local=memory is not None)
        if memory is not None and memory.message:
            output.result(f"{memory.message.rstrip('.')}.")
    if not report.ok:
        errors = count(sum(one.error_count for one in report.reports), "error")
        output.note(f"The data has {errors}: tuneway validate shows them.", style="yellow")


_COUNTED = {"path", "rows", "tokens"}
_ESTIMATED = {"model", "n_epochs", "trained_tokens", "cost"}


def _counted(report: DatasetReport) -> dict[str, Any]:
    """What there is of training data, and of the validation data beside it."""
    beside = {"validation": _counted(report.validation)} if report.validation else {}
    return report.model_dump(mode="json", include=_COUNTED) | beside


def _memory(report: DatasetReport, service: str, spec: dict[str, Any]) -> MemoryEstimate:
    """What a local service says of the memory that a training needs."""
    from tuneway.client import Client
    from tuneway.models import JobSpec

    how = {name: spec[name] for name in ("method", "hyperparameters") if name in spec}
    asked = JobSpec(model=report.model or "", training_file="-", **how)
    wire = asked.to_wire().get("method") or {"type": "supervised", "supervised": {"hyperparameters": asked.requested}}
    with Client(base_url=service) as client:
        try:
            return client.models.memory(
                asked.model, rows=max(1, report.rows), longest_row=max(1, report.tokens.max), method=wire
            )
        except NotFound as error:
            why = "only the local service, `tuneway serve`, does that"
            raise InvalidInput(f"{service} doesn't estimate the memory of a training", hint=f"{why}.") from error


def _print_estimate(
    report: DatasetReport, costs: list[dict[str, Any]], output: Output, *, chosen: bool, local: bool
) -> None:
    from tuneway.cli._wording import summary

    for one in report.reports:
        output.result(summary(one))
    trained = report.trained_tokens
    epochs = f"{count(report.n_epochs, 'epoch')}{'' if chosen else ', the number that services choose'}"
    output.result(f"{count(trained, 'trained token')} in {epochs}." if trained else "Nothing to train on.")
    if costs:
        output.result("")
        rows = [(one["model"], money(one["usd_per_million"]), money(one["usd"])) for one in costs]
        output.table(["model", "a million tokens", "this training"], rows, right=["a million tokens", "this training"])
    elif report.model and not local:
        output.note(f"No price is known for {report.model}: give yours with --prices.")
    day = next((one["prices_as_of"] for one in costs if one["prices_as_of"]), None)
    if day:
        output.note(f"Prices of {day}; --prices takes your own.")


def _costs(report: DatasetReport) -> Iterator[dict[str, Any]]:
    """The cost for the given model, else for each model that has a price."""
    from tuneway.dataset import PRICES_AS_OF, USD_PER_MILLION_TRAINED_TOKENS

    if report.cost is not None:
        yield report.cost.model_dump(mode="json")
    elif report.model is None and report.trained_tokens:
        for model, price in sorted(USD_PER_MILLION_TRAINED_TOKENS.items(), key=lambda item: item[1]):
            usd = round(report.trained_tokens * price / 1_000_000, 4)
            yield {"usd": usd, "usd_per_million": price, "model": model, "prices_as_of": PRICES_AS_OF}


def upload(
    training_data: TrainingData = None,
    *,
    validation_data: ValidationData = None,
    model: Model = None,
    check_first: Annotated[bool, typer.Option("--check/--no-check", help="Check the data before it is sent.")] = True,
    purpose: Annotated[str, typer.Option(metavar="WORD", help="The purpose, for the service.")] = "fine-tune",
    expires_after: Annotated[
        int | None,
        typer.Option(min=3600, max=2_592_000, metavar="SECONDS", help="Let the service delete the file after this."),
    ] = None,
    reading: RowOptions,
    connection: Connection,
    output: Output,
) -> None:
    """Upload training data, validation data or both. Prints their ids.

    The file's name on the service carries a hash of the data, so the same data is never sent twice. Training and
    validation data given together are checked as a pair: rows that are in both are errors. The ids are printed one
    per line, the training file's first.

    Examples:
        tuneway upload train.jsonl
        tuneway upload train.jsonl --validation-data valid.jsonl
        tuneway upload s3://bucket/train.jsonl --validation-data 0.1
        tuneway upload --validation-data valid.jsonl
        FILE=$(tuneway upload train.jsonl)
    """
    from tuneway.data import name_of
    from tuneway.steps import file_summary

    _needed("upload", training_data, validation_data)
    with connection.client() as client, showing(output) as show:
        show.begin("checking" if check_first else "uploading", name_of(training_data or validation_data))
        uploaded = client.upload(
            training_data, validation_data=validation_of(validation_data), model=model, validate=check_first,
            purpose=purpose, expires_after=expires_after, on_event=show.hear, **reading.fields(),
            **reading.checking(),
        )  # fmt: skip
    if output.json:
        output.record(file_summary(uploaded))
        return
    for file in filter(None, (uploaded, uploaded.validation)):
        output.result(file.id)
