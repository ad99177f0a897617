"""How work is shared out between the processes that train together."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tuneway_service.trainers.metric_sums import MetricSums
from tuneway_service.trainers.ranks import Ranks


class Together(Ranks):
    """Processes that are threads of this one."""

    def __init__(self, rank: int, size: int, table: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self.size = rank, size
        self._table, self._barrier = table, barrier

    def gathered(self, content: Any) -> list[Any]:
        self._table[self.rank] = content
        self._barrier.wait(10)
        found = list(self._table)
        self._barrier.wait(10)
        return found


def together(size: int) -> list[Together]:
    table: list[Any] = [None] * size
    barrier = threading.Barrier(size)
    return [Together(rank, size, table, barrier) for rank in range(size)]


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_each_item_is_computed_by_one_process(size):
    weights = [7, 1, 1, 9, 4, 4, 2]
    shares = [ranks.share(weights) for ranks in together(size)]
    assert sorted(number for share in shares for number in share) == list(range(7))


def test_shares_have_about_the_same_weight_also_when_their_counts_differ():
    weights = [100, 10, 20, 30, 40]
    assert [ranks.share(weights) for ranks in together(2)] == [[0], [4, 3, 2, 1]]


def test_the_heaviest_items_come_first_and_equal_ones_in_their_order():
    assert Ranks().share([1, 5, 3, 5]) == [1, 3, 2, 0]


def test_a_process_alone_asks_only_itself():
    alone = Ranks()
    assert alone.first
    assert alone.gathered("x") == ["x"]
    assert (alone.any(True), alone.any(False), alone.told(3)) == (True, False, 3)


def test_the_sums_of_all_processes_give_the_metrics_of_one():
    whole = MetricSums()
    parts = [MetricSums(), MetricSums(), MetricSums()]
    for number in range(4):
        for sums in (whole, parts[number % 2]):  # the third has no row at all
            sums.add_loss(float(number), 2)
            sums.add_hits(number, 5)
            sums.add_pair(number - 1.5)
    found: dict[int, dict[str, float]] = {}

    def one(ranks: Ranks) -> None:
        found[ranks.rank] = parts[ranks.rank].of_all(ranks).metrics("train")

    threads = [threading.Thread(target=one, args=(ranks,)) for ranks in together(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert found == dict.fromkeys(range(3), pytest.approx(whole.metrics("train")))
