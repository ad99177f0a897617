"""Models: `models`, `register`, `promote`, `rollback`, `lineage`, `ask`."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Annotated

import typer

from tuneway._folders import expanded
from tuneway._words import moment
from tuneway.cli._connect import Connection
from tuneway.cli._live import showing
from tuneway.cli._output import Output
from tuneway.cli._registry import COLUMNS, Gates, Place, Reason, Registering, facts, registration, row, warn
from tuneway.cli._steps import JobArgument, step_output
from tuneway.cli.doctor import offered
from tuneway.errors import InvalidInput

if TYPE_CHECKING:
    from tuneway.registry import Lineage, ModelVersion

Reference = Annotated[
    str, typer.Argument(metavar="MODEL", help="name (the newest version), name:3 or name@champion.", show_default=False)
]

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def models(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="List all versions of this model.", show_default=False)
    ] = None,
    *,
    service: Annotated[bool, typer.Option("--service", help="List the service's models instead.")] = False,
    history: Annotated[bool, typer.Option("--history", help="List the changes to NAME, and who made them.")] = False,
    place: Place,
    connection: Connection,
    output: Output,
) -> None:
    """List the registered models, or with --service those of the service.

    Examples:
        tuneway models
        tuneway models support-router
        tuneway models support-router --history
        tuneway models --service
    """
    if service:
        _list_service(connection, output)
    elif history:
        _list_history(name, place, output)
    else:
        registry = place.open()
        versions = registry.versions(name) if name else registry.models()
        _list_versions(versions, output)
        if not versions:
            output.note(f"Nothing is registered in {registry.uri} yet. `tuneway models --service` lists the service's.")


def _list_versions(versions: list[ModelVersion], output: Output) -> None:
    now = time.time()
    if versions:
        output.listing(versions, COLUMNS, lambda version: row(version, now))
    for warning in warn(versions):
        output.note(warning, style="yellow")


def _list_service(connection: Connection, output: Output) -> None:
    with connection.client() as client:
        found, offers = list(client.models.list()), client.offers
    output.listing(
        found,
        ["model", "owner", "since", "ends"],
        lambda model: (model.id, model.owned_by, moment(model.created), model.shutdown_date),
    )
    for name, words in offered(offers).items():
        output.note(f"{name}: {words}")


def _list_history(name: str | None, place: Place, output: Output) -> None:
    if name is None:
        raise InvalidInput(
            "--history needs the name of a model", hint="For example: tuneway models support-router --history"
        )
    output.listing(
        place.open().history(name),
        ["when", "version", "what", "alias", "who", "why"],
        lambda event: (
            f"{event.at.astimezone():%Y-%m-%d %H:%M}",
            f"{name}:{event.version}",
            event.action,
            event.alias or event.status,
            event.by,
            event.reason or "; ".join(verdict.why for verdict in event.verdicts if not verdict.passed),
        ),
    )


def register(
    job: JobArgument,
    *,
    name: Annotated[str, typer.Option("--name", "-n", metavar="NAME", help="The name that all its versions share.")],
    registering: Registering,
    gates: Gates,
    reason: Reason,
    place: Place,
    connection: Connection,
    output: Output,
) -> None:
    """Register the model of a succeeded job with its lineage.

    Prints the version, such as name:3. Registering a job twice gives the same version.

    Examples:
        tuneway register ftjob-abc123 --name support-router
        tuneway register ftjob-abc123 -n support-router --alias challenger --checkpoint best
        tuneway register ftjob-abc123 -n support-router --alias champion --gate 'full_valid_loss<=0.5'
    """
    from tuneway.steps import job_id_of

    given = step_output(job)
    with connection.client() as client, showing(output) as show:
        show.begin("registering", job_id_of(given))
        version = client.register(given, name=name, **registration(registering, gates, reason, place))
    _print_version(
        version, output, f"{version.ref} is registered" if version.new else f"{version.ref} was registered already"
    )


def promote(
    model: Reference,
    *,
    alias: Annotated[str, typer.Option(metavar="WORD", help="The alias to move.")] = "champion",
    gates: Gates,
    reason: Reason,
    place: Place,
    output: Output,
) -> None:
    """Move the alias `champion`, or another one, to a version.

    A name without a version means its challenger. The champion until now becomes `previous`.

    Examples:
        tuneway promote support-router --reason 'week 47'
        tuneway promote support-router:3 --no-worse full_valid_loss
        tuneway promote support-router:3 --alias challenger
    """
    registry = place.open()
    if alias == "champion":
        version = registry.promote(model, gates=gates.all(), reason=reason.reason)
    else:
        version = registry.set_alias(model, alias, gates=gates.all(), reason=reason.reason)
    _print_version(version, output, f"{alias} is {version.ref}")


def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model.", show_default=False)],
    *,
    reason: Reason,
    place: Place,
    output: Output,
) -> None:
    """Make the previous champion the champion again.

    Repeated, it goes further back.

    Examples:
        tuneway rollback support-router --reason 'answers in the wrong language'
    """
    version = place.open().roll_back(name, reason=reason.reason)
    _print_version(version, output, f"champion is {version.ref}")


def _print_version(version: ModelVersion, output: Output, note: str) -> None:
    """Print the version as the result, verdicts and warnings as notes."""
    from tuneway.steps import version_summary

    output.note(note)
    for verdict in version.verdicts:
        output.note(f"{'passed' if verdict.passed else 'refused'}: {verdict.gate}: {verdict.why}")
    for warning in version.warnings:
        output.note(warning, style="yellow")
    output.record(version_summary(version)) if output.json else output.result(version.ref)


def lineage(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="A model (name, name:3, name@champion), a data file, or a file's sha256.",
            show_default=False,
        ),
    ],
    *,
    place: Place,
    output: Output,
) -> None:
    """Show which data a model was trained on, or which models were trained on some data.

    Examples:
        tuneway lineage support-router@champion
        tuneway lineage train.jsonl
        tuneway lineage 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    """
    registry = place.open()
    sha256 = _hash_of(what)
    if sha256 is not None:
        versions = registry.find(sha256=sha256)
        _list_versions(versions, output)
        if not versions:
            output.note(f"No model in {registry.uri} was trained on {what}.")
        return
    found = registry.lineage(what)
    if output.json:
        output.record(found)
    else:
        _print_lineage(found, output)


def _hash_of(what: str) -> str | None:
    if _SHA256.fullmatch(what):
        return what.lower()
    if expanded(what).is_file():
        from tuneway.dataset import fingerprint

        return fingerprint(what).sha256
    return None


def _print_lineage(found: Lineage, output: Output) -> None:
    relatives = {f"tuned from {index}" if index > 1 else "tuned from": f"{one.ref} ({one.model_id})"
                 for index, one in enumerate(found.ancestors, start=1)}  # fmt: skip
    shared = {
        f"also on {sha256[:12]}": ", ".join(other.ref for other in others)
        for sha256, others in found.siblings.items()
        if others
    }
    output.facts(facts(found.version) | relatives | shared)
    for warning in found.version.warnings:
        output.note(warning, style="yellow")


def ask(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A model of the service, or name@alias from the registry.", show_default=False
        ),
    ],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The user's message.", show_default=False)],
    *,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The system message; use the one from the data.")
    ] = None,
    place: Place,
    connection: Connection,
    output: Output,
) -> None:
    """Ask a model one question, at temperature 0.

    Examples:
        tuneway ask ft:gpt-4o-mini:local::abc123 'I was charged twice'
        tuneway ask support-router@champion 'I was charged twice' --system 'You route support tickets.'
    """
    found = place.open().get(model).model_id if "@" in model else model
    messages = [{"role": "system", "content": system}] if system else []
    with connection.client() as client:
        answer = client.ask(found, [*messages, {"role": "user", "content": question}])
    output.record({"model": found, "answer": answer}) if output.json else output.result(answer, lines=True)
