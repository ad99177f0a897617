"""Records, and processes that register at the same moment: for the tests of the registry."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import sqlite3
from datetime import UTC, datetime

from tuneway.registry import ModelRecord, open_registry

WHEN = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)


def sha256_of(text):
    return hashlib.sha256(text.encode()).hexdigest()


def make_record(name, job="1", /, **changes):
    """A record of a job's model, trained on data that belongs to the name."""
    facts = {
        "name": name,
        "model_id": f"ft:gpt-4o-mini:acme::{name}-{job}",
        "job_id": f"ftjob-{name}-{job}",
        "base_model": "gpt-4o-mini",
        "training": {
            "id": "file-train",
            "filename": "train.jsonl",
            "sha256": sha256_of(f"{name} training"),
            "rows": 80,
        },
        "validation": {"id": "file-valid", "sha256": sha256_of(f"{name} validation")},
        "method": "supervised",
        "trainer": "bytes",
        "metrics": {"full_valid_loss": 0.5, "train_loss": 0.4},
        "created_at": WHEN,
    }
    return ModelRecord(**(facts | changes))


def at_once(work, argument_lists, *, timeout=90):
    """Call `work(barrier, *arguments)` in one new process for each list of arguments; returns the answers."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(len(argument_lists)), context.Queue()
    processes = [
        context.Process(target=_answer, args=(answers, number, work, barrier, arguments))
        for number, arguments in enumerate(argument_lists)
    ]
    for process in processes:
        process.start()
    got = dict(answers.get(timeout=timeout) for _ in processes)
    for process in processes:
        process.join(timeout)
    return [got[number] for number in range(len(processes))]


def _answer(answers, number, work, barrier, arguments):
    try:
        answers.put((number, work(barrier, *arguments)))
    except BaseException as error:  # what a process dies of is an answer, too
        answers.put((number, repr(error)))
        barrier.abort()
        raise


def register_rounds(barrier, uri, name, jobs, alias=None):
    """Register job after job, each at the same moment as the other processes; returns (version, new) of each."""
    registry = open_registry(uri)
    found = []
    for job in jobs:
        barrier.wait()
        version = registry.register(make_record(name, job), alias=alias)
        found.append((version.version, version.new))
    return found


def promote_rounds(barrier, uri, name, versions):
    """Promote version after version, each at the same moment as the other processes promote theirs."""
    registry = open_registry(uri)
    for version in versions:
        barrier.wait()
        registry.promote(f"{name}:{version}", reason=f"round of {version}")
    return "done"


def kill_at_every_statement(_barrier, folder, name):
    """Kill a registering process before each of its SQL statements; returns what a reader finds each time.

    Every kill has a file of its own, where version 1 is champion and version 2 shall be.
    """
    found = []
    for statement in range(1, 100):
        uri = f"sqlite:///{folder}/{statement}.db"
        if statement % 2:  # a file that is there, or one that is made by the killed process
            open_registry(uri).register(make_record(name, "1"), alias="champion")
        child = os.fork()
        if child == 0:
            _die_at(statement, uri, name)
        _, status = os.waitpid(child, 0)
        after = open_registry(uri)
        seen = [(version.version, version.aliases) for version in after.versions(name)] if after.models() else []
        again = after.register(make_record(name, "2"), alias="champion")
        found.append((seen, again.version, after.aliases(name), [str(event.action) for event in after.history(name)]))
        if not os.WIFSIGNALED(status):
            return found
    raise AssertionError("the registration never came to its end")


def _die_at(statement, uri, name):
    """Register version 2, and die before a statement."""
    left = iter(range(statement - 1))
    connect = sqlite3.connect

    def look(_statement):
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    def traced(*arguments, **options):
        db = connect(*arguments, **options)
        db.set_trace_callback(look)
        return db

    sqlite3.connect = traced
    open_registry(uri).register(make_record(name, "2"), alias="champion")
    os._exit(0)


class Killed(BaseException):
    """What a process dies of: no handler for errors sees it."""


class StatementFault:
    """An `MlflowClient` that breaks at its nth call: `kill` before it, or lose the `request` or the `reply`."""

    def __init__(self, registry, kind, at):
        self._calls = registry._backend._calls
        self._client, self._calls._client = self._calls._client, self
        self._kind, self._at, self.count = kind, at, 0

    def __getattr__(self, method):
        def call(*args, **options):
            self.count += 1
            broken = self.count == self._at
            if broken and self._kind == "kill":
                raise Killed
            if broken and self._kind == "request":
                raise ConnectionError("the request was lost")
            answer = getattr(self._client, method)(*args, **options)
            if broken:
                raise ConnectionError("the reply was lost")
            return answer

        return call


def assert_nothing_is_left_over(registry, model):
    """MLflow itself shows what the registry says, and nothing besides."""
    client = registry._backend._calls._client
    versions = {int(version.version): version for version in client.search_model_versions(f"name = '{model}'")}
    assert set(versions) == {version.version for version in registry.versions(model)}
    aliases = client.get_registered_model(model).aliases
    assert {alias: int(version) for alias, version in aliases.items()} == registry.aliases(model)
    experiment = client.get_experiment_by_name(f"tuneway/{model}").experiment_id
    runs = client.search_runs([experiment])
    assert {run.info.run_id: run.info.status for run in runs} == {v.run_id: "FINISHED" for v in versions.values()}
    logged = client.search_logged_models([experiment])
    links = {one.tags["mlflow.modelVersions"]: one.source_run_id for one in logged}
    assert links == {
        f'[{{"name": "{model}", "version": {number}}}]': version.run_id for number, version in versions.items()
    }
    assert not any("pending" in value for v in versions.values() for value in v.tags.values())
