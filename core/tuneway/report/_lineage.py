"""The section with the lineage: the data, the job, the model, the registered version, and who asked for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tuneway.report._markup import Markup, h, join
from tuneway.report._parts import facts_list, table, tag
from tuneway.report._scale import brief

if TYPE_CHECKING:
    from tuneway.models import Job
    from tuneway.registry import DataFile, ModelRecord, ModelVersion


# the hash in the name of an uploaded file, which is shown separately
_HASH = re.compile(r"\.sha256-[0-9a-f]{64}")


def lineage_section(job: Job, version: ModelVersion | None) -> Markup | None:
    """Show the way from data to model, and the facts from the registry."""
    if version is None:
        links = [_card("Data", job.training_file), _card("Job", job.id), _card("Model", job.fine_tuned_model)]
        return _chain(links)
    return join(
        _chain(_links(version.record, version)),
        *(h("p", warning, class_="warning") for warning in version.warnings),
        _asked(version.record),
        _verdicts(version) if version.verdicts else None,
    )


def _links(record: ModelRecord, version: ModelVersion) -> list[Markup | None]:
    data = [_file(kind, file) for kind, file in (("training", record.training), ("validation", record.validation))]
    aliases = join(*(tag(alias, good=True) for alias in version.aliases)) if version.aliases else None
    return [
        h("div", h("h3", "Data"), *data) if any(data) else None,
        _card("Job", record.job_id, record.trainer or record.base_model, record.method),
        _card("Model", record.model_id, _choice(record)),
        _card("Registered", record.ref, aliases, version.status if version.status != "active" else None),
    ]


def _choice(record: ModelRecord) -> str | None:
    if record.checkpoint is None:
        return None
    return "the best checkpoint" if record.checkpoint_choice == "best" else "the last checkpoint"


def _chain(links: Sequence[Markup | None]) -> Markup | None:
    there = [link for link in links if link is not None]
    return h("ol", *(h("li", link) for link in there), class_="chain") if there else None


def _card(kind: str, name: str | None, *notes: object) -> Markup | None:
    if name is None:
        return None
    return h("div", h("h3", kind), h("code", name), *(h("p", note, class_="note") for note in notes if note))


def _file(kind: str, file: DataFile | None) -> Markup | None:
    if file is None:
        return None
    size = ", ".join(
        f"{number:,} {unit}" for number, unit in ((file.rows, "rows"), (file.tokens, "tokens")) if number is not None
    )
    digest = f"sha256 {file.sha256[:12]}…" if file.sha256 else None
    notes = [f"{kind}: {size}" if size else kind, digest]
    return join(
        h("code", _HASH.sub("", file.filename or file.id)),
        *(h("p", note, class_="note", title=file.sha256) for note in notes if note),
    )


def _asked(record: ModelRecord) -> Markup | None:
    """Show who asked, the state of the code, and the service."""
    origin, git = record.origin, record.git
    asked: dict[str, Any] = {}
    if origin is not None:
        asked |= {"Asked for by": origin.text if origin.text and not origin.pipeline else None}
        asked |= {"Engine": origin.engine, "Pipeline": origin.pipeline, "Run": origin.run}
    if git is not None:
        asked["Commit"] = git.commit[:12] + (", with uncommitted changes" if git.dirty else "")
    asked |= {
        "Service": record.service_url,
        "Trainer": record.trainer,
        "Base model retires": record.shutdown_date,
    }
    asked["Registered at"] = f"{record.created_at:%Y-%m-%d %H:%M %Z}"
    return facts_list(asked)


def _verdicts(version: ModelVersion) -> Markup:
    rows = [
        h(
            "tr",
            h("td", tag("passed" if verdict.passed else "refused", good=verdict.passed)),
            h("td", verdict.gate),
            h("td", verdict.why, dir="auto"),
            h(
                "td",
                ", ".join(f"{name} {brief(value)}" for name, value in verdict.numbers.items() if value is not None),
            ),
        )
        for verdict in version.verdicts
    ]
    return table(["", "Gate", "Why", "Numbers"], rows)
