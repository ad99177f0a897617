"""A whole fine-tune in plain Python, step by step: check, upload, create, wait, register, ask.

It starts a local service, so it needs no account. Run it twice: the second run finds the files and the job of the
first, and nothing is paid twice. With OPENAI_BASE_URL and OPENAI_API_KEY the same pipeline runs at another service.
`client.fine_tune(RECIPE, ME, **AFTERWARDS)` does steps 1 to 5 in one call.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from local_service import local_service

from tuneway import Client, DatasetReport, Job, Recipe, Requester, Supervised
from tuneway.progress import FileReused, JobAdopted, Logged, News
from tuneway.registry import Gate, ModelVersion
from tuneway.report import SampleAnswer, gather, render_html, terminal_curve

HERE = Path(__file__).parent
DATA = HERE.parent / "data"
TRAIN, VALID = DATA / "support_train.jsonl", DATA / "support_valid.jsonl"
HOME = Path(os.environ.get("TUNEWAY_DEMO_HOME", HERE.parents[1] / ".tuneway" / "demo"))
REGISTRY = f"sqlite:///{(HOME / 'models.db').resolve()}"

RECIPE = Recipe(
    model="gpt-4o-mini",
    training_data=TRAIN,
    validation_data=VALID,
    method=Supervised(n_epochs=3),
    suffix="support-router",
    seed=7,
)
ME = Requester(pipeline="demo", key="support-router")
AFTERWARDS: dict[str, Any] = {
    "name": "support-router",
    "registry": REGISTRY,
    "alias": "champion",
    "gates": [Gate("full_valid_loss", max=1.0)],
}


def service() -> AbstractContextManager[str | None]:
    """The service that OPENAI_BASE_URL names, else one that is started on this machine."""
    return nullcontext() if "OPENAI_BASE_URL" in os.environ else local_service(HOME, model="gpt-4o-mini=bytes")


def step(number: int, title: str) -> None:
    """Print the title of a step."""
    print(f"\n{number}. {title}", flush=True)


ended_before: list[Job] = []


def tell(news: News) -> None:
    """Show what happens; of the training's steps, every tenth."""
    if isinstance(news, JobAdopted) and news.job.done:
        ended_before.append(news.job)
    if isinstance(news, Logged):
        step_number = news.event.metrics.get("step", 0)
        if news.event.type == "metrics" and step_number % 10:
            return
        print(f"   {news.event.message}", flush=True)
    elif isinstance(news, FileReused | JobAdopted):
        print(f"   {news}", flush=True)


def main() -> None:
    """Run the pipeline."""
    started = time.monotonic()
    with service() as base_url, Client(base_url=base_url) as client:
        print(f"Fine-tuning at {client.base_url}")

        step(1, "Check")
        report = client.check(RECIPE, ME, **AFTERWARDS)
        kind = "" if report.tokens.exact else "about "
        print(f"   {report.rows} {report.format} examples, {kind}{report.tokens.total:,} tokens, no errors")

        step(2, "Upload")
        file = client.upload(TRAIN, validation_data=VALID, report=report, on_event=tell)
        print("   " + " and ".join(sent.id for sent in (file, file.validation) if sent))

        step(3, "Create")
        spec = RECIPE.spec(file, file.validation)
        job = client.submit(spec, requester=ME, on_event=tell)
        print(f"   {job.id}")

        step(4, "Wait")
        if ended_before:
            print("   it has ended before")
        else:
            job = client.wait(job, timeout=600, on_event=tell)

        step(5, "Register")
        version = client.register(job, spec=spec, data=[report], origin=ME, **AFTERWARDS)
        print(f"   {version.ref} is champion: {version.model_id}")
        print(f"   trained by: {version.record.trainer or 'the service does not say'}")

        step(6, "Look at it")
        page = look(client, job, version, report)

    print(f"\nDone in {time.monotonic() - started:.1f} s. The report: {page}")
    print("Next: run it again, and see the job adopted instead of trained again;")
    print("      `tuneway --help` for the same steps from the command line.")


def look(client: Client, job: Job, version: ModelVersion, report: DatasetReport) -> Path:
    """Show the curve and an answer of each model, and write a report."""
    samples = ask_both(client, version.model_id)
    findings = gather(client, job, data=report, registered=version, samples=samples)
    print(terminal_curve(findings.rows))
    sample = samples[0]
    print(f"\n   Asked: {sample.prompt}")
    print(f"   base:  {sample.base}\n   tuned: {sample.tuned}   (expected: {sample.expected})")
    page = HOME / "report.html"
    page.write_text(render_html(findings), encoding="utf-8")
    return page


def ask_both(client: Client, tuned: str) -> list[SampleAnswer]:
    """Ask the base model and the tuned one the first held-out questions."""
    samples = []
    for line in VALID.read_text(encoding="utf-8").splitlines()[:3]:
        *question, answer = json.loads(line)["messages"]
        base_answer, tuned_answer = (client.ask(model, question) for model in ("gpt-4o-mini", tuned))
        samples.append(
            SampleAnswer(
                prompt=question[-1]["content"], base=base_answer, tuned=tuned_answer, expected=answer["content"]
            )
        )
    return samples


if __name__ == "__main__":
    main()
