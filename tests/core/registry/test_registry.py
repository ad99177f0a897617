"""What a registry promises, on every back end."""

from __future__ import annotations

import pickle
from datetime import UTC, date, datetime, timedelta

import pytest
from support.registries import make_record, sha256_of

from tuneway.errors import GateRefused, InvalidSpec, NotRegistered, RegistryError
from tuneway.registry import Gate, ModelRecord, NoWorseThanChampion, Registry, Status, open_registry


def test_a_registered_record_comes_back_whole(registry, name, uri):
    record = make_record(
        name,
        checkpoint="ftckpt-2",
        checkpoint_choice="best",
        checkpoints=[{"id": "ftckpt-2", "step": 20, "model_id": "ft:x:ckpt-step-20", "metrics": {"valid_loss": 0.31}}],
        shutdown_date=date(2040, 1, 14),
        requested={"n_epochs": "auto"},
        resolved={"n_epochs": 3, "batch_size": 8},
        seed=7,
        trained_tokens=12345,
        cost={"amount": 1.25, "currency": "USD", "price_date": "2026-06-30"},
        git={"commit": "0" * 40, "dirty": True},
        origin={"engine": "airflow", "pipeline": "router", "run": "manual__1", "text": "airflow router/manual__1"},
        service_url="https://user:secret@api.example/v1?key=secret",
        job_created_at=datetime(2026, 11, 20, 8, tzinfo=UTC),
    )
    registered = registry.register(record)
    assert registered.new
    assert registered.version == 1
    assert open_registry(uri).get(f"{name}:1").record == record.model_copy(update={"version": 1})
    assert registered.record.service_url == "https://api.example/v1"


def test_registering_a_job_twice_gives_the_same_version(registry, name, record):
    first = registry.register(record("a"))
    again = registry.register(record("a", created_at=datetime.now(UTC), seed=99))
    assert (first.version, first.new) == (1, True)
    assert (again.version, again.new) == (1, False)
    assert again.record == first.record
    assert len(registry.versions(name)) == 1


def test_another_checkpoint_of_a_job_is_another_version(registry, name, record):
    registry.register(record("a"))
    registry.register(record("a", model_id="ft:x:ckpt-step-20", checkpoint_choice="best"))
    assert [version.version for version in registry.versions(name)] == [2, 1]


def test_one_job_may_have_two_names(registry, name, record):
    registry.register(record("a"))
    other = registry.register(record("a", name=f"{name}-too"))
    assert other.ref == f"{name}-too:1"
    assert {name, f"{name}-too"} <= {model.name for model in registry.models()}


def test_versions_are_found_by_number_alias_and_name(registry, name, record):
    registry.register(record("a"), alias="champion")
    registry.register(record("b"), alias="challenger")
    assert registry.get(f"{name}:1").aliases == ["champion"]
    assert registry.get(f"{name}@challenger").version == 2
    assert registry.get(name).version == 2
    assert registry.aliases(name) == {"challenger": 2, "champion": 1}


@pytest.mark.parametrize("reference", ["{}:9", "{}:0", "{}@nobody", "{}-unheard-of"])
def test_an_unknown_reference_is_refused_with_the_known_ones(registry, name, record, reference):
    registry.register(record("a"), alias="champion")
    with pytest.raises(NotRegistered, match="isn't in the registry") as caught:
        registry.get(reference.format(name))
    assert name in str(caught.value)


@pytest.mark.parametrize("reference", ["", "a b", "a:b", "a@", "a@b@c", "../etc", "a:1:2"])
def test_a_malformed_reference_is_refused(registry, reference):
    with pytest.raises(InvalidSpec):
        registry.get(reference)


@pytest.mark.parametrize("bad", ["", "a/b", "a:b", "a@b", "-a", "ü", "a" * 129])
def test_a_name_that_could_be_misread_is_refused(registry, record, bad):
    with pytest.raises(InvalidSpec, match="not a model name"):
        registry.register(record("a", name=bad))


@pytest.mark.parametrize("bad", ["", "latest", "v3", "1st", "a b", "previous"])
def test_an_alias_that_could_be_misread_is_refused(registry, name, record, bad):
    with pytest.raises(InvalidSpec, match="alias"):
        registry.register(record("a"), alias=bad)
    with pytest.raises(NotRegistered):
        registry.versions(name)


