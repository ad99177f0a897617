"""Clients that race and die, a network that loses and delays, a list that lags: schedules by the million.

    python -m support.simulator --schedules 1000000 --seed 0 --jobs 2     # from tests/
    python -m support.simulator --replay 4711
    python -m support.simulator --carrier suffix

A schedule follows from its seed alone: which clients there are, what goes wrong with each request, who
dies at which effect, how old each view of the list is, and when all that happens. `sim_world` lets it
happen in virtual time, with the real flows; `sim_witness` says what must hold. A replay prints it step by
step. Nothing here knows how `submit` works: an error in its protocol shows as a broken promise.
"""

# mypy: warn-return-any=False
# ruff: noqa: T201 - a command prints

from __future__ import annotations

import argparse
import functools
import multiprocessing
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from support.sim_faults import LIMITS, WINDOW, Scenario
from support.sim_named import NamedWorld
from support.sim_witness import Broken
from support.sim_world import CARRIERS, World

CHUNK = 500


@dataclass
class Findings:
    """What came of some schedules."""

    schedules: int = 0
    broken: dict[int, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, other: Findings) -> None:
        """Take in the findings of others."""
        self.schedules += other.schedules
        self.broken |= other.broken
        self.counts += other.counts


def play(seed: int, trace: Callable[[str], object] | None = None, **fixed: Any) -> Counter[str]:
    """Play one schedule; raises `Broken`, or whatever else came out of a flow that shouldn't.

    What is fixed of its scenario isn't drawn.
    """
    state = random.getstate()
    random.seed(seed)  # the flows' own jitter
    try:
        return _play(random.Random(seed), trace, fixed)
    finally:
        random.setstate(state)


def _play(rng: random.Random, trace: Callable[[str], object] | None, fixed: Mapping[str, Any]) -> Counter[str]:
    named, scenario = fixed.get("carrier") == "named", Scenario.draw(rng)
    scenario = scenario.with_deletes(rng) if named else scenario
    scenario = replace(scenario, **LIMITS.get(fixed.get("carrier", ""), {}), **fixed)
    if trace:
        for name, value in asdict(scenario).items():
            trace(f"  {name} = {value}")
    world = (NamedWorld if named else World)(scenario, rng, trace)
    world.run()
    guaranteed = scenario.within_guarantee and not any(client.gave_up for client in world.clients)
    if guaranteed:
        world.witness.check_one()
        world.witness.check_same_end()
    else:
        world.scenario = replace(scenario, trouble_on_create=0.0, trouble_on_look=0.0, pause=0.0, late=WINDOW)
        for way in dict.fromkeys(scenario.reuse):
            world.add_client(f"last {way}", way, WINDOW, crashes=0)
        world.run()
        world.witness.check_reduced()
    world.witness.counts["within the guarantee"] += guaranteed
    return world.witness.counts


def play_all(seeds: Iterable[int], carrier: str = "metadata") -> Findings:
    """Play these schedules, and collect what broke."""
    findings = Findings()
    for seed in seeds:
        findings.schedules += 1
        try:
            findings.counts += play(seed, carrier=carrier)
        except Exception as error:  # noqa: BLE001 - whatever comes out is a finding
            findings.broken[seed] = f"{type(error).__name__}: {error}"
    return findings


def first_broken(seeds: Iterable[int], **fixed: Any) -> tuple[int, str] | None:
    """The first of these schedules that breaks a promise, and which."""
    for seed in seeds:
        try:
            play(seed, **fixed)
        except Broken as error:
            return seed, str(error)
    return None


def check_noticed(scenario: Mapping[str, Any], told: str, mend: Callable[[], object]) -> None:
    """Check that a broken flow breaks a promise in some schedule, and that the flow keeps it when it is mended."""
    found = first_broken(range(1500), **scenario)
    assert found is not None, "a broken flow, and every promise was kept"
    seed, what = found
    assert re.search(told, what)
    mend()
    play(seed, **scenario)


def simulate(schedules: int, *, seed: int = 0, jobs: int = 1, carrier: str = "metadata") -> Iterator[Findings]:
    """Play many schedules, on several cores; gives the findings so far, again and again."""
    findings = Findings()
    chunks = [range(start, min(start + CHUNK, seed + schedules)) for start in range(seed, seed + schedules, CHUNK)]
    if jobs == 1:
        for chunk in chunks:
            findings.add(play_all(chunk, carrier))
            yield findings
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for found in pool.imap_unordered(functools.partial(play_all, carrier=carrier), chunks):
            findings.add(found)
            yield findings


def main(arguments: list[str] | None = None) -> int:
    """Run as a command."""
    parser = argparse.ArgumentParser(prog="python -m support.simulator", description=__doc__.splitlines()[0])
    parser.add_argument("--schedules", type=int, default=10_000, help="how many to play")
    parser.add_argument("--seed", type=int, default=0, help="the first schedule's seed; the next one's is one more")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes")
    parser.add_argument("--replay", type=int, metavar="SEED", help="play one schedule and print it step by step")
    parser.add_argument("--carrier", choices=CARRIERS, default="metadata", help="where jobs have their marks")
    options = parser.parse_args(arguments)
    if options.replay is not None:
        return _replay(options.replay, options.carrier)
    started = time.monotonic()
    findings, shown = Findings(), started
    for findings in simulate(options.schedules, seed=options.seed, jobs=options.jobs, carrier=options.carrier):
        if time.monotonic() - shown > 10 and sys.stderr.isatty():
            shown = time.monotonic()
            print(f"{findings.schedules:,} schedules, {len(findings.broken)} broken", file=sys.stderr)
    took = time.monotonic() - started
    for seed, what in sorted(findings.broken.items())[:20]:
        print(f"seed {seed}: {what}")
    for name, count in findings.counts.most_common():
        print(f"{count:>12,}  {name}")
    print(f"{findings.schedules:,} schedules in {took:.0f} s ({findings.schedules / took:.0f}/s), "
          f"{len(findings.broken)} broken")  # fmt: skip
    if findings.broken:
        print(f"Replay one: python -m support.simulator --carrier '{options.carrier}' --replay {min(findings.broken)}")
    return 1 if findings.broken else 0


def _replay(seed: int, carrier: str) -> int:
    try:
        counts = play(seed, print, carrier=carrier)
    except Exception as error:  # noqa: BLE001 - whatever comes out is shown
        print(f"BROKEN  {type(error).__name__}: {error}")
        return 1
    print("held:", ", ".join(f"{count} {name}" for name, count in counts.most_common()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
