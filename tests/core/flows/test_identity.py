"""The key and the content of an intent, by which a job is found again, and the origin."""

# mypy: warn-return-any=False

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from support.fake_service import FakeService
from support.virtual_driver import VirtualDriver

from tuneway import JobSpec, flows
from tuneway.choices import Reuse
from tuneway.errors import InvalidSpec
from tuneway.flows import CONTENT, KEY, ORIGIN, Account
from tuneway.flows._identity import Intent, identify
from tuneway.models import Hyperparameters, Job, Supervised
from tuneway.requester import Requester

EPOCHS = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}}
SHA, OTHER_SHA = "a" * 64, "b" * 64


@pytest.fixture
def service() -> FakeService:
    service = FakeService()
    service.add_file(id="file-1", filename=f"train.sha256-{SHA}.jsonl")
    service.add_file(id="file-again", filename=f"other name.sha256-{SHA}.jsonl")
    service.add_file(id="file-other", filename=f"train.sha256-{OTHER_SHA}.jsonl")
    service.add_file(id="file-plain", filename="train.jsonl")
    service.add_file(id="file-plain-2", filename="train.jsonl")
    service.add_file(id="file-nameless", filename=None)
    return service


@pytest.fixture
def name(service):
    """Computes the intent of a spec."""

    def name(*, key: str | None = "k", reuse: Reuse = "run", nonce: str = "", **spec: Any) -> Intent:
        return named(service, Requester(key=key), reuse=reuse, nonce=nonce, **spec)

    return name


def named(service, requester: Requester, *, reuse: Reuse = "run", nonce: str = "", **spec: Any) -> Intent:
    """Computes the intent of a requester."""
    job = JobSpec(**{"model": "base", "training_file": "file-1"} | spec)
    return VirtualDriver(service).run(identify(Account(), job, requester, reuse=reuse, nonce=nonce))


def test_the_same_intent_always_has_the_same_key_and_content(name):
    """Written down: a name that changes with a release would pay for running jobs again."""
    intent = name(method=EPOCHS, suffix="süß", seed=7)
    assert intent.content == "87c8fb62ecbedf00d7941adf0c1eabce"
    assert intent.key == "963f452a724d38147060d3339a094625"


def test_the_order_of_a_dict_does_not_matter(name):
    one = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3, "batch_size": 8, "own": 1}}}
    two = {"supervised": {"hyperparameters": {"own": 1, "batch_size": 8, "n_epochs": 3}}, "type": "supervised"}
    assert name(method=one) == name(method=two)


def test_equal_values_in_another_form_have_the_same_content(name):
    assert name(method=Supervised(hyperparameters=Hyperparameters(n_epochs=3))) == name(
        method=EPOCHS, validation_file=None
    )


def test_metadata_and_integrations_do_not_matter(name):
    assert name() == name(
        metadata={"team": "search"}, integrations=[{"type": "wandb", "wandb": {"project": "nightly"}}]
    )


