"""Every operation of a client, as one table: how it is called, and what it sends first.

`everything` finds a client's public methods by looking at it, so that the table can't fall behind.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneway import JobSpec, Recipe

GRADER = {"type": "string_check", "name": "same", "input": "a", "reference": "b", "operation": "eq"}
MESSAGES = [{"role": "user", "content": "Hé?"}]
SPEC = JobSpec(model="base", training_file="file-1", suffix="ü", seed=7, metadata={"team": "a"})
JOB = "ftjob-1"
CHECKPOINT = "ft:base:org:name:id:ckpt-step-3"


@dataclass(frozen=True)
class Operation:
    """One operation.

    Args:
        name: Where it is found on a client: "jobs.cancel".
        call: How it is called; a list is read to its end.
        method: What is sent first, ...
        target: ... where to, in full and encoded, ...
        body: ... and with which JSON; None for no body.
        form: Or with which form: (field, file name or None, content).
        theirs: The same with the `openai` package, where it has it.
    """

    name: str
    call: Callable[[Any], Any]
    method: str = "GET"
    target: str = ""
    body: Any = None
    form: tuple[tuple[str, str | None, bytes], ...] = ()
    theirs: Callable[[Any], Any] | None = None

    def __str__(self) -> str:
        return self.name

    def __call__(self, client: Any) -> Any:
        """Do it, and read a list to its end."""
        value = self.call(client)
        return list(value) if isinstance(value, Iterator) else value


def everything(client: object, prefix: str = "") -> Iterator[str]:
    """The names of all public methods of a client and its namespaces."""
    for name in sorted({*dir(type(client)), *vars(client)} - {"close", "aclose"}):
        if name.startswith("_") or isinstance(getattr(type(client), name, None), property):
            continue
        value = getattr(client, name)
        if inspect.ismethod(value):
            yield prefix + name
        else:
            yield from everything(value, f"{prefix}{name}.")


FILE_FORM = (
    ("purpose", None, b"fine-tune"),
    ("expires_after[anchor]", None, b"created_at"),
    ("expires_after[seconds]", None, b"3600"),
    ("file", "train.jsonl", b"{}\n"),
)
EXPIRES = {"anchor": "created_at", "seconds": 3600}
UPLOAD = {"filename": "a.jsonl", "purpose": "fine-tune", "bytes": 3, "mime_type": "application/jsonl"}

ONE_TO_ONE = [
    Operation(
        "jobs.create", lambda c: c.jobs.create(SPEC), "POST", "/fine_tuning/jobs",
        {"model": "base", "training_file": "file-1", "suffix": "ü", "seed": 7, "metadata": {"team": "a"}},
        theirs=lambda c: c.fine_tuning.jobs.create(
            model="base", training_file="file-1", suffix="ü", seed=7, metadata={"team": "a"}
        ),
    ),
    Operation(
        "jobs.list", lambda c: c.jobs.list(metadata={"project": "a b&c"}, limit=5), "GET",
        "/fine_tuning/jobs?limit=5&metadata%5Bproject%5D=a+b%26c",
        theirs=lambda c: list(c.fine_tuning.jobs.list(metadata={"project": "a b&c"}, limit=5)),
    ),
    Operation(
        "jobs.retrieve", lambda c: c.jobs.retrieve(JOB), "GET", "/fine_tuning/jobs/ftjob-1",
        theirs=lambda c: c.fine_tuning.jobs.retrieve(JOB),
    ),
    Operation(
        "jobs.cancel", lambda c: c.jobs.cancel(JOB), "POST", "/fine_tuning/jobs/ftjob-1/cancel",
        theirs=lambda c: c.fine_tuning.jobs.cancel(JOB),
    ),
    Operation(
        "jobs.pause", lambda c: c.jobs.pause(JOB), "POST", "/fine_tuning/jobs/ftjob-1/pause",
        theirs=lambda c: c.fine_tuning.jobs.pause(JOB),
    ),
    Operation(
        "jobs.resume", lambda c: c.jobs.resume(JOB), "POST", "/fine_tuning/jobs/ftjob-1/resume",
        theirs=lambda c: c.fine_tuning.jobs.resume(JOB),
    ),
    Operation(
        "jobs.events", lambda c: c.jobs.events(JOB, limit=2), "GET", "/fine_tuning/jobs/ftjob-1/events?limit=2",
        theirs=lambda c: list(c.fine_tuning.jobs.list_events(JOB, limit=2)),
    ),
    Operation(
        "jobs.checkpoints", lambda c: c.jobs.checkpoints(JOB, limit=2), "GET",
        "/fine_tuning/jobs/ftjob-1/checkpoints?limit=2",
        theirs=lambda c: list(c.fine_tuning.jobs.checkpoints.list(JOB, limit=2)),
    ),
    Operation(
        "checkpoints.list", lambda c: c.checkpoints.list(JOB), "GET", "/fine_tuning/jobs/ftjob-1/checkpoints",
        theirs=lambda c: list(c.fine_tuning.jobs.checkpoints.list(JOB)),
    ),
    Operation(
        "checkpoints.permissions.create",
        lambda c: c.checkpoints.permissions.create(CHECKPOINT, project_ids=["proj-1"]), "POST",
        f"/fine_tuning/checkpoints/{CHECKPOINT}/permissions", {"project_ids": ["proj-1"]},
        theirs=lambda c: c.fine_tuning.checkpoints.permissions.create(CHECKPOINT, project_ids=["proj-1"]),
    ),
    Operation(
        "checkpoints.permissions.list",
        lambda c: c.checkpoints.permissions.list(CHECKPOINT, project_id="proj-1", order="ascending", limit=3), "GET",
        f"/fine_tuning/checkpoints/{CHECKPOINT}/permissions?limit=3&order=ascending&project_id=proj-1",
        theirs=lambda c: list(
            c.fine_tuning.checkpoints.permissions.list(CHECKPOINT, project_id="proj-1", order="ascending", limit=3)
        ),
    ),
    Operation(
        "checkpoints.permissions.delete",
        lambda c: c.checkpoints.permissions.delete(CHECKPOINT, permission_id="cp-1"), "DELETE",
        f"/fine_tuning/checkpoints/{CHECKPOINT}/permissions/cp-1",
        theirs=lambda c: c.fine_tuning.checkpoints.permissions.delete(
            "cp-1", fine_tuned_model_checkpoint=CHECKPOINT
        ),
    ),
    Operation(
        "graders.validate", lambda c: c.graders.validate(GRADER), "POST", "/fine_tuning/alpha/graders/validate",
        {"grader": GRADER},
        theirs=lambda c: c.fine_tuning.alpha.graders.validate(grader=GRADER),
    ),
    Operation(
        "graders.run", lambda c: c.graders.run(GRADER, model_sample="x", item={"a": 1}), "POST",
        "/fine_tuning/alpha/graders/run", {"grader": GRADER, "model_sample": "x", "item": {"a": 1}},
        theirs=lambda c: c.fine_tuning.alpha.graders.run(grader=GRADER, model_sample="x", item={"a": 1}),
    ),
    Operation(
        "files.create", lambda c: c.files.create(b"{}\n", filename="train.jsonl", expires_after=3600), "POST",
        "/files", form=FILE_FORM,
        theirs=lambda c: c.files.create(
            file=("train.jsonl", b"{}\n"), purpose="fine-tune", expires_after=EXPIRES
        ),
    ),
    Operation(
        "files.list", lambda c: c.files.list(purpose="fine-tune", limit=10_000, order="asc"), "GET",
        "/files?purpose=fine-tune&limit=10000&order=asc",
        theirs=lambda c: list(c.files.list(purpose="fine-tune", limit=10_000, order="asc")),
    ),
    Operation(
        "files.retrieve", lambda c: c.files.retrieve("file-1"), "GET", "/files/file-1",
        theirs=lambda c: c.files.retrieve("file-1"),
    ),
    Operation(
        "files.content", lambda c: c.files.content("file-1"), "GET", "/files/file-1/content",
        theirs=lambda c: c.files.content("file-1"),
    ),
    Operation(
        "files.delete", lambda c: c.files.delete("file-1"), "DELETE", "/files/file-1",
        theirs=lambda c: c.files.delete("file-1"),
    ),
    Operation(
        "uploads.create", lambda c: c.uploads.create(filename="a.jsonl", bytes=3, expires_after=3600), "POST",
        "/uploads", UPLOAD | {"expires_after": EXPIRES},
        theirs=lambda c: c.uploads.create(**UPLOAD, expires_after=EXPIRES),
    ),
    Operation(
        "uploads.add_part", lambda c: c.uploads.add_part("upload-1", data=b"abc"), "POST", "/uploads/upload-1/parts",
        form=(("data", "part", b"abc"),),
        theirs=lambda c: c.uploads.parts.create("upload-1", data=("part", b"abc")),
    ),
    Operation(
        "uploads.complete", lambda c: c.uploads.complete("upload-1", part_ids=["part-1"], md5="d4"), "POST",
        "/uploads/upload-1/complete", {"part_ids": ["part-1"], "md5": "d4"},
        theirs=lambda c: c.uploads.complete("upload-1", part_ids=["part-1"], md5="d4"),
    ),
    Operation(
        "uploads.cancel", lambda c: c.uploads.cancel("upload-1"), "POST", "/uploads/upload-1/cancel",
        theirs=lambda c: c.uploads.cancel("upload-1"),
    ),
    Operation("models.list", lambda c: c.models.list(), "GET", "/models", theirs=lambda c: list(c.models.list())),
    Operation(
        "models.retrieve", lambda c: c.models.retrieve("ft:base:org:a b/c:id"), "GET",
        "/models/ft:base:org:a%20b%2Fc:id",
        theirs=lambda c: c.models.retrieve("ft:base:org:a b/c:id"),
    ),
    Operation(
        "models.delete", lambda c: c.models.delete("ft:base:org:a:id"), "DELETE", "/models/ft:base:org:a:id",
        theirs=lambda c: c.models.delete("ft:base:org:a:id"),
    ),
    Operation(
        "models.memory", lambda c: c.models.memory("m", rows=9, longest_row=70, method={"type": "dpo"}), "POST",
        "/fine_tuning/memory", {"model": "m", "rows": 9, "longest_row": 70, "method": {"type": "dpo"}},
    ),
    Operation(
        "ask", lambda c: c.ask("ft:base", MESSAGES, temperature=0), "POST", "/chat/completions",
        {"model": "ft:base", "messages": MESSAGES, "temperature": 0},
        theirs=lambda c: c.chat.completions.create(model="ft:base", messages=MESSAGES, temperature=0),
    ),
    Operation("cancel", lambda c: c.cancel(JOB), "POST", "/fine_tuning/jobs/ftjob-1/cancel"),
    Operation("pause", lambda c: c.pause(JOB), "POST", "/fine_tuning/jobs/ftjob-1/pause"),
    Operation("resume", lambda c: c.resume(JOB), "POST", "/fine_tuning/jobs/ftjob-1/resume"),
]  # fmt: skip
"""What is one request each."""


def steps(path: Path) -> list[Operation]:
    """What is more than one request; `path` is a file with training data."""
    return [
        Operation("upload", lambda c: c.upload(path, validate=False)),
        Operation("send", lambda c: c.send(Recipe(model="m", training_data=path))),
        Operation("start", lambda c: c.start(Recipe(model="m", training_data=path))),
        Operation("fine_tune", lambda c: c.fine_tune(Recipe(model="m", training_data=path), timeout=0.02)),
        Operation("outcome", lambda c: c.outcome(JOB)),
        Operation("submit", lambda c: c.submit(SPEC, key="nightly")),
        Operation("go_on", lambda c: c.go_on(JOB, SPEC)),
        Operation("wait", lambda c: c.wait(JOB, timeout=0.02, on_event=str)),
        Operation("wait_all", lambda c: c.wait_all([JOB, "ftjob-2"], timeout=0.02, on_event=str)),
        Operation("look", lambda c: c.look([JOB, "ftjob-2"])),
        Operation("cancel_made_by", lambda c: c.cancel_made_by("nightly")),
        Operation("cancel_marked", lambda c: c.cancel_marked("0" * 32)),
        Operation("result_metrics", lambda c: c.result_metrics(JOB)),
        Operation("doctor", lambda c: c.doctor()),
        Operation("evaluate", lambda c: c.evaluate(path, base="m", tuned="ft:m")),
        Operation("register", lambda c: c.register(JOB, name="m", registry=f"sqlite:///{path.parent}/models.db")),
    ]
