"""Write one GGUF file: `python -m tuneway_service.answers.llamacpp.convert ORDER`, with the order as JSON.

It is a process of its own because it loads PyTorch. Its last line says why a model can't be written.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from tuneway.errors import TunewayError
from tuneway_service.trainers.hf.base import find_base

KINDS = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
"""How GGUF stores the weights of a data type."""


def convert(order: dict[str, Any]) -> None:
    """Write the file, whole or not at all."""
    from tuneway_service.trainers.hf.gguf_files import write_adapter, write_whole

    base, to = find_base(order["base"]), Path(order["to"])
    tuned = None if order["tuned"] is None else Path(order["tuned"])
    part = to.with_name(f"{to.stem}.{os.getpid()}.part")
    try:
        if order["adapter"]:
            assert tuned is not None
            write_adapter(tuned, base.folder(), part)
        else:
            write_whole(tuned or base.folder(), part, KINDS.get(base.dtype, "f16"), name=base.title)  # type: ignore[arg-type]
        part.replace(to)
    finally:
        part.unlink(missing_ok=True)


def main(text: str) -> None:
    """Convert, and say what is in the way."""
    try:
        convert(json.loads(text))
    except TunewayError as error:
        sys.stdout.write(json.dumps({"refused": error.message}) + "\n")


if __name__ == "__main__":
    os.umask(0o077)
    main(sys.argv[1])
