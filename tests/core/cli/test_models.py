"""`models`, `register`, `promote`, `rollback`, `lineage`, `ask`, over the embedded registry."""

from __future__ import annotations

import pytest
from support.console import lines_of, write

from tuneway import Client
from tuneway.cli._exits import ExitCode
from tuneway.dataset import fingerprint
from tuneway.flows import name_with_hash
from tuneway.registry import open_registry


@pytest.fixture
def jobs(service, train):
    """Three trained jobs on the same data."""
    file = service.add_file(filename=name_with_hash("train.jsonl", fingerprint(train).sha256))["id"]
    for number in range(1, 4):
        service.add_job(training_file=file)
        service.train(f"ftjob-{number}")
    return [f"ftjob-{number}" for number in range(1, 4)]


@pytest.fixture
def router(tuneway, jobs):
    """All three registered; the first was champion, the second is, the third is challenger."""
    for job, alias in zip(jobs, ("champion", "champion", "challenger"), strict=True):
        tuneway("register", job, "--name", "router", "--alias", alias)
    return "router"


def test_register_prints_the_version_and_is_idempotent(tuneway, jobs):
    first, second = (tuneway("register", jobs[0], "--name", "router") for _ in range(2))
    assert first.stdout == second.stdout == "router:1\n"
    assert "router:1 is registered" in first.stderr
    assert "router:1 was registered already" in second.stderr


def test_for_programs_a_version_is_the_same_whatever_moved_it(tuneway, jobs):
    version = {
        "name": "router", "version": 1, "ref": "router:1", "model_id": "ft:base:org::ftjob-1", "job_id": "ftjob-1",
        "base_model": "base",
    }  # fmt: skip
    for words, aliases in [
        (("register", jobs[0], "-n", "router"), []),
        (("promote", "router:1"), ["champion"]),
        (("promote", "router:1", "--alias", "challenger"), ["challenger", "champion"]),
    ]:
        (told,) = lines_of(tuneway(*words, "--json"))
        assert told.pop("metrics")["train_loss"] == 0.1
        assert (told.pop("aliases"), told) == (aliases, version)


def test_register_chooses_a_checkpoint(tuneway, jobs):
    (version,) = lines_of(tuneway("register", jobs[0], "-n", "router", "--checkpoint", "best", "--json"))
    assert version["model_id"] == "ft:base:org::ftjob-1:ckpt-step-10"


def test_a_job_that_has_not_succeeded_can_not_be_registered(tuneway, service):
    service.add_job()
    tuneway("register", "ftjob-1", "-n", "router", code=ExitCode.ERROR)
    service.train("ftjob-1", "failed")
    tuneway("register", "ftjob-1", "-n", "router", code=ExitCode.JOB_FAILED)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--gate", "full_valid_loss<=0.6"], 0),
        (["--gate", "full_valid_loss <= 6e-1", "--gate", "full_valid_loss>=0.1"], 0),
        (["--gate", "full_valid_loss<=0.4"], ExitCode.GATE_REFUSED),
        (["--no-worse", "full_valid_loss"], 0),
        (["--gate", "full_valid_loss=0.4"], ExitCode.USAGE),
        (["--gate", "full_valid_loss<=1e"], ExitCode.USAGE),
    ],
)
def test_gates_stand_before_an_alias(tuneway, jobs, words, code):
    tuneway("register", jobs[0], "-n", "router", "--alias", "champion", *words, code=code)
    if code != ExitCode.USAGE:
        assert open_registry().get("router").aliases == ([] if code else ["champion"])


def test_models_are_listed_with_aliases_and_their_number(tuneway, router):
    head, *rows = tuneway("models", router).stdout.splitlines()
    assert head.split() == ["version", "aliases", "metric", "registered", "model"]
    assert [row.split()[0] for row in rows] == ["router:3", "router:2", "router:1"]
    assert "challenger" in rows[0]
    assert "0.5 valid loss" in rows[0]
    assert [version["record"]["version"] for version in lines_of(tuneway("models", "--json"))] == [3]


def test_an_empty_registry_points_to_the_service(tuneway):
    result = tuneway("models")
    assert result.stdout == ""
    assert "tuneway models --service" in result.stderr


def test_the_models_of_the_service_are_listed_if_asked(tuneway):
    assert [model["id"] for model in lines_of(tuneway("models", "--service", "--json"))] == ["base"]
    assert "base" in tuneway("models", "--service").stdout


