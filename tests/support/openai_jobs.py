"""Jobs by the `openai` package, and tickets to train on."""

from __future__ import annotations

from typing import Any

from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob
from support.datasets import to_bytes
from support.service import RunningService, until

TERMINAL = ("succeeded", "failed", "cancelled")
TEAMS = {"router": "network", "phone": "mobile", "invoice": "billing", "password": "accounts"}


def ticket(number: int) -> dict[str, Any]:
    """A support ticket and the team that it goes to."""
    thing = list(TEAMS)[number % len(TEAMS)]
    return {
        "messages": [
            {"role": "user", "content": f"Ticket {number}: there is trouble with my {thing}."},
            {"role": "assistant", "content": TEAMS[thing]},
        ]
    }


def chats(count: int, *, start: int = 0) -> bytes:
    """Tickets as JSONL."""
    return to_bytes(ticket(number) for number in range(start, start + count))


def openai_for(service: RunningService, *, api_key: str = "none") -> OpenAI:
    """The `openai` package's client, without retries of its own."""
    return OpenAI(base_url=service.base_url, api_key=api_key, max_retries=0)


def submit(client: OpenAI, training_file: str, **options) -> FineTuningJob:
    """Create a job."""
    return client.fine_tuning.jobs.create(training_file=training_file, **{"model": "gpt-4o-mini"} | options)


def wait_for(client: OpenAI, job_id: str, *statuses: str, seconds: float = 60.0) -> FineTuningJob:
    """Poll a job until it has one of the statuses; the terminal ones unless others are named."""

    def there() -> FineTuningJob | None:
        job = client.fine_tuning.jobs.retrieve(job_id)
        if job.status in (statuses or TERMINAL):
            return job
        assert job.status not in TERMINAL, job.to_json()
        return None

    found: FineTuningJob = until(there, seconds=seconds)
    return found


def slow_job(client: OpenAI, *, epochs: int = 50, rows: int = 400, **options) -> FineTuningJob:
    """A job that trains for some seconds, unless it is stopped."""
    file = client.files.create(file=("slow.jsonl", chats(rows)), purpose="fine-tune")
    knobs = {"n_epochs": epochs, "batch_size": 1}
    return submit(client, file.id, method={"type": "supervised", "supervised": {"hyperparameters": knobs}}, **options)
