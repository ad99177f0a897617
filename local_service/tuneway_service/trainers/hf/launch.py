"""Start the processes of a gang and watch them, by torchrun: `python -m tuneway_service.trainers.hf.launch WORDS…`.

The words are torchrun's own. When a process of the gang ends without success, torchrun ends the others, and the last
line of the output says which it was.
"""

from __future__ import annotations

import signal
import sys

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

from tuneway_service import parentage
from tuneway_service.sandbox import kernel


def main(words: list[str]) -> int:
    """Run torchrun to its end."""
    parentage.end_with_parent()
    parentage.be_parent()
    kernel.hide_memory()
    try:
        run(parse_args(words))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        code = failure.exitcode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"
        sys.stderr.write(f"rank {rank} {how}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