def test_promoting_makes_the_old_champion_previous(registry, name, record):
    registry.register(record("a"), alias="champion")
    registry.register(record("b"), alias="challenger")
    promoted = registry.promote(name)
    assert promoted.version == 2
    assert registry.aliases(name) == {"champion": 2, "previous": 1}


def test_rolling_back_again_goes_further_back(registry, name, record):
    for job in "abc":
        registry.register(record(job), alias="champion")
    assert registry.aliases(name) == {"champion": 3, "previous": 2}
    assert registry.roll_back(name, reason="rude").version == 2
    assert registry.aliases(name) == {"champion": 2, "previous": 1}
    assert registry.roll_back(name).version == 1
    assert registry.aliases(name) == {"champion": 1}
    with pytest.raises(RegistryError, match="no earlier champion"):
        registry.roll_back(name)


def test_rolling_back_passes_over_what_can_not_be_used(registry, name, record):
    for job in "abc":
        registry.register(record(job), alias="champion")
    registry.mark(f"{name}:2", "deleted", reason="space")
    assert registry.roll_back(name).version == 1


def test_a_champion_that_came_back_twice_can_be_rolled_back(registry, name, record):
    registry.register(record("a"), alias="champion")
    registry.register(record("b"), alias="champion")
    registry.promote(f"{name}:1")
    assert registry.roll_back(name).version == 2
    assert registry.aliases(name) == {"champion": 2, "previous": 1}


def test_a_repeated_registration_takes_no_alias_back(registry, name, record):
    registry.register(record("a"), alias="challenger")
    registry.register(record("b"), alias="challenger")
    again = registry.register(record("a"), alias="challenger")
    assert again.aliases == []
    assert registry.get(f"{name}@challenger").version == 2


def test_a_repeated_registration_gives_an_alias_that_the_first_did_not(registry, name, record):
    registry.register(record("a"))
    assert registry.register(record("a"), alias="challenger").aliases == ["challenger"]


def test_an_alias_can_be_removed(registry, name, record):
    registry.register(record("a"), alias="canary")
    registry.remove_alias(name, "canary", reason="flown")
    assert registry.aliases(name) == {}
    with pytest.raises(NotRegistered):
        registry.remove_alias(name, "canary")


def test_history_says_who_did_what_when_and_why(uri, name, record):
    hour = iter(datetime(2026, 11, 20, hour, tzinfo=UTC) for hour in range(24))
    from tuneway.registry._places import _backend

    registry = Registry(_backend(uri, 5), now=lambda: next(hour))
    registry.register(record("a"), alias="champion", by="ann", reason="first")
    registry.register(record("b"), by="bob")
    registry.promote(f"{name}:2", by="cleo", reason="better")
    registry.roll_back(name, by="dan", reason="worse after all")
    registry.mark(f"{name}:2", "retired", by="eve", reason="rude")
    lines = [(e.action, e.version, e.by, e.reason, e.moves) for e in registry.history(name)]
    assert lines == [
        ("registered", 1, "ann", "first", {"champion": 1}),
        ("registered", 2, "bob", None, {}),
        ("moved", 2, "cleo", "better", {"champion": 2, "previous": 1}),
        ("rolled back", 1, "dan", "worse after all", {"champion": 1, "previous": None}),
        ("marked", 2, "eve", "rude", {}),
    ]
    times = [event.at for event in registry.history(name)]
    assert times == sorted(set(times))
    assert [event.seq for event in registry.history(name)] == [1, 2, 3, 4, 5]


def test_a_repeated_change_leaves_no_event(registry, name, record):
    registry.register(record("a"), alias="champion")
    registry.promote(f"{name}:1")
    registry.mark(f"{name}:1", "active")
    registry.register(record("a"), alias="champion")
    assert len(registry.history(name)) == 1


def test_a_gate_that_refuses_keeps_the_alias_and_stores_the_verdict(registry, name, record):
    registry.register(record("a", metrics={"full_valid_loss": 0.4}), alias="champion")
    gates = [Gate("full_valid_loss", max=0.5), NoWorseThanChampion("full_valid_loss", tolerance=0.01)]
    with pytest.raises(GateRefused, match=r"0\.45 is worse than the champion's 0\.4") as caught:
        registry.register(record("b", metrics={"full_valid_loss": 0.45}), alias="champion", gates=gates)
    assert registry.aliases(name) == {"champion": 1}
    stored = registry.get(f"{name}:2")
    assert [verdict.passed for verdict in stored.verdicts] == [True, False]
    assert stored.verdicts[1].numbers == {"candidate": 0.45, "champion": 0.4, "tolerance": 0.01}
    assert registry.history(name)[-1].action == "refused"
    error = pickle.loads(pickle.dumps(caught.value))
    assert error.version.version == 2
    assert error.verdicts == stored.verdicts


