"""How fast language models answer through the service: beside llama.cpp's own server, and beside Transformers.

All answer with SmolLM2-135M-Instruct on this machine's CPU, and llama.cpp in both cases with the same GGUF file, the
same number of slots and the same settings otherwise. The memory is that of the process which answers for three tuned
models on one base, beside three processes with a whole model of the same file each.

python bench/bench_answers.py
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from _figures import figure

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.openai_jobs import chats, openai_for, submit, wait_for
from support.service import RunningService, running_service, until

from tuneway_service.answers.llamacpp.bases import slots_and_context
from tuneway_service.trainers.hf import smol
from tuneway_service.trainers.hf.base import find_base

ROUNDS = 3
TOKENS = 32
CLIENTS = 8
MODEL = "smol"
PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that sleep while they wait, on all sides: the service asks for that."""
ANSWERING = "tuneway_service.answers.llamacpp.process"
SERVER = """
import sys
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port, params.verbosity, params.warmup = sys.argv[1], 0, 1, False
params.n_parallel, params.n_ctx = int(sys.argv[2]), int(sys.argv[3])
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""
TRANSFORMERS = """
import json, sys, time
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, questions, tokens = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
asked = [tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False)
         for text in questions]
batch = tokenizer(asked, return_tensors="pt", padding=True, add_special_tokens=False)
began = time.perf_counter()
with torch.inference_mode():
    model.generate(**batch, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
print(tokens * len(questions) / (time.perf_counter() - began))
"""


@dataclass(frozen=True)
class Pace:
    """How fast some clients were answered."""

    tokens_per_second: float
    first_token: float
    """The median delay of an answer's first token, in seconds."""


def questions(count: int, number: int) -> list[str]:
    """So many questions with long answers; each number gives others, so that no prompt is known already."""
    return [f"Tell me a long story about a town with {100 * number + one} bridges." for one in range(count)]


def ask(url: str, model: str, question: str) -> tuple[int, float]:
    """Ask one question; gives the tokens of the answer, and the seconds until the first of them."""
    asked = {"model": model, "messages": [{"role": "user", "content": question}], "max_tokens": TOKENS}
    asked |= {"temperature": 0, "stream": True, "stream_options": {"include_usage": True}}
    began, first, tokens = time.perf_counter(), 0.0, 0
    with httpx.stream("POST", f"{url}/chat/completions", json=asked, timeout=600) as reply:
        reply.raise_for_status()
        for line in reply.iter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line.removeprefix("data: "))
            if not first and any(choice["delta"].get("content") for choice in event["choices"]):
                first = time.perf_counter() - began
            tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
    return tokens, first


def pace(url: str, model: str, clients: int, number: int) -> Pace:
    """How fast so many clients are answered at the same time."""
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(lambda question: ask(url, model, question), questions(clients, number)))
    took = time.perf_counter() - began
    return Pace(sum(tokens for tokens, _ in answers) / took, statistics.median(first for _, first in answers))


@contextmanager
def bare_server(weights: Path) -> Iterator[tuple[str, int]]:
    """llama.cpp's own server; gives its address and its process id."""
    slots, context = slots_and_context(find_base(MODEL), ())
    command = [sys.executable, "-c", SERVER, str(weights), str(slots), str(slots * context)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | PATIENT
    ) as process:
        assert process.stdout is not None
        try:
            yield f"{process.stdout.readline().strip()}/v1", process.pid
        finally:
            process.kill()


def generate(clients: int) -> float:
    """The tokens a second of Transformers' `generate`, for so many questions in one batch."""
    asked = json.dumps(questions(clients, 0))
    command = [sys.executable, "-W", "ignore", "-c", TRANSFORMERS, str(smol.folder()), asked, str(TOKENS)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, env=os.environ | PATIENT | {"HF_HUB_OFFLINE": "1"}, text=True, check=True
    )
    return float(done.stdout.splitlines()[-1])


def speeds(service: RunningService) -> None:
    """Print the figures of speed."""
    with bare_server(smol.find_weights()) as (theirs, _):
        sides = {"ours": (service.base_url, MODEL), "llama.cpp": (theirs, "any")}
        for url, model in sides.values():
            pace(url, model, 1, 999)  # it is loaded now
        for clients in (1, CLIENTS):
            rounds = [
                {side: pace(url, model, clients, 10 * clients + number) for side, (url, model) in sides.items()}
                for number in range(ROUNDS)
            ]
            ours, peer = ([one[side] for one in rounds] for side in sides)
            who = f"{clients} client{'s' * (clients > 1)}"
            figure(
                f"SmolLM2, {who}: tokens a second beside llama.cpp's own server, median of {ROUNDS}",
                ours=statistics.median(one.tokens_per_second for one in ours),
                peer=statistics.median(one.tokens_per_second for one in peer),
                unit="tokens/s",
                at_least=0.9,
            )
            figure(
                f"SmolLM2, {who}: delay of the first token beside llama.cpp's own server, median of {ROUNDS}",
                ours=statistics.median(one.first_token for one in ours),
                peer=statistics.median(one.first_token for one in peer),
                unit="s",
            )
            figure(
                f"SmolLM2, {who}: tokens a second beside Transformers' generate",
                ours=statistics.median(one.tokens_per_second for one in ours),
                peer=generate(clients),
                unit="tokens/s",
            )


def own_mib(pid: int) -> float:
    """The memory of a process; what several processes share counts in parts."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024


def answering(service: int) -> list[int]:
    """The processes of a service that run llama.cpp."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            parent = int((place / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        except OSError:  # it has ended meanwhile
            continue
        if ANSWERING.encode() in words and parent == service:
            found.append(int(place.name))
    return found


def memory(service: RunningService, folder: Path) -> None:
    """Print the figure of memory."""
    client = openai_for(service)
    file = client.files.create(file=("train.jsonl", chats(10)), purpose="fine-tune").id
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1, "batch_size": 5}}}
    jobs = [submit(client, file, model=MODEL, method=method, seed=seed) for seed in range(3)]
    tuned = [wait_for(client, job.id, seconds=900).fine_tuned_model for job in jobs]
    for number, model in enumerate(tuned):
        ask(service.base_url, model, questions(1, number)[0])
    until(lambda: len(answering(service.pid)) == 1, seconds=120)  # each new adapter has had a process that took over
    ours = own_mib(answering(service.pid)[0])
    with ExitStack() as stack:
        peer = 0.0
        for number in range(3):
            weights = folder / f"{number}.gguf"
            shutil.copyfile(smol.find_weights(), weights)
            url, pid = stack.enter_context(bare_server(weights))
            ask(url, "any", questions(1, number)[0])
            peer += own_mib(pid)
    figure(
        "SmolLM2, three tuned models on one base: memory beside three whole models with llama.cpp's own server",
        ours=ours,
        peer=peer,
        unit="MiB",
        at_most=0.6,
    )


def main() -> None:
    """Print the figures."""
    with (
        tempfile.TemporaryDirectory() as name,
        running_service(models={MODEL: "smol"}, serve_with="llamacpp") as service,
    ):
        speeds(service)
        memory(service, Path(name))


if __name__ == "__main__":
    main()
