"""What the trainer `hf` costs beside TRL's own trainer on the same work, on this machine's CPU.

Both train SmolLM2-135M-Instruct by LoRA on the same rows in the same order; each in a process of its own, in
turn. The figure is CPU seconds of the steps: what else the machine does counts less in it than in wall time.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from _figures import figure
from _hf_work import DATA, Took, Work, ours, trl

ROUNDS = 3
ROWS = 32


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = folder / "rows.jsonl"
        rows.write_text("".join(DATA.read_text(encoding="utf-8").splitlines(keepends=True)[:ROWS]), encoding="utf-8")
        rounds = [(run("ours", folder), run("trl", folder)) for _ in range(ROUNDS)]
    figure(
        f"SmolLM2, LoRA, {ROWS} rows: CPU seconds of all steps, beside TRL's trainer, median of {ROUNDS}",
        ours=statistics.median(mine.cpu_seconds for mine, _ in rounds),
        peer=statistics.median(theirs.cpu_seconds for _, theirs in rounds),
        unit="s",
        at_most=1.05,
    )
    figure(
        "the same: tokens a second of wall time",
        ours=statistics.median(mine.pace for mine, _ in rounds),
        peer=statistics.median(theirs.pace for _, theirs in rounds),
        unit="tokens/s",
        at_least=0.95,
    )


def run(who: str, folder: Path) -> Took:
    """One side in a process of its own."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-W", "ignore", __file__, who, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, text=True, check=True)
    return Took(**json.loads(done.stdout.splitlines()[-1]))


def one(who: str, folder: Path) -> None:
    """The side that this process is: prints what it cost."""
    from tuneway_service.trainers.hf import smol

    work = Work(smol.folder(), folder / "rows.jsonl", batch_size=4, n_epochs=1, lora=True)
    kept = folder / "tokens.json"
    if who == "ours":
        took, rows = ours(work)
        kept.write_text(json.dumps(rows))
    else:
        took = trl(work, json.loads(kept.read_text()))
    print(json.dumps(asdict(took)))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        one(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
