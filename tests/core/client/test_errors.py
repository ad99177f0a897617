"""The error tree: complete, drawn as it is, and able to travel between processes."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

import tuneway
from tuneway import errors
from tuneway.errors import JobFailed, TunewayError
from tuneway.models import Job


def family(kind: type[TunewayError] = TunewayError) -> Iterator[type[TunewayError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from family(child)


TREE = sorted(set(family()), key=lambda kind: kind.__name__)


def make(kind: type[TunewayError], **details: Any) -> TunewayError:
    """An error of this kind, with whatever its signature insists on."""
    needed = {
        name: f"some {name}"
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
    }
    return kind("what happened", hint="do this next", **(needed | details))


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_error_survives_the_way_to_another_process(kind, protocol):
    error = make(kind, status=418, code="teapot", param="pot", request_id="req-1", job_id="ftjob-1", retry_after=3.0)
    error.retryable = not error.retryable  # decided for this one, not for its class
    twin = pickle.loads(pickle.dumps(error, protocol))
    assert type(twin) is kind
    assert vars(twin) == vars(error)
    assert (str(twin), repr(twin), twin.args) == (str(error), repr(error), error.args)
    assert vars(copy.copy(error)) == vars(copy.deepcopy(error)) == vars(error)


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_every_error_says_what_happened_and_what_to_do(kind):
    text = str(make(kind, status=418, code="teapot", request_id="req-1"))
    facts, hint = text.split("\n", 1)
    assert facts == "what happened (status: 418, code: teapot, request id: req-1)"
    assert hint == "do this next"


def test_the_tree_is_drawn_as_it_is():
    drawing, branches = errors.__doc__ or "", {}
    path: list[str] = []
    for line in drawing.splitlines():
        names = [word for word in line.replace("·", " ").split() if hasattr(errors, word)]
        stem = len(line) - len(line.lstrip(" │├└─"))
        if not names or stem < 4:
            continue
        depth = (stem - 4) // 4
        for name in names:
            branches[name] = path[depth - 1] if depth else None
        path[depth:] = [names[-1]]
    drawn = {name: branches.get(name, "missing") for name in (kind.__name__ for kind in TREE)}
    parents = {kind.__name__: kind.__mro__[1].__name__ if kind is not TunewayError else None for kind in TREE}
    assert drawn == parents


def test_bad_input_is_a_value_error_for_those_who_expect_one():
    assert issubclass(errors.InvalidInput, ValueError)


def test_a_failed_job_is_worth_another_try_only_where_the_service_blames_itself():
    job = Job(id="ftjob-1", status="failed")
    assert JobFailed("broke", job=job, code="server_error").retryable
    assert not JobFailed("bad data", job=job, code="invalid_training_file").retryable
    assert not JobFailed("who knows", job=job).retryable
    twin = pickle.loads(pickle.dumps(JobFailed("broke", job=job, code="server_error")))
    assert (twin.job, twin.job_id, twin.retryable) == (job, "ftjob-1", True)


def test_an_error_names_its_job_once():
    error = TunewayError("ftjob-1 is odd").about("ftjob-1")
    assert str(error) == "ftjob-1 is odd"
    assert str(TunewayError("odd").about("ftjob-1").about("ftjob-2")) == "odd (job: ftjob-1)"


def test_everything_that_is_promised_can_be_imported():
    for name in tuneway.__all__:
        assert getattr(tuneway, name) is not None
    assert dir(tuneway) == sorted(tuneway.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = tuneway.Nonsense
