"""One process of a gang: `python -m tuneway_service.rank JOB_DIR ATTEMPT`; torchrun starts it.

The process with rank 0 is the worker that writes the job's files, and the others help it to train. Each leaves an
outcome for the gang in the folder `ranks`, but for one that ended because another did.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path

from tuneway_service import parentage, worker
from tuneway_service.folder import JobFolder, Taken
from tuneway_service.trainers import join_gang
from tuneway_service.trainers.ranks import LostRank

PATIENCE = 5.0


def main(arguments: list[str]) -> int:
    """Train as one of a gang."""
    parentage.end_with_parent()
    folder, attempt = JobFolder(Path(arguments[0])), int(arguments[1])
    with folder.joined():
        if not folder.ordered(attempt):
            return worker.TAKEN
        try:
            outcome = worker.work(folder, join_gang)
        except Taken:
            return worker.TAKEN
        except LostRank:
            traceback.print_exc()
            # torchrun is to find the process that ended first; it then ends this one
            time.sleep(PATIENCE)
            return 1
        folder.write(f"ranks/{os.environ['RANK']}", outcome)
        return int(outcome["outcome"] == "failed")


if __name__ == "__main__":
    os.umask(0o077)
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # without the libraries' farewells, which may wait for processes that have ended
    os._exit(status)
