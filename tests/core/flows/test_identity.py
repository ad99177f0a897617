"""What makes two wishes the same: the names by which a job is found again."""

# mypy: warn-return-any=False

from __future__ import annotations

from typing import Any

import pytest
from support.fake_service import FakeService
from support.virtual_driver import VirtualDriver

from tuneway import JobSpec, flows
from tuneway.errors import InvalidSpec
from tuneway.flows import CONTENT, KEY, ORIGIN, Account
from tuneway.flows._identity import Intent, identify
from tuneway.models import Hyperparameters, Supervised

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
    """Names a wish."""

    def name(*, key: str | None = "k", reuse: flows.Reuse = "run", nonce: str = "", **spec: Any) -> Intent:
        job = JobSpec(**{"model": "base", "training_file": "file-1"} | spec)
        flow = identify(Account(), job, key=key, reuse=reuse, origin=None, nonce=nonce)
        return VirtualDriver(service).run(flow)

    return name


def test_the_same_wish_has_the_same_name_everywhere_and_for_ever(name):
    """Written down: a name that changes with a release would pay for running jobs again."""
    intent = name(method=EPOCHS, suffix="süß", seed=7)
    assert intent.content == "87c8fb62ecbedf00d7941adf0c1eabce"
    assert intent.key == "fb15161341b8f49cdea9b55d2a6e4d13"


def test_the_order_of_a_dict_does_not_matter(name):
    one = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3, "batch_size": 8, "own": 1}}}
    two = {"supervised": {"hyperparameters": {"own": 1, "batch_size": 8, "n_epochs": 3}}, "type": "supervised"}
    assert name(method=one) == name(method=two)


def test_how_it_is_written_does_not_matter(name):
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
def test_everything_else_does(name, change):
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


def test_asked_for_by_content_the_key_does_not_matter(name):
    monday, tuesday = name(key="monday", reuse="content"), name(key="tuesday", reuse="content")
    assert monday.key == tuesday.key == name(key=None).key
    assert (monday.label, monday.value) == (CONTENT, monday.content)


def test_asked_for_anew_each_call_is_its_own(name):
    assert name(reuse="never", nonce="1").key != name(reuse="never", nonce="2").key
    assert name(reuse="never", nonce="1").key != name(reuse="run", nonce="1").key
    assert name(reuse="never", key=None, nonce="1").label == KEY


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
    with pytest.raises(InvalidSpec, match="14 pairs leave no room for the three") as caught:
        marks(14, keep_origin=True)
    assert caught.value.field == "metadata"
    assert "at most 13" in str(caught.value)


def test_no_metadata_is_no_trouble():
    flows.check_room(None, keep_origin=True)
    assert Intent("k", "c", "o", KEY, "k").marks(None) == {KEY: "k", CONTENT: "c", ORIGIN: "o"}


def test_a_long_origin_is_cut_to_what_a_service_takes():
    assert len(marks(0, origin="x" * 600)[ORIGIN]) == 512


@pytest.mark.parametrize(
    ("origin", "key", "shown"), [("dag/run", "k", "dag/run"), (None, "k", "k"), (None, None, "python")]
)
def test_the_origin_is_readable_whatever_was_given(service, origin, key, shown):
    flow = identify(
        Account(), JobSpec(model="m", training_file="file-1"), key=key, reuse="run", origin=origin, nonce=""
    )
    assert VirtualDriver(service).run(flow).origin == shown


# --- hashes in file names ---


@pytest.mark.parametrize("name", ["train.jsonl", "train", ".jsonl", "a.b.jsonl", "tr in.jsonl", "ünï.jsonl"])
def test_a_files_hash_survives_in_its_name(name):
    carried = flows.name_with_hash(name, SHA)
    assert flows.hash_in(carried) == SHA
    assert carried.endswith(".jsonl") == name.endswith(".jsonl")


@pytest.mark.parametrize("name", [None, "", "train.jsonl", f"train.sha256-{SHA[:-1]}.jsonl", f"sha256-{SHA}x.jsonl"])
def test_other_names_carry_none(name):
    assert flows.hash_in(name) is None
