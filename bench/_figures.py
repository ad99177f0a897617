"""One line for people and one for machines, per figure: ours, the peer's from the same run, and the target."""

from __future__ import annotations

import json


def figure(
    name: str,
    *,
    ours: float,
    peer: float | None,
    unit: str,
    at_most: float | None = None,
    at_least: float | None = None,
) -> bool:
    """Print a figure and whether it meets its target.

    The target is on the ratio ours / peer, or on ours alone when there is no peer.
    """
    ratio = ours / peer if peer else None
    value = ours if peer is None else ours / peer if peer else float("inf")
    passed = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
    target = f"<= {at_most:g}" if at_most is not None else f">= {at_least:g}" if at_least is not None else "none"
    beside = "" if peer is None else f", peer {peer:.4g} {unit}, ratio {value:.3g}"
    verdict = "info" if target == "none" else "pass" if passed else "MISS"
    print(f"{verdict}  {name}: {ours:.4g} {unit}{beside} (target {target})")
    row = {"figure": name, "ours": ours, "peer": peer, "unit": unit, "ratio": ratio, "target": target, "pass": passed}
    print(json.dumps(row), flush=True)
    return passed
