"""What was tuned here, loaded by other programs: Transformers alone, with nothing of Tuneway."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.openai_jobs import chats, submit, ticket, wait_for
from support.pages import blocks
from support.service import running_service
from typer.testing import CliRunner

from tuneway.cli._app import app

pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("peft", reason="needs the extra `train`")

from support.tiny_llama import make_tiny_llama, make_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PATIENCE = 240.0
GUIDE = [
    line
    for block in blocks(Path(__file__).parents[2] / "docs" / "guides" / "serving.md")
    for line in block.code.splitlines()
]
"""The lines of code of the guide to Ollama, llama.cpp and vLLM."""
QUESTION = ticket(3)["messages"][:1]
ALONE = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, messages, peft_allowed = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3] == "True"
model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
given = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
written = model.generate(**given, max_new_tokens=12, do_sample=False)[0, given["input_ids"].shape[1]:]
assert not [name for name in sys.modules if name.split(".")[0] == "tuneway"]
assert peft_allowed or not [name for name in sys.modules if name.split(".")[0] == "peft"]
print(json.dumps(tokenizer.decode(written, skip_special_tokens=True)))
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    tokenizer = make_tokenizer(merges=[("t", "h"), ("i", "n")])  # llama.cpp takes none without merges
    base = make_tiny_llama(tmp_path_factory.mktemp("base") / "tiny", tokenizer=tokenizer)
    with running_service(models={"gpt-4o-mini": str(base), "plain": "bytes"}, serve_with="transformers") as running:
        yield running


def method(**knobs):
    inner = {"batch_size": 8, "n_epochs": 8, "learning_rate_multiplier": 10, **knobs}
    return {"type": "supervised", "supervised": {"hyperparameters": inner}}


@pytest.fixture(scope="module")
def done(client, training_file):
    return wait_for(client, submit(client, training_file, method=method(), seed=4).id, seconds=PATIENCE)


def export(service, job_id, to, *words):
    command = [sys.executable, "-m", "tuneway.cli", "export", job_id, "--data-dir", str(service.data_dir)]
    return subprocess.run([*command, "--to", str(to), *words], capture_output=True, text=True, check=False)


def said_alone(folder, *, peft):
    command = [sys.executable, "-c", ALONE, str(folder), json.dumps(QUESTION), str(peft)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("words", [[], ["--merged"]], ids=["adapter", "merged"])
def test_transformers_alone_loads_an_export_and_says_the_same(service, client, done, tmp_path, words):
    here = client.chat.completions.create(model=done.fine_tuned_model, messages=QUESTION, max_tokens=12, temperature=0)
    written = export(service, done.id, tmp_path / "out", *words)
    assert written.returncode == 0, written.stderr
    assert written.stdout == f"{tmp_path / 'out'}\n"
    # an adapter is loaded by the help of PEFT, a whole model without
    assert said_alone(tmp_path / "out", peft=not words) == here.choices[0].message.content == "accounts"
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| Base model | tiny |" in card
    assert "LoRA adapters of rank 16" in card
    assert not (tmp_path / "out.part").exists()


@pytest.mark.parametrize("words", [[], ["--merged"], ["--merged", "--quantize", "q8_0"]], ids=" ".join)
def test_llama_cpp_loads_an_export_and_says_the_same(service, done, tmp_path, words):
    pytest.importorskip("xllamacpp", reason="needs llama.cpp: pip install xllamacpp")
    from support.llama_cpp import llama_cpp

    written = export(service, done.id, tmp_path / "out", "--format", "gguf", *words)
    assert written.returncode == 0, written.stderr
    files = ["model.gguf"] if words else ["base.gguf", "adapter.gguf"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(["README.md", *files])
    with llama_cpp(*(tmp_path / "out" / name for name in files)) as there:
        assert there.answer(QUESTION) == "accounts"


@pytest.mark.parametrize("words", [[], ["--merged"]], ids=["adapter", "merged"])
def test_ollama_gets_a_modelfile_beside_the_weights(service, done, tmp_path, words):
    written = export(service, done.id, tmp_path / "out", "--format", "ollama", *words)
    assert written.returncode == 0, written.stderr
    lines = (tmp_path / "out" / "Modelfile").read_text().splitlines()
    named = [line.split(" ./")[1] for line in lines if line.startswith(("FROM", "ADAPTER"))]
    assert named == (["model.gguf"] if words else ["base.gguf", "adapter.gguf"])
    assert all((tmp_path / "out" / name).exists() for name in named)
    assert 'PARAMETER stop "<|im_end|>"' in lines


def test_the_commands_of_the_guide_write_what_the_next_command_loads(service, done, tmp_path):
    exports = [line.split() for line in GUIDE if line.startswith("tuneway export ")]
    assert len(exports) >= 5
    for _, _, _, to, folder, *words in exports:
        # in this process, which has imported PyTorch already
        command = ["export", done.id, "--data-dir", str(service.data_dir), to, str(tmp_path / folder), *words]
        written = CliRunner().invoke(app, command, prog_name="tuneway")
        assert written.exit_code == 0, written.output
    named = [word for line in GUIDE for word in line.split() if word.split("/")[0] in {one[4] for one in exports}]
    assert [name for name in named if not (tmp_path / name).exists()] == []
    for folder, file in (("merged", "config.json"), ("my-adapter", "adapter_config.json"), ("my-model", "config.json")):
        assert (tmp_path / folder / file).exists()


def test_a_checkpoint_is_exported_by_its_step(service, done, tmp_path):
    assert export(service, done.id, tmp_path / "out", "--checkpoint", "35").returncode == 0
    assert json.loads((tmp_path / "out" / "tuneway.json").read_text())["step"] == 35
    missing = export(service, done.id, tmp_path / "other", "--checkpoint", "3")
    assert missing.returncode == 2
    assert "It has checkpoints of steps 30, 35, 40" in missing.stderr


def test_a_model_of_all_weights_is_exported_as_it_is(service, client, training_file, tmp_path):
    job = submit(client, training_file, method=method(lora=False), seed=4)
    job = wait_for(client, job.id, seconds=PATIENCE)
    here = client.chat.completions.create(model=job.fine_tuned_model, messages=QUESTION, max_tokens=12, temperature=0)
    assert export(service, job.id, tmp_path / "out").returncode == 0
    assert said_alone(tmp_path / "out", peft=False) == here.choices[0].message.content
    assert "all weights" in (tmp_path / "out" / "README.md").read_text()


def test_what_cannot_be_exported_is_said_in_a_line(service, client, done, tmp_path):
    file = client.files.create(file=("t.jsonl", chats(12)), purpose="fine-tune").id
    bytes_job = wait_for(client, submit(client, file, model="plain").id)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    for job_id, to, words in (
        ("ftjob-nobody", "out", "there is no job ftjob-nobody"),
        ("../../etc", "out", "there is no job"),
        (bytes_job.id, "out", "not a language model"),
        (done.id, "full", "isn't empty"),
    ):
        refused = export(service, job_id, tmp_path / to)
        assert refused.returncode == 2
        assert words in refused.stderr
        assert "Traceback" not in refused.stderr
        assert not (tmp_path / "out").exists()
