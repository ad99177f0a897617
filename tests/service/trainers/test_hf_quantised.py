"""Adapters on a base in 4 bits: what is trained, what is written, and where it is refused."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest

pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("peft", reason="needs the extra `train`")

import torch
from support.support_chats import preferences
from support.tiny_llama import make_tiny_llama

from tuneway.errors import InvalidSpec
from tuneway_service.trainers import Step, make_trainer
from tuneway_service.trainers.hf import quantised
from tuneway_service.trainers.hf.memory import Forecast, LargestRows

# PEFT asks Transformers by an older name
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.timeout(300),
]

needs_bitsandbytes = pytest.mark.skipif(not quantised.is_installed(), reason="needs the extra `train-4bit`")
FOUR_BITS = {"quantization": "4bit"}
ROWS = [
    {"messages": [{"role": "user", "content": f"{number} {word}"}, {"role": "assistant", "content": reply}]}
    for number in range(4)
    for word, reply in (("red", "stop"), ("green", "go"))
]
FAST = {"batch_size": 4, "n_epochs": 4, "learning_rate_multiplier": 10.0}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_tiny_llama(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def trainer(base):
    return make_trainer(str(base))


def metrics_of(training):
    return [item.metrics for item in training.advance() if isinstance(item, Step)]


def weights_of(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()


# what is refused


def test_other_values_and_all_weights_are_refused(trainer):
    for asked, why in (
        ({"quantization": "8bit"}, 'must be "none" or "4bit"'),
        (FOUR_BITS | {"lora": False}, "trains an adapter, and not all weights"),
    ):
        with pytest.raises(InvalidSpec, match=why) as caught:
            trainer.resolve("supervised", asked, 10)
        assert caught.value.field == "quantization"


@pytest.mark.parametrize("found", [None, "0.45.5", "odd"], ids=["missing", "too old", "of no known version"])
def test_without_bitsandbytes_it_is_refused_before_the_job_begins(trainer, monkeypatch, found):
    def version(_):
        if found is None:
            raise PackageNotFoundError
        return found

    monkeypatch.setattr(quantised, "version", version)
    with pytest.raises(InvalidSpec, match="needs bitsandbytes") as caught:
        trainer.resolve("supervised", FOUR_BITS, 10)
    assert "tuneway[train-4bit]" in caught.value.hint
    assert trainer.resolve("supervised", {}, 10)["quantization"] == "none"


@needs_bitsandbytes
@pytest.mark.parametrize("broken", [True, False], ids=["an error", "wrong numbers"])
def test_where_bitsandbytes_does_not_run_the_training_says_so(trainer, prepare, monkeypatch, broken):
    from bitsandbytes import functional

    def odd(*_):
        if broken:
            raise RuntimeError("no kernel for this device")
        return torch.zeros(64, 64)

    monkeypatch.setattr(functional, "dequantize_4bit", odd)
    with pytest.raises(InvalidSpec, match="no kernel for this device" if broken else "nonsense") as caught:
        trainer.start(prepare(ROWS, **FAST, **FOUR_BITS))
    assert caught.value.field == "quantization"


# what is trained


@needs_bitsandbytes
def test_it_learns_on_rounded_weights_and_a_resume_goes_on_as_if_nothing_had_been(trainer, prepare, tmp_path):
    run = prepare(ROWS, **FAST, **FOUR_BITS)
    training = trainer.start(run)
    rounded = [weight for weight in training._tuned.model.parameters() if weight.dtype == torch.uint8]
    assert len(rounded) == 2 * 7  # layers, and linear layers in each
    steps = training.advance()
    first = [next(steps).metrics for _ in range(2)]
    training.save(tmp_path / "state")
    whole = first + [item.metrics for item in steps if isinstance(item, Step)]
    assert whole[-1]["train_loss"] < 0.5 * whole[0]["train_loss"]
    resumed = trainer.resume(run, tmp_path / "state")
    assert metrics_of(resumed) == whole[2:]
    for made, name in ((training, "one"), (resumed, "other")):
        made.export(tmp_path / name)
    one, other = ((tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("one", "other"))
    assert one == other
    # what is measured between the steps, without gradients, changes none
    measured = metrics_of(trainer.start(prepare(ROWS, valid=ROWS[:2], **FAST, **FOUR_BITS)))
    assert [step["train_loss"] for step in measured] == [step["train_loss"] for step in whole]
    plain = metrics_of(trainer.start(prepare(ROWS, **FAST)))
    assert whole[0]["train_loss"] == pytest.approx(plain[0]["train_loss"], rel=0.2)
    assert whole[0] != plain[0]


@needs_bitsandbytes
def test_gradient_checkpointing_and_preferences_work_on_rounded_weights(trainer, prepare):
    rows = preferences(4, seed=1)
    options = {"method": "dpo", "batch_size": 2, "n_epochs": 1, **FOUR_BITS}
    one, other = (
        metrics_of(trainer.start(prepare(rows, gradient_checkpointing=on, **options))) for on in (False, True)
    )
    for these, those in zip(one, other, strict=True):
        assert these == pytest.approx(those, abs=1e-5)


@needs_bitsandbytes
def test_what_is_written_is_merged_from_full_precision(trainer, prepare, base, tmp_path):
    first = trainer.start(prepare(ROWS, lora_r=2, **FAST, **FOUR_BITS))
    metrics_of(first)
    first.export(tmp_path / "first")
    # an adapter of the base is an adapter, which answers on the base in full precision
    assert not (tmp_path / "first" / "model.safetensors").exists()
    assert list(trainer.load_model(tmp_path / "first").complete(ROWS[0]["messages"][:1], max_tokens=4))
    # of another rank it is merged, and the new one is trained on that, rounded
    further = trainer.start(prepare(ROWS, lora_r=4, base=tmp_path / "first", **FAST, **FOUR_BITS))
    further.export(tmp_path / "unchanged")
    before, expected = weights_of(tmp_path / "unchanged"), merged(base, tmp_path / "first")
    assert before.keys() == expected.keys()
    for name, weight in before.items():
        assert torch.allclose(weight, expected[name], atol=1e-6), name
    metrics_of(further)
    further.export(tmp_path / "further")
    changed = weights_of(tmp_path / "further")
    layer = "model.layers.0.self_attn.q_proj.weight"
    assert torch.linalg.matrix_rank(changed[layer] - before[layer], atol=1e-4) <= 4
    assert not torch.equal(changed[layer], before[layer])
    assert torch.equal(changed["model.embed_tokens.weight"], before["model.embed_tokens.weight"])


def merged(base, adapter):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload().state_dict()


# what it takes


@needs_bitsandbytes
def test_the_estimate_counts_rounded_weights(base):
    from transformers import AutoModelForCausalLM

    settings = {"lora": True, "lora_r": 16}
    plain, less = (Forecast(base, settings | more, kind="cpu", half=False) for more in ({}, FOUR_BITS))
    whole = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    loaded = quantised.load(base, torch.float32, torch.device("cpu"))
    saved = whole.get_memory_footprint() - loaded.get_memory_footprint()
    assert plain.weights - less.weights == pytest.approx(saved, rel=0.05)
    assert less.weights < 0.5 * plain.weights
    rows = LargestRows(1, 64)
    assert less.parts(rows, checkpointing=True).alone > plain.parts(rows, checkpointing=True).alone


def test_a_training_that_does_not_fit_is_told_of_4_bits_where_they_are(base, monkeypatch):
    found = Forecast(base, {"lora": True, "lora_r": 2, "gradient_checkpointing": True}, kind="cpu", half=False)
    rows, free = LargestRows(1, 8, 8), found.weights + found.learning
    assert found.plan(rows, free) is None
    monkeypatch.setattr(quantised, "is_installed", lambda: True)
    assert 'It fits with quantization="4bit"' in found.refusal(rows, free)
    monkeypatch.setattr(quantised, "is_installed", lambda: False)
    assert "quantization" not in found.refusal(rows, free)
