"""llama.cpp's own server, in a process of its own, on a GGUF file: the judge of what is written for it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

PROGRAM = """
import json, sys
import xllamacpp
model, adapters = sys.argv[1], json.loads(sys.argv[2])
params = xllamacpp.CommonParams()
params.model.path = model
params.port = 0
params.n_parallel = 1
params.n_ctx = 1024
params.verbosity = 1
params.warmup = False
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
# more exact than what it takes by default
params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
found = []
for path in adapters:
    adapter = xllamacpp.CommonAdapterLoraInfo()
    adapter.path, adapter.scale = path, 1.0
    found.append(adapter)
params.lora_adapters = found
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


class LlamaCpp:
    """A server that answers."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def answer(self, messages: Sequence[Mapping[str, Any]], tokens: int = 12) -> str:
        """The likeliest answer."""
        asked = {"messages": messages, "max_tokens": tokens, "temperature": 0}
        answered = self._client.post("/v1/chat/completions", json=asked).raise_for_status().json()
        return str(answered["choices"][0]["message"]["content"])

    def continued(self, prompt: Sequence[int], tokens: int = 12) -> list[int]:
        """The likeliest tokens after a prompt."""
        asked = {"prompt": list(prompt), "n_predict": tokens, "temperature": 0, "return_tokens": True}
        found: list[int] = self._client.post("/completion", json=asked).raise_for_status().json()["tokens"]
        return found

    def tokens(self, text: str) -> list[int]:
        """The tokens of a text, with those that are put before it."""
        asked = {"content": text, "add_special": True, "parse_special": True}
        found: list[int] = self._client.post("/tokenize", json=asked).raise_for_status().json()["tokens"]
        return found

    def prompt(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The prompt that the file's chat template makes."""
        found: str = (
            self._client.post("/apply-template", json={"messages": messages}).raise_for_status().json()["prompt"]
        )
        return found


@contextmanager
def llama_cpp(model: Path, *adapters: Path) -> Iterator[LlamaCpp]:
    """Start a server, and end it at the end."""
    command = [sys.executable, "-c", PROGRAM, str(model), json.dumps(list(map(str, adapters)))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, "llama.cpp didn't load the file"
        try:
            with httpx.Client(base_url=address, timeout=60) as client:
                yield LlamaCpp(client)
        finally:
            process.kill()
