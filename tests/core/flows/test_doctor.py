"""What is found out about a service, by reading only."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from support.fake_service import refuse, reply

from tuneway.errors import Forbidden, ServerError, Unauthorized
from tuneway.flows import Diagnosis, Named, Offers, Suffix, doctor
from tuneway.models import Model

JOBS = "GET /fine_tuning/jobs"
MODELS = "GET /models"


def examined(stage, **account: Any) -> Diagnosis:
    stage.account = replace(stage.account, **account)
    return stage.driver.run(doctor(stage.account, base_url="https://x/v1", why="because", options={"auth": "a key"}))


def test_a_service_is_read_and_nothing_else(stage):
    found = examined(stage, service="nebius", offers=Offers(pause=False))
    assert stage.trail == [JOBS, MODELS]
    assert (found.service, found.base_url, found.why) == ("nebius", "https://x/v1", "because")
    assert (found.key, found.error, found.jobs, found.listed) == ("accepted", None, 0, 1)
    assert not found.offers.pause


@pytest.mark.parametrize(
    ("jobs", "marks", "evidence"),
    [
        ([], "unknown", "there is no job to look at"),
        ([{"metadata": {"tuneway_key": "k"}}, {"metadata": None}], "kept", "ftjob-1 has Tuneway's mark"),
        ([{"metadata": {"team": "a"}}, {"metadata": None}], "kept", "ftjob-1 has metadata"),
        ([{"metadata": None}], "unknown", "none of 1 jobs has metadata; perhaps none was given any"),
        (
            [{"metadata": None, "suffix": f"mine-{'0f' * 16}"}],
            "kept",
            "has Tuneway's mark in its suffix, not in its meta",
        ),
        ([{"metadata": None, "suffix": "mine"}], "unknown", 'set service_options={"mark": "suffix"}'),
    ],
)
def test_the_jobs_that_exist_show_whether_marks_are_kept(stage, jobs, marks, evidence):
    for fields in jobs:
        stage.service.add_job(**fields)
    found = examined(stage)
    assert (found.marks, found.carrier) == (marks, "the metadata of a job")
    assert evidence in found.evidence


@pytest.mark.parametrize(
    ("job", "marks", "evidence"),
    [
        ({"suffix": f"mine-{'0f' * 16}"}, "kept", "ftjob-1 has Tuneway's mark"),
        ({"suffix": "mine"}, "kept", "ftjob-1 shows its suffix"),
        ({"user_provided_suffix": "mine"}, "kept", "ftjob-1 shows its suffix"),
        ({"metadata": {"team": "a"}}, "unknown", "none of 1 jobs shows a suffix; perhaps none was given one"),
    ],
)
def test_where_the_suffix_carries_the_mark_a_suffix_is_looked_for(stage, job, marks, evidence):
    stage.service.add_job(**job)
    found = examined(stage, carrier=Suffix())
    assert (found.marks, found.evidence, found.carrier) == (marks, evidence, "the suffix of a job")


def test_an_id_that_is_chosen_here_is_always_kept(stage):
    assert examined(stage, carrier=Named()).marks == "kept"


@pytest.mark.parametrize(
    ("response", "key", "kind"),
    [
        (refuse(401, "who are you"), "refused", Unauthorized),
        (refuse(403, "not you"), "limited", Forbidden),
        (refuse(503, "in trouble"), "unknown", ServerError),
    ],
)
def test_a_refusal_is_a_part_of_the_diagnosis(stage, response, key, kind):
    stage.driver.trouble = {JOBS: [response], MODELS: [response]}
    found = examined(stage)
    assert (found.key, found.marks, found.evidence) == (key, "unknown", "the jobs can't be listed")
    assert isinstance(found.error, kind)
    assert (found.models, found.listed) == (None, None)
    assert found.as_json()["error"]["type"] == kind.__name__
    assert stage.driver.slept == []


def test_models_that_can_be_tuned_are_named_where_the_service_tells(stage):
    told = [
        {"id": "a", "tunable": True}, {"id": "b", "tunable": False}, {"id": "c"},
        {"id": "d", "capabilities": {"fine_tune": True, "inference": True}},
    ]  # fmt: skip
    stage.driver.trouble = {MODELS: [reply({"object": "list", "data": told})]}
    found = examined(stage)
    assert (found.models, found.listed) == (["a", "d"], 4)


@pytest.mark.parametrize(
    ("fields", "tunable"),
    [({}, None), ({"tunable": "yes"}, None), ({"capabilities": []}, None), ({"capabilities": {}}, None),
     ({"tunable": False}, False), ({"capabilities": {"fine_tune": False}}, False)],
)  # fmt: skip
def test_only_a_plain_yes_or_no_says_whether_a_model_can_be_tuned(fields, tunable):
    assert Model.model_validate({"id": "m"} | fields).tunable is tunable


def test_a_diagnosis_is_json(stage):
    stage.service.add_job(metadata={"tuneway_key": "k"})
    told = json.loads(json.dumps(examined(stage).as_json()))
    assert told == {
        "base_url": "https://x/v1", "service": "openai", "why": "because", "carrier": "the metadata of a job",
        "key": "accepted", "error": None, "marks": "kept", "evidence": "ftjob-1 has Tuneway's mark", "jobs": 1,
        "models": None, "listed": 1, "options": {"auth": "a key"}, "offers": Offers().as_json(),
    }  # fmt: skip
    assert told["offers"]["methods"] == ["dpo", "reinforcement", "supervised"]
    assert told["offers"]["rate"] == "multiplier"
