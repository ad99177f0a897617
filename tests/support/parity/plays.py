"""What may happen to a fine-tune: plays for a stage, and data to train on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from support.datasets import Line, chat, good_rows, say, write
from support.fault_server import answer
from support.parity.order import Outcome
from support.parity.stage import JOBS, ONE_JOB, ParityStage

from tuneway import JobSpec

EXAMPLES = Path(__file__).parents[3] / "examples" / "data"


# --- What happens. ---


def once(stage: ParityStage) -> Outcome:
    """Nothing but the run."""
    return stage.run()


def killed_at(method: str, path: str, *, acts: bool, after: int = 0) -> Callable[[ParityStage], Outcome]:
    """SIGKILL at a request, then the same run again."""

    def play(stage: ParityStage) -> Outcome:
        stage.dies_at(method, path, acts=acts, after=after)
        stage.dies()
        return stage.again()

    return play


def evicted(stage: ParityStage) -> Outcome:
    """The worker is asked to end while it waits; the engine goes on elsewhere."""
    stage.service.will_end = None
    stage.start()
    stage.until_waiting()
    stage.runner.evict()
    stage.service.will_end = "succeeded"
    return stage.again()


def cancelled_by_its_user(stage: ParityStage) -> Outcome:
    """A person stops the run while it waits."""
    stage.start()
    stage.until_waiting()
    stage.runner.cancel(stage.order)
    stage.until(lambda: [job["status"] for job in stage.service.jobs] == ["cancelled"])
    return stage.runner.outcome()


def cancelled_elsewhere(stage: ParityStage) -> Outcome:
    """Somebody cancels the job at the service."""
    stage.start()
    stage.until_waiting()
    stage.service.finish(stage.service.jobs[0]["id"], "cancelled")
    return stage.runner.outcome()


def out_of_time(stage: ParityStage) -> Outcome:
    """The job takes longer than the run will wait."""
    stage.service.will_end = None
    return stage.run(timeout=1.5)


def twice(**changes: Any) -> Callable[[ParityStage], Outcome]:
    """A run that succeeds, and then another, or the same."""

    def play(stage: ParityStage) -> Outcome:
        assert stage.run().ended == "succeeded", stage.runner.log
        return stage.run(**changes)

    return play


def made_by_another(stage: ParityStage) -> Outcome:
    """Somebody else, with another tool, has a job for the same data and settings already."""
    with stage.client() as client:
        client.submit(JobSpec(**stage.order.spec, training_file=client.upload(stage.order.train)), key="another's")
    return stage.run()


def paused_and_resumed(stage: ParityStage) -> Outcome:
    """A person pauses the job in the middle of its training, and lets it go on."""
    stage.start()
    stage.until(lambda: [job["status"] for job in stage.service.jobs] == ["running"])
    with stage.client() as client:
        job_id = stage.service.jobs[0]["id"]
        client.pause(job_id)
        stage.until(lambda: client.jobs.retrieve(job_id).status == "paused")
        looks = len(stage.server.asked("GET", ONE_JOB))
        stage.until(lambda: len(stage.server.asked("GET", ONE_JOB)) > looks + 1)
        client.resume(job_id)
    return stage.runner.outcome()


def refused(body: Mapping[str, Any], status: int, **headers: str) -> Callable[[ParityStage], Outcome]:
    """The service refuses the create, every time."""

    def play(stage: ParityStage) -> Outcome:
        stage.server.fault(answer({"error": body}, status, **headers), "POST", JOBS, times=99)
        return stage.run()

    return play


def unfiltered_and_killed(stage: ParityStage) -> Outcome:
    """Among many jobs of others, on a service that lists them all whatever is asked."""
    for number in range(150):
        stage.service.add_job(status="succeeded", metadata={"tuneway_key": f"other-{number}"})
    return killed_at("POST", JOBS, acts=True)(stage)


# --- What is trained. ---


def good_data(folder: Path) -> dict[str, Any]:
    """A few examples."""
    return {"train": str(write(folder / "train.jsonl", good_rows()))}


def bad_data(folder: Path) -> dict[str, Any]:
    """Its second line is no example."""
    rows: list[Any] = good_rows()
    rows[1] = {"messages": [{"role": "usr", "content": "?"}]}
    return {"train": str(write(folder / "train.jsonl", rows))}


def with_data_to_measure_on(folder: Path) -> dict[str, Any]:
    """A few examples, and others to measure on."""
    return _pair(folder, good_rows(), good_rows(start=10))


def few_rows_to_measure_on(folder: Path) -> dict[str, Any]:
    """Validation data of five rows: few enough for a warning."""
    return _pair(folder, good_rows(), good_rows(start=10, count=5))


def overlapping(folder: Path) -> dict[str, Any]:
    """The last training example is in the validation data as well."""
    return _pair(folder, good_rows(count=11), good_rows(start=10))


def support_data(folder: Path) -> dict[str, Any]:
    """The examples that ship with the project, with held-out ones to measure on."""
    return _pair(folder, _example("train"), _example("valid"))


def learnt_by_heart(folder: Path) -> dict[str, Any]:
    """Examples to learn by heart, and others that contradict them: the longer it trains, the worse it measures."""
    return _pair(folder, _where_to(0), _where_to(5))


def _where_to(shift: int) -> list[dict[str, Any]]:
    words = ("refund", "invoice", "delivery", "password", "account", "order", "parcel", "login", "billing", "address")
    asked = [say("user", f"Where does {words[number % 10]} number {number} go?") for number in range(16)]
    return [chat(ask, say("assistant", words[(number * 3 + shift) % 10])) for number, ask in enumerate(asked)]


def much_data(folder: Path) -> dict[str, Any]:
    """Enough to train for a while."""
    return {"train": str(write(folder / "train.jsonl", _example("train") * 3))}


def _example(name: str) -> list[Line]:
    return [*(EXAMPLES / f"support_{name}.jsonl").read_bytes().splitlines()]


def _pair(folder: Path, train: Iterable[Line], valid: Iterable[Line]) -> dict[str, Any]:
    return {
        "train": str(write(folder / "train.jsonl", train)),
        "valid": str(write(folder / "valid.jsonl", valid)),
    }