def test_promote_and_rollback_move_the_champion_and_are_remembered(tuneway, router):
    assert tuneway("promote", router, "--reason", "week 47").stdout == "router:3\n"
    assert tuneway("rollback", router, "--reason", "wrong language").stdout == "router:2\n"
    assert tuneway("promote", "router:1", "--alias", "challenger").stdout == "router:1\n"
    assert open_registry().aliases(router)["champion"] == 2
    history = lines_of(tuneway("models", router, "--history", "--json"))
    assert [(event["action"], event["version"]) for event in history][-3:] == [
        ("moved", 3), ("rolled back", 2), ("moved", 1),
    ]  # fmt: skip
    text = tuneway("models", router, "--history").stdout
    assert "week 47" in text
    assert "wrong language" in text


def test_history_needs_a_name(tuneway):
    tuneway("models", "--history", code=ExitCode.USAGE)


def test_what_is_not_registered_is_an_error_that_says_what_is(tuneway, router):
    result = tuneway("promote", "router:9", code=ExitCode.ERROR)
    assert "router has versions up to 3" in result.stderr


def test_lineage_walks_from_a_model_to_its_data(tuneway, router, train):
    facts = dict(line.split(": ", 1) for line in tuneway("lineage", "router@champion").stdout.splitlines())
    assert facts["version"] == "router:2"
    assert facts["job"] == "ftjob-2"
    assert facts["data"] == "train.jsonl"
    assert facts["data sha256"] == fingerprint(train).sha256
    assert facts[f"also on {fingerprint(train).sha256[:12]}"] == "router:1, router:3"


def test_lineage_walks_from_data_to_its_models(tuneway, router, train, here):
    by_file = lines_of(tuneway("lineage", train, "--json"))
    by_hash = lines_of(tuneway("lineage", fingerprint(train).sha256.upper(), "--json"))
    assert [version["record"]["version"] for version in by_file] == [1, 2, 3]
    assert by_hash == by_file
    other = write(here / "other.jsonl", 11)
    assert "was trained on" in tuneway("lineage", other).stderr


def test_lineage_knows_what_a_model_was_tuned_from(tuneway, service, router):
    service.add_job(model="ft:base:org::ftjob-1")
    service.train("ftjob-4")
    tuneway("register", "ftjob-4", "-n", "child")
    assert "tuned from: router:1 (ft:base:org::ftjob-1)" in tuneway("lineage", "child").stdout
    (lineage,) = lines_of(tuneway("lineage", "child", "--json"))
    assert lineage["ancestors"][0]["record"]["version"] == 1


def test_lineage_shows_what_was_asked_for_where_the_service_settled_something_else(tuneway, server, service):
    settled = {"n_epochs": 3, "batch_size": 8, "learning_rate_multiplier": 0.5}
    service.add_job(method={"type": "supervised", "supervised": {"hyperparameters": settled}})
    service.train("ftjob-1")
    with Client(base_url=server.base_url) as client:
        client.register("ftjob-1", name="router", requested={"n_epochs": "auto", "batch_size": 8, "rank": 16})
    told = tuneway("lineage", "router").stdout.splitlines()
    assert "n epochs: 3 (requested: auto)" in told
    assert "rank: unknown (requested: 16)" in told
    assert {"batch size: 8", "learning rate multiplier: 0.5"} <= set(told)


def test_the_registry_is_chosen_by_option_or_environment(tuneway, jobs, here, monkeypatch):
    tuneway("register", jobs[0], "-n", "router", "--registry", "sqlite:///mine.db")
    assert (here / "mine.db").exists()
    assert tuneway("models").stdout == ""
    monkeypatch.setenv("TUNEWAY_REGISTRY_URI", "sqlite:///mine.db")
    assert "router:1" in tuneway("models").stdout
    tuneway("models", "--registry", "nonsense", code=ExitCode.USAGE)


def test_a_model_is_asked_by_its_name_or_its_alias(tuneway, service, router):
    assert tuneway("ask", "base", "hello").stdout == "base heard hello\n"
    assert (
        tuneway("ask", "router@champion", "hello", "--system", "Be brief.").stdout
        == "ft:base:org::ftjob-2 heard hello\n"
    )
    asked = service.requests("POST", "/chat/completions")[-1].json
    assert [message["role"] for message in asked["messages"]] == ["system", "user"]
    assert asked["temperature"] == 0
    (answer,) = lines_of(tuneway("ask", "base", "hello", "--json"))
    assert answer == {"model": "base", "answer": "base heard hello"}
