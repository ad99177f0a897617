"""A budget is held against the service's own price, before a job is created."""

from __future__ import annotations

import pytest

from tuneway import JobSpec
from tuneway.errors import InvalidSpec, OverBudget
from tuneway.flows import Account, Flow, Offers, Quote


def account(quote: Quote, asked: list[JobSpec]) -> Account:
    def ask(_account: Account, spec: JobSpec) -> Flow[Quote]:
        asked.append(spec)
        return quote
        yield

    return Account(quote=ask, service="little")


def test_a_job_within_the_budget_is_created(stage):
    asked: list[JobSpec] = []
    stage.account = account(Quote(usd=4.0), asked)
    job = stage.submit(max_usd=4.0)
    assert [job.id] == [one["id"] for one in stage.service.jobs]
    assert [spec.model for spec in asked] == ["base"]


@pytest.mark.parametrize(
    ("quote", "told"),
    [
        (Quote(usd=4.01), r"little estimates \$4.01, more than max_usd=\$4.00"),
        (Quote(usd=9.0, why="limit of the user: $5"), r"max_usd=\$4.00: limit of the user: \$5"),
        (Quote(usd=None, why="the file isn't validated"), r"gives no price, .*: the file isn't validated"),
    ],
)
def test_a_job_beyond_the_budget_is_not_created(stage, quote, told):
    stage.account = account(quote, [])
    with pytest.raises(OverBudget, match=told) as caught:
        stage.submit(max_usd=4.0)
    assert caught.value.field == "max_usd"
    assert stage.service.jobs == []


def test_without_a_budget_the_service_is_not_asked(stage):
    asked: list[JobSpec] = []
    stage.account = account(Quote(usd=4.0), asked)
    stage.submit()
    assert asked == []


def test_a_job_that_exists_is_adopted_whatever_its_price_is_now(stage):
    first = stage.submit()
    stage.account = account(Quote(usd=9.0), [])
    assert stage.submit(max_usd=1.0).id == first.id


def test_a_budget_that_nothing_can_be_held_against_is_refused(stage):
    stage.account = Account(service="silent")
    with pytest.raises(OverBudget, match=r"silent says no price .* max_usd can't be checked") as caught:
        stage.submit(max_usd=100.0)
    assert caught.value.field == "max_usd"
    assert stage.service.log == []


def test_a_service_on_this_machine_sends_no_bill_so_any_budget_will_do(stage):
    stage.account = Account(local=True)
    assert stage.submit(max_usd=0.01).id


@pytest.mark.parametrize("max_usd", [0, -1.0, float("nan"), float("inf")])
def test_a_budget_that_is_no_amount_is_refused(max_usd, stage):
    stage.account = account(Quote(usd=4.0), [])
    with pytest.raises(InvalidSpec, match=r"max_usd: not a number above 0"):
        stage.submit(max_usd=max_usd)
    assert stage.service.log == []


def test_a_service_without_a_price_has_its_budget_held_against_the_estimate_before():
    assert Offers(quote=True).budget(4.0) == 4.0
    assert Offers().budget(4.0) is None
