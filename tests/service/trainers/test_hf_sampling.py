"""Sampled answers: as likely as the model says, and the same whatever is computed beside them."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("peft", reason="needs the extra `train`")

import torch
from support.tiny_llama import make_tiny_llama

from tuneway_service.trainers.hf.base import find_base
from tuneway_service.trainers.hf.models import load_for_answers
from tuneway_service.trainers.hf.sampling import Noise, answers_to
from tuneway_service.trainers.ranks import Ranks

PROMPTS = [[5, 6, 7], [8, 9], [10, 11, 12, 13, 14], [5, 6, 7]]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    base = make_tiny_llama(tmp_path_factory.mktemp("base") / "tiny")
    return load_for_answers(find_base(str(base)), None)[0]


def test_tokens_come_as_often_as_they_are_likely():
    count = 20_000
    likely = torch.tensor([0.5, 0.3, 0.15, 0.049, 0.001])
    seeds = [f"seed/{number}" for number in range(count)]
    noise = Noise(seeds, 3, 4, torch.device("cpu"))
    for place in range(4):
        taken = noise(torch.zeros(count, 3 + place), likely.log().expand(count, -1)).argmax(dim=1)
        share = torch.bincount(taken, minlength=5) / count
        spread = (likely * (1 - likely) / count).sqrt()
        assert ((share - likely).abs() < 4.5 * spread).all(), (place, share)


def test_each_place_and_each_answer_has_other_random_numbers():
    flat = torch.zeros(2, 1000)
    noise = Noise(["one", "two"], 0, 2, torch.device("cpu"))
    first, second = noise(torch.zeros(2, 0), flat), noise(torch.zeros(2, 1), flat)
    for one, other in ((first[0], first[1]), (first[0], second[0]), (first[0, :-1], first[0, 1:])):
        assert abs(float(torch.corrcoef(torch.stack([one, other]))[0, 1])) < 0.15
    # of numbers that are as likely to be above 0.37 as below, neither side has most
    assert 0.4 < float((first > 0.3665).float().mean()) < 0.6


def test_an_answer_is_the_same_alone_and_beside_others(tuned, monkeypatch):
    together = answers_to(tuned, PROMPTS, 12, seed="s")
    assert together[0] != together[3]  # the same question, another answer
    assert answers_to(tuned, PROMPTS, 12, seed="t") != together
    monkeypatch.setattr(tuned.room, "tokens", 1)  # one at a time
    assert answers_to(tuned, PROMPTS, 12, seed="s") == together


def test_answers_that_do_not_fit_into_memory_together_are_sampled_apart(tuned, monkeypatch):
    together = answers_to(tuned, PROMPTS, 12, seed="s")
    generate = tuned.model.generate

    def full(input_ids, **options):
        if len(input_ids) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(input_ids=input_ids, **options)

    monkeypatch.setattr(tuned.model, "generate", full)
    monkeypatch.setattr(tuned.room, "tokens", 1024)
    assert answers_to(tuned, PROMPTS, 12, seed="s") == together
    assert tuned.room.tokens < 1024


class Half(Ranks):
    """One of two processes, which keeps what it gives and gets what it is told."""

    size = 2

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.given: list[Any] = []

    def gathered(self, content):
        self.given = content
        return [content]


def test_two_processes_sample_the_answers_of_one(tuned, monkeypatch):
    whole = answers_to(tuned, PROMPTS, 12, seed="s")
    found: dict[int, list[int]] = {}
    for rank in range(2):
        half = Half(rank)
        monkeypatch.setattr(tuned, "ranks", half)
        answers_to(tuned, PROMPTS, 12, seed="s")
        assert len(half.given) == 2
        found |= dict(half.given)
    assert [found[number] for number in range(4)] == whole


def test_a_process_without_a_share_samples_nothing(tuned, monkeypatch):
    monkeypatch.setattr(tuned, "ranks", Half(1))
    assert answers_to(tuned, PROMPTS[:1], 12, seed="s") == []