def test_a_gate_can_refuse_a_promotion(registry, name, record):
    registry.register(record("a"), alias="champion")
    registry.register(record("b"), alias="challenger")
    with pytest.raises(GateRefused):
        registry.promote(name, gates=[Gate("full_valid_loss", max=0.1)])
    assert registry.aliases(name) == {"challenger": 2, "champion": 1}
    promoted = registry.promote(name, gates=[Gate("full_valid_loss", max=0.6)], reason="good enough")
    assert promoted.aliases == ["champion"]
    assert promoted.verdicts[0].passed


def test_a_version_that_can_not_be_used_gets_no_alias(registry, name, record):
    registry.register(record("a"))
    marked = registry.mark(name, Status.RETIRED)
    assert marked.warnings == [f"{name}:1 is marked retired"]
    with pytest.raises(RegistryError, match="marked retired"):
        registry.promote(f"{name}:1")
    registry.mark(name, "active")
    assert registry.promote(f"{name}:1").aliases == ["champion"]


def test_an_unknown_mark_is_refused(registry, name, record):
    registry.register(record("a"))
    with pytest.raises(InvalidSpec, match="not a status"):
        registry.mark(name, "tired")


def test_versions_are_found_by_their_data_job_and_model(registry, name, record):
    registry.register(record("a"))
    registry.register(record("b"))
    registry.register(record("c", training={"id": "file-other", "sha256": sha256_of(name + "!")}, validation=None))
    for data in ("training", "validation"):
        found = registry.find(sha256=sha256_of(f"{name} {data}"))
        assert [version.ref for version in found] == [f"{name}:1", f"{name}:2"]
    assert [version.version for version in registry.find(job_id=f"ftjob-{name}-b")] == [2]
    assert [version.version for version in registry.find(model_id=record("c").model_id)] == [3]
    assert registry.find(model_id="ft:it's:nobody's") == []
    with pytest.raises(InvalidSpec):
        registry.find()


def test_lineage_leads_to_the_data_and_to_those_that_share_it(registry, name, record):
    registry.register(record("a"))
    registry.register(record("b", base_model=record("a").model_id))
    registry.register(record("c", base_model=record("b").model_id, training=None, validation=None))
    lineage = registry.lineage(f"{name}:3")
    assert [version.version for version in lineage.ancestors] == [2, 1]
    siblings = registry.lineage(f"{name}:1").siblings
    assert [v.version for v in siblings[sha256_of(f"{name} training")]] == [2]


def test_a_base_model_about_to_end_is_warned_of(registry, name, record):
    today = datetime.now(UTC).date()
    ends = {"soon": today + timedelta(days=55), "later": today + timedelta(days=400), "over": today}
    versions = {job: registry.register(record(job, shutdown_date=end)) for job, end in ends.items()}
    assert "in 55 days" in versions["soon"].warnings[0]
    assert versions["later"].warnings == []
    assert "no longer answers" in versions["over"].warnings[0]


def test_fields_of_a_newer_tuneway_are_kept(registry, name, uri):
    newer = ModelRecord(**make_record(name).model_dump(), schema_version_note="from the future", carbon={"kg": 3})
    registry.register(newer)
    stored = open_registry(uri).get(name).record
    assert stored.model_extra == {"schema_version_note": "from the future", "carbon": {"kg": 3}}


def test_a_decision_made_on_an_outdated_view_is_made_again(uri, name, record):
    """Somebody else promotes while this promotion's gate is being asked."""
    registry, other = open_registry(uri), open_registry(uri)
    for job in "abc":
        registry.register(record(job))
    asked = []

    def gate(candidate, champion):
        asked.append(champion.version if champion else None)
        if len(asked) == 1:
            other.promote(f"{name}:1")
        return True

    registry.promote(f"{name}:2", gates=[gate])
    assert asked == [None, 1]
    assert registry.aliases(name) == {"champion": 2, "previous": 1}