@pytest.mark.parametrize(
    "change",
    [
        {"key": "another"},
        {"key": None},
        {"model": "another"},
        {"training_file": "file-other"},
        {"validation_file": "file-other"},
        {"method": EPOCHS},
        {"method": {"type": "dpo"}},
        {"hyperparameters": {"n_epochs": 3}},
        {"seed": 0},
        {"suffix": "mine"},
        {"extra_body": {"priority": "high"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_other_field_changes_the_content(name, change):
    assert name().key != name(**change).key


def test_files_with_the_same_hash_are_the_same(name):
    assert name(training_file="file-1") == name(training_file="file-again")


def test_files_without_a_hash_are_told_apart_by_their_ids(name):
    assert name(training_file="file-plain") == name(training_file="file-plain")
    assert name(training_file="file-plain") != name(training_file="file-plain-2")
    assert name(training_file="file-nameless") != name(training_file="file-plain")


def test_who_asks_is_part_of_the_key_and_not_of_the_content(name):
    monday, tuesday = name(key="monday"), name(key="tuesday")
    assert monday.key != tuesday.key
    assert monday.content == tuesday.content
    assert (monday.label, monday.value) == (KEY, monday.key)


def test_with_reuse_content_the_requester_does_not_matter(name):
    monday, tuesday = name(key="monday", reuse="content"), name(key="tuesday", reuse="content")
    assert monday.key == tuesday.key == name(key=None).key
    assert (monday.label, monday.value) == (CONTENT, monday.content)


def test_with_reuse_never_each_call_has_its_own_key(name):
    assert name(reuse="never", nonce="1").key != name(reuse="never", nonce="2").key
    assert name(reuse="never", nonce="1").key != name(reuse="run", nonce="1").key
    assert name(reuse="never", key=None, nonce="1").label == KEY


def test_the_content_of_earlier_jobs_stays_the_same(name):
    """Jobs of before aren't paid for again where the content decides."""
    assert name(reuse="content", method=EPOCHS, suffix="süß", seed=7).value == "87c8fb62ecbedf00d7941adf0c1eabce"


@pytest.mark.parametrize(
    "change", [{"engine": "dagster"}, {"pipeline": "b"}, {"run": "2"}, {"step": "b"}, {"key": "b"}]
)
def test_each_field_of_the_requester_changes_the_key(service, change):
    given = {"engine": "airflow", "pipeline": "a", "run": "1", "step": "a", "key": "a"}
    assert named(service, Requester(**given)).key != named(service, Requester(**given | change)).key


def test_a_deployment_is_part_of_the_key_of_a_run_and_not_of_content(service, monkeypatch):
    nightly = {"engine": "airflow", "pipeline": "nightly", "run": "1"}
    plain = named(service, Requester(**nightly))
    monkeypatch.setenv("TUNEWAY_DEPLOYMENT", "staging")
    staging = named(service, Requester(**nightly))
    assert staging.key != plain.key
    assert staging == named(service, Requester(**nightly, deployment="staging"))
    assert named(service, Requester(**nightly), reuse="content").value == plain.content


def test_a_deliberate_repeat_is_told_from_a_retry_by_its_occasion(service):
    first, second = (Requester(run="1", occasion=occasion) for occasion in ("clear 1", "clear 2"))
    assert named(service, first, reuse="never", nonce="x") == named(service, first, reuse="never", nonce="y")
    assert named(service, first, reuse="never").key != named(service, second, reuse="never").key
    assert named(service, first).key == named(service, second).key


def test_an_unknown_reuse_is_refused(service):
    with pytest.raises(InvalidSpec, match="reuse can't be 'always': it is one of run, content, never") as caught:
        named(service, Requester(key="k"), reuse="always")
    assert caught.value.field == "reuse"


# --- whose job it is ---


def made(service, requester: Requester, reuse: Reuse = "run", **spec: Any) -> Job:
    intent = named(service, requester, reuse=reuse, **spec)
    return Job(id="ftjob-1", status="running", metadata=intent.marks(None))


NIGHTLY = Requester(engine="airflow", pipeline="nightly", run="1", step="tune", occasion="1")


@pytest.mark.parametrize("reuse", ["run", "content", "never"])
def test_a_requester_recognises_its_own_job(service, reuse):
    assert flows.made_by(made(service, NIGHTLY, reuse), NIGHTLY)


@pytest.mark.parametrize("reuse", ["run", "content", "never"])
@pytest.mark.parametrize("change", [{"run": "2"}, {"step": "other"}, {"engine": "prefect"}, {"deployment": "staging"}])
def test_a_job_of_another_requester_is_not_its_own(service, reuse, change):
    assert not flows.made_by(made(service, NIGHTLY, reuse), dataclasses.replace(NIGHTLY, **change))


def test_its_own_job_is_known_by_the_key_where_the_origin_had_no_room(service):
    marks = {name: value for name, value in (made(service, NIGHTLY).metadata or {}).items() if name != ORIGIN}
    assert flows.made_by(Job(id="ftjob-1", status="running", metadata=marks), NIGHTLY)


def test_long_names_of_two_runs_stay_apart(service):
    """Services cut nothing and take no more than 512 characters: what tells two runs apart stands at the end."""
    monday, tuesday = (Requester(engine="prefect", pipeline="p" * 600, run=run) for run in ("monday", "tuesday"))
    assert max(len(one.origin) for one in (monday, tuesday)) <= 512
    assert not flows.made_by(made(service, monday, "content"), tuesday)
    assert flows.made_by(made(service, monday, "content"), monday)
    assert flows.made_by(made(service, Requester(mark=monday.origin), "content"), monday)


@pytest.mark.parametrize("word", ["1", "w" * 245, "w" * 600])
def test_a_run_recognises_the_jobs_of_its_steps_however_long_the_names_are(service, word):
    run = Requester(engine="airflow", pipeline="p" + word, run="r" + word)
    step = dataclasses.replace(run, step="s" + word)

    assert len(step.origin) <= 512
    assert flows.made_within(made(service, step, "content"), run)
    assert flows.made_within(made(service, step, "content"), step)
    for other in ({"run": "r" + word + "2"}, {"pipeline": "other"}, {"engine": "prefect"}, {"deployment": "staging"}):
        assert not flows.made_within(made(service, step, "content"), dataclasses.replace(run, **other))
    assert not flows.made_within(made(service, step, "content"), dataclasses.replace(run, step="other"))


def test_a_requester_that_says_nothing_of_itself_has_no_steps(service):
    assert not flows.made_within(made(service, Requester()), Requester(key="k"))
    assert not flows.made_within(made(service, Requester(), "content"), Requester())
    assert not flows.made_within(Job(id="ftjob-1", status="running"), NIGHTLY)


def test_an_origin_that_is_too_long_still_shows_the_run_and_the_step():
    long = Requester(engine="dagster", pipeline="p" * 600, run="run 8e1a", step="train")
    assert long.origin.endswith(" / run 8e1a / train")
    assert len(long.origin) <= 512


@pytest.mark.parametrize(
    ("occasion", "reuse", "adopted"),
    [("1", "run", True), ("2", "run", True), ("2", "content", True), ("1", "never", True), ("2", "never", False)],
)
def test_only_a_retry_adopts_the_job_of_an_earlier_attempt_that_wanted_one_of_its_own(occasion, reuse, adopted):
    assert NIGHTLY.adopts(occasion, reuse) is adopted
    assert not Requester(run="1").adopts(None, "never")


ALIKE = ["a", "b", "/", "a / b", "/ b", "a /", "a / / b", r"a \/ b", r"\/", r"a \\/ b", "a/b", "a /b", "/a"]


def test_words_with_slashes_do_not_make_two_requesters_look_alike(service):
    """Two requesters have two origins, so cancelling by origin never cancels the jobs of the other."""
    origins = {Requester(pipeline=one, run=two).origin for one in ALIKE for two in ALIKE}
    assert len(origins) == len(ALIKE) ** 2
    assert (
        Requester(pipeline="group/model", run="scheduled__2026/11").origin == "python: group/model / scheduled__2026/11"
    )
    evening = Requester(engine="airflow", pipeline="nightly", run="1 / evening", step="tune")
    morning = Requester(engine="airflow", pipeline="nightly / 1", run="evening", step="tune")
    assert not flows.made_by(made(service, evening, "content"), morning)
    assert flows.made_by(made(service, evening, "content"), evening)


@pytest.mark.parametrize("metadata", [None, {}, {"team": "search"}])
def test_a_job_without_marks_belongs_to_no_requester(metadata):
    assert not flows.made_by(Job(id="ftjob-1", status="running", metadata=metadata), NIGHTLY)
    assert not flows.made_by(Job(id="ftjob-1", status="running", metadata=metadata), Requester())


# --- the pairs on the job ---


def marks(pairs: int, origin: str = "o", *, keep_origin: bool = False) -> dict[str, str]:
    own = {f"own {number}": "x" for number in range(pairs)}
    flows.check_room(own, keep_origin=keep_origin)
    return Intent("k" * 32, "c" * 32, origin, KEY, "k" * 32).marks(own)


@pytest.mark.parametrize(("own", "ours"), [(0, 3), (13, 3), (14, 2)])
def test_a_users_pairs_are_all_kept_beside_ours(own, ours):
    pairs = marks(own)
    assert len(pairs) == own + ours <= 16
    assert all(pairs[f"own {number}"] == "x" for number in range(own))
    assert pairs.keys() >= {KEY, CONTENT}


@pytest.mark.parametrize("own", [15, 16])
def test_more_than_fourteen_pairs_leave_no_room_and_are_refused(own):
    with pytest.raises(InvalidSpec, match=f"{own} pairs leave no room") as caught:
        marks(own)
    assert caught.value.field == "metadata"


def test_an_origin_that_must_be_kept_takes_a_pair_more():
    assert marks(13, keep_origin=True)[ORIGIN] == "o"
    with pytest.raises(InvalidSpec, match="14 pairs leave no room for the three marks") as caught:
        marks(14, keep_origin=True)
    assert caught.value.field == "metadata"
    assert "at most 13" in str(caught.value)


def test_a_job_without_metadata_gets_the_marks():
    flows.check_room(None, keep_origin=True)
    assert Intent("k", "c", "o", KEY, "k").marks(None) == {KEY: "k", CONTENT: "c", ORIGIN: "o"}


def test_a_long_origin_is_cut_to_what_a_service_takes():
    assert len(marks(0, origin="x" * 600)[ORIGIN]) == 512


@pytest.mark.parametrize(
    ("requester", "shown"),
    [
        (Requester(mark="prefect: nightly / 1", key="k"), "prefect: nightly / 1"),
        (Requester(key="k"), "python: k"),
        (Requester(), "python"),
        (
            Requester(engine="airflow", deployment="staging", pipeline="nightly", run="1", step="tune", key="k"),
            "airflow: staging / nightly / 1 / tune / k",
        ),
    ],
)
def test_the_origin_is_readable_whatever_was_given(service, requester, shown):
    flow = identify(Account(), JobSpec(model="m", training_file="file-1"), requester, reuse="run")
    assert VirtualDriver(service).run(flow).origin == shown


# --- hashes in file names ---


@pytest.mark.parametrize("name", ["train.jsonl", "train", ".jsonl", "a.b.jsonl", "tr in.jsonl", "ünï.jsonl"])
def test_a_files_hash_survives_in_its_name(name):
    carried = flows.name_with_hash(name, SHA)
    assert flows.hash_in(carried) == SHA
    assert carried.endswith(".jsonl") == name.endswith(".jsonl")


@pytest.mark.parametrize("name", [None, "", "train.jsonl", f"train.sha256-{SHA[:-1]}.jsonl", f"sha256-{SHA}x.jsonl"])
def test_a_name_without_a_hash_gives_none(name):
    assert flows.hash_in(name) is None
