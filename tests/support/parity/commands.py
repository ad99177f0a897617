"""`tuneway` as a person types it: `run`, or `upload`, `create`, `wait` and `register`, each with the output before it.

    python -m support.parity.commands ORDER

Ends as the last command did, which has printed the result or the error.
"""

from __future__ import annotations

import signal
import subprocess
import sys

from support.parity.order import Order, read


def steps(order: Order) -> list[list[str]]:
    """The commands; each but the first gets the output of the one before as its first argument."""
    data = ["--validation-data", order.valid] if order.valid else []
    asks = ["--key", f"{order.pipeline}/{order.run}", "--reuse", order.reuse]
    training = ["--model", order.model, "--epochs", str(order.n_epochs), "--seed", str(order.seed)]
    training += ["--suffix", order.suffix]
    training += [word for pair in order.metadata.items() for word in ("--metadata", "=".join(pair))]
    waiting = ["--timeout", str(order.timeout), "--cancel-on-interrupt"]
    registering = ["--name", order.name, "--registry", order.registry, "--checkpoint", order.checkpoint]
    registering += ["--alias", order.alias] if order.alias else []
    registering += ["--gate", f"{order.gate[0]}<={order.gate[1]}"] if order.gate else []
    if order.form == "one":
        return [["run", order.train, *data, *asks, *training, *waiting, *registering]]
    return [
        ["upload", order.train, *data, "--model", order.model],
        ["create", *asks, *training],
        ["wait", *waiting],
        ["register", *registering],
    ]


def connection(order: Order) -> list[str]:
    """How each command is told about the service; its address is in the environment."""
    return ["--settle", str(order.settle), *(["--dialect", order.dialect] if order.dialect else [])]


def main() -> int:
    """Type them."""
    signal.signal(signal.SIGINT, lambda *_: None)  # for the command, which says what becomes of the job
    order, output = read(sys.argv[1]), ""
    for command, *words in steps(order):
        given = [output] if output else []
        done = subprocess.run(
            [sys.executable, "-m", "tuneway.cli", command, *given, *words, *connection(order), "--json"],
            stdout=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            return done.returncode
        output = done.stdout.strip()
    sys.stdout.write(output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
