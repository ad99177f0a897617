"""Several processes at the same moment: one version per job, one story about the aliases."""

from __future__ import annotations

import pytest
from support.registries import at_once, make_record, promote_rounds, register_rounds

from tuneway.registry import open_registry

pytestmark = pytest.mark.slow

PROCESSES = 3


@pytest.fixture
def rounds(uri):
    """How often; MLflow's server takes a second for what a file does in a millisecond."""
    return 40 if uri.startswith("sqlite") else 4


def test_processes_that_register_one_job_get_one_version(uri, name, rounds):
    jobs = [str(number) for number in range(rounds)]
    answers = at_once(register_rounds, [(uri, name, jobs, "challenger")] * PROCESSES)
    for turn in range(rounds):
        seen = [answer[turn] for answer in answers]
        assert len({version for version, _ in seen}) == 1, answers
        assert sum(new for _, new in seen) <= 1
    registry = open_registry(uri)
    versions = registry.versions(name)
    assert sorted(version.record.job_id for version in versions) == sorted(
        make_record(name, job).job_id for job in jobs
    )
    assert registry.get(f"{name}@challenger").record.job_id == make_record(name, jobs[-1]).job_id
    registered = [event.version for event in registry.history(name) if event.action == "registered"]
    assert sorted(registered) == sorted(version.version for version in versions)


def test_processes_that_register_different_jobs_lose_none(uri, name, rounds):
    batches = [[f"{process}-{number}" for number in range(rounds)] for process in range(PROCESSES)]
    answers = at_once(register_rounds, [(uri, name, jobs) for jobs in batches])
    versions = [version for answer in answers for version, _ in answer]
    assert len(set(versions)) == PROCESSES * rounds, answers
    assert all(new for answer in answers for _, new in answer)
    assert len(open_registry(uri).versions(name)) == PROCESSES * rounds


def test_processes_that_promote_at_once_agree_on_the_champion(uri, name, rounds):
    registry = open_registry(uri)
    for job in range(PROCESSES * rounds):
        registry.register(make_record(name, str(job)))
    batches = [list(range(process + 1, PROCESSES * rounds + 1, PROCESSES)) for process in range(PROCESSES)]
    assert at_once(promote_rounds, [(uri, name, versions) for versions in batches]) == ["done"] * PROCESSES
    moved = [event for event in registry.history(name) if event.action == "moved"]
    assert sorted(event.version for event in moved) == list(range(1, PROCESSES * rounds + 1))
    assert registry.aliases(name) == moved[-1].moves
    # whoever asks MLflow itself hears the same
    assert open_registry(uri).get(f"{name}@champion").version == moved[-1].version


@pytest.mark.parametrize("uri", ["new mlflow database", "new mlflow postgresql"], indirect=True)
def test_processes_that_open_an_empty_database_at_once_all_register(uri, name):
    answers = at_once(register_rounds, [(uri, name, [str(process)]) for process in range(PROCESSES)])

    assert sorted(version for answer in answers for version, _ in answer) == [1, 2, 3]
