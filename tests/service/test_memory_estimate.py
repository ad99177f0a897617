"""`POST /fine_tuning/memory`: what a training would need here, before there is a job."""

from __future__ import annotations

import json

import httpx
import pytest
from support.service import running_service
from typer.testing import CliRunner

from tuneway import Client
from tuneway.cli._app import app
from tuneway.errors import ApiError


@pytest.fixture(scope="module")
def ours(service):
    with Client(base_url=service.base_url, api_key="none") as made:
        yield made


def test_a_trainer_without_an_estimate_says_so(ours):
    with pytest.raises(ApiError, match="can't be estimated: the trainer 'bytes' has no estimate") as caught:
        ours.models.memory("bytes", rows=5, longest_row=100)
    assert caught.value.code == "no_estimate"


def test_a_wrong_question_is_refused_with_the_field(service):
    def refused(**body):
        reply = httpx.post(f"{service.base_url}/fine_tuning/memory", json={"rows": 5, "longest_row": 9} | body)
        assert reply.status_code == 400
        return reply.json()["error"]["param"]

    assert refused(model="bytes", longest_row=0) == "longest_row"
    assert refused(model="nobody") == "model"
    assert refused() == "model"


@pytest.mark.slow
def test_a_language_model_is_estimated_with_the_settings_of_a_job(tmp_path):
    pytest.importorskip("torch", reason="needs the extra `train`")
    pytest.importorskip("peft", reason="needs the extra `train`")
    from support.tiny_llama import make_tiny_llama

    base = make_tiny_llama(tmp_path / "tiny", context_length=256)
    row = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "word " * 2000}]}
    data = tmp_path / "train.jsonl"
    data.write_text((json.dumps(row) + "\n") * 10)
    with running_service(models={"tiny": str(base)}) as service:
        with Client(base_url=service.base_url, api_key="none") as client:
            plain = client.models.memory("tiny", rows=10, longest_row=100)
            whole = {"type": "supervised", "supervised": {"hyperparameters": {"lora": False}}}
            more = client.models.memory("tiny", rows=10, longest_row=10_000, method=whole)
            bad = {"type": "supervised", "supervised": {"hyperparameters": {"lora_r": 1000}}}
            with pytest.raises(ApiError, match="lora_r"):
                client.models.memory("tiny", rows=10, longest_row=100, method=bad)
        words = ["estimate", str(data), "--model", "tiny", "--service", service.base_url]
        told = CliRunner().invoke(app, words, prog_name="tuneway", env={"OPENAI_API_KEY": "none"})
    assert plain.fits
    assert plain.bytes > plain.weights_bytes + plain.learning_bytes
    assert plain.free_bytes > plain.bytes
    assert (plain.tokens_at_once, plain.gradient_checkpointing) == (100, False)
    assert more.learning_bytes > plain.learning_bytes
    assert more.tokens_at_once == 256  # the rows are cut off
    assert told.exit_code == 0, told.output
    assert "tokens at once; gradient checkpointing is off." in told.output
