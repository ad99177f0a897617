"""The resume token: what old versions wrote is read for ever."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuneway.errors import InvalidInput
from tuneway.flows import WaitToken

GOLDEN = Path(__file__).parent / "golden"

# What each file means; files are added with each change of the format, and never changed.
MEANS = {
    "token-v1-least.json": WaitToken(job_id="ftjob-abc"),
    "token-v1.json": WaitToken(job_id="ftjob-abc", deadline=1_795_000_000.5, last_event="ftevent-7"),
    "token-v1-moment.json": WaitToken(
        job_id="ftjob-abc", deadline=1_795_000_000.5, last_event="ftevent-7", last_event_at=1_794_000_000.0
    ),
}


@pytest.mark.parametrize("name", MEANS)
def test_old_tokens_load_and_are_written_the_same_again(name):
    text = (GOLDEN / name).read_text().strip()
    assert WaitToken.load(text) == MEANS[name]
    assert WaitToken.load(text).dump() == text


def test_every_golden_file_is_read():
    assert {path.name for path in GOLDEN.glob("token-*.json")} == {*MEANS, "token-v9-from-tomorrow.json"}


def test_fields_of_a_later_version_survive_an_earlier_one():
    text = (GOLDEN / "token-v9-from-tomorrow.json").read_text().strip()
    token = WaitToken.load(text)
    assert token.job_id == "ftjob-abc"
    moved = token.model_copy(update={"last_event": "ftevent-8"})
    assert json.loads(moved.dump()) == json.loads(text) | {"last_event": "ftevent-8"}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "it: Invalid JSON"),
        ("[]", "it: Input should be an object"),
        ("{}", "job_id: Field required"),
        ('{"job_id": ""}', "job_id: String should have at least 1 character"),
        ('{"job_id": "x", "deadline": "soon"}', "deadline"),
        ('{"job_id": "x", "deadline": NaN}', "deadline"),
        ('{"job_id": "x", "last_event_at": NaN}', "last_event_at"),
        (b"\xff", "it: "),
    ],
)
def test_what_is_no_token_is_refused_with_its_place(text, place):
    with pytest.raises(InvalidInput, match=f"not a resume token: {place}"):
        WaitToken.load(text)


def test_a_token_is_small_and_cannot_be_changed():
    token = MEANS["token-v1-moment.json"]
    assert len(token.dump()) < 150
    with pytest.raises(ValueError, match="frozen"):
        setattr(token, "job_id", "another")  # noqa: B010 - a type checker would say so first
