"""The process that runs llama.cpp's server: `python -m tuneway_service.answers.llamacpp.process`.

The first line of standard input is the order as JSON; the reply is a line with the address and a grammar. When
standard input is closed, which it also is when the service is killed, the process ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any


def parameters(order: dict[str, Any]) -> Any:
    """The settings of the server."""
    import xllamacpp

    found = xllamacpp.CommonParams()
    found.model.path = order["weights"]
    found.port = 0
    found.api_keys = [order["key"]]
    found.n_parallel = order["slots"]
    found.n_ctx = order["slots"] * order["context"]
    # of a device that is shared, the answers don't take what was left for others
    found.fit_params = False
    # prompts that are kept for later take up to 8 GiB by default
    found.cache_ram_mib = 0
    found.cache_idle_slots = False
    found.verbosity = 1
    found.warmup = False
    found.ui = False
    found.endpoint_slots = False
    # an answer that begins is a message like any other, and thoughts are a part of the answer
    found.prefill_assistant = False
    found.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
    if order["exact"]:
        found.cache_type_k = found.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        found.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    adapters = []
    for path in order["adapters"]:
        adapter = xllamacpp.CommonAdapterLoraInfo()
        # each question says which adapter it is for
        adapter.path, adapter.scale = path, 0.0
        adapters.append(adapter)
    found.lora_adapters = adapters
    return found


def main() -> None:
    """Serve until the service closes standard input."""
    # Ctrl-C in the service's terminal stops the service, which then ends this process
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    order = json.loads(sys.stdin.readline())
    import xllamacpp

    server = xllamacpp.Server(parameters(order))
    # how this build of llama.cpp writes grammars
    grammar = xllamacpp.json_schema_to_grammar({"type": "object"})
    sys.stdout.write(json.dumps({"address": server.listening_address, "grammar": grammar}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    # at once: answers that are still written are nobody's
    os._exit(0)


if __name__ == "__main__":
    os.umask(0o077)
    main()
