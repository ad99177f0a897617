"""Every scenario, by every way to run it that is installed here: all end as the plain client's does."""

from __future__ import annotations

import pytest
from support.parity.engines import RUNNERS
from support.parity.matrix import UNFINISHED, differing, in_all, keep, undeclared
from support.parity.runners import Plain
from support.parity.scenarios import TABLE
from support.parity.stage import FILES, JOBS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

OTHERS = [kind.name for kind in RUNNERS if kind is not Plain]


def count(seen, ending):
    return sum(wish["path"].endswith(ending) for wish in seen["reached"])


@pytest.mark.parametrize("scenario", TABLE)
def test_the_plain_client_does_what_is_expected(playhouse, scenario):
    expects = dict(TABLE[scenario].expects)
    error = expects.pop("error", None)
    keep(scenario, Plain.name, UNFINISHED)

    forms = playhouse.seen(scenario, Plain.name)

    for seen in forms.values():
        assert {
            "files": count(seen, FILES),
            "creates": count(seen, (JOBS, "/fine-tunes")),
            "cancels": count(seen, "/cancel"),
            "jobs": seen["jobs"],
            "versions": len(seen["registered"]),
        } == expects
        assert error in seen["error"] if error else seen["error"] is None
    assert list(forms) == list(TABLE[scenario].forms)
    first, *others = forms.values()
    assert [differing(first, other) for other in others] == [{} for _ in others]
    keep(scenario, Plain.name, {})


def test_the_best_checkpoint_is_another_than_the_last(playhouse):
    (record,) = playhouse.seen("best", Plain.name)["steps"]["registered"]
    losses = [checkpoint["metrics"]["full_valid_loss"] for checkpoint in record["checkpoints"]]

    assert record["metrics"]["full_valid_loss"] == min(losses) < losses[-1]


@pytest.mark.parametrize("scenario", TABLE)
@pytest.mark.parametrize("name", OTHERS)
def test_all_others_do_the_same(playhouse, scenario, name):
    keep(scenario, name, UNFINISHED)
    plain, seen = playhouse.seen(scenario, Plain.name), playhouse.seen(scenario, name)
    like = next(iter(plain.values()))  # what it does is the same in all its forms: the test above says so

    found = in_all({form: differing(like, one) for form, one in seen.items()})
    keep(scenario, name, found)
    assert not undeclared(scenario, name, found)
