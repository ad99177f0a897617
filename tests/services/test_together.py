"""Together AI, beside its own client."""

from __future__ import annotations

import pytest
from support.fault_server import FaultServer, answer

together = pytest.importorskip("together", reason="needs the group services-test")

LIMITS = {
    "default_gradient_accumulation_steps": 1,
    "max_num_checkpoints": 10,
    "max_num_epochs": 20,
    "max_num_evals": 100,
    "max_learning_rate": 0.01,
    "min_learning_rate": 1e-8,
    "model_name": "meta-llama/M",
    "max_seq_length_sft": 8192,
    "max_seq_length_dpo": 8192,
    "min_max_seq_length": 32,
    "merge_output_lora": False,
    "supports_full_training": False,
    "supports_vision": False,
    "supports_tools": True,
    "supports_reasoning": False,
    "full_training": None,
    "lora_training": {
        "default_rank": 8,
        "max_batch_size": 32,
        "max_batch_size_dpo": 16,
        "max_rank": 64,
        "min_batch_size": 8,
        "target_modules": ["q_proj", "v_proj"],
    },
}


def test_the_vendors_own_client_sends_a_paid_create_three_times_after_a_500(server: FaultServer):
    server.fault(answer(LIMITS), "GET", "/fine-tunes/models/limits")
    server.fault(
        answer({"estimation_available": False, "unavailable_reason": "train_file_not_validated"}),
        "POST",
        "/fine-tunes/estimate-price",
    )
    refusal = answer({"error": {"message": "try again", "type": "server_error"}}, 500, retry_after_ms="1")
    server.fault(refusal, "POST", "/fine-tunes", times=9)
    client = together.Together(api_key="secret", base_url=server.origin, _strict_response_validation=True)
    with pytest.raises(together.InternalServerError):
        client.fine_tuning.create(training_file="file-1", model="meta-llama/M")
    assert len(server.asked("POST", "/fine-tunes")) == 3
