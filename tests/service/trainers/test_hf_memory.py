"""How much memory a training needs is estimated before it starts, and decides how it is computed."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("peft", reason="needs the extra `train`")

import torch
from support.tiny_llama import make_tiny_llama

from tuneway_service.trainers import Step, make_trainer
from tuneway_service.trainers.hf import free, quantised
from tuneway_service.trainers.hf.memory import DoesNotFit, Forecast, LargestRows
from tuneway_service.trainers.hf.structure import Structure
from tuneway_service.worker import failure

# PEFT asks Transformers by an older name
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.timeout(300),
]

SCRIPTS = Path(__file__).parents[3] / "scripts"
MIB = 1 << 20
GIB = 1 << 30
LORA = {"lora": True, "lora_r": 16}
ALL = {"lora": False, "lora_r": 16}
ROWS = [
    {"messages": [{"role": "user", "content": f"{number}"}, {"role": "assistant", "content": "word " * 40}]}
    for number in range(8)
]


@pytest.fixture(autouse=True)
def _without_bitsandbytes(monkeypatch):
    """What fits doesn't depend on what is installed here."""
    monkeypatch.setattr(quantised, "is_installed", lambda: False)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_tiny_llama(tmp_path_factory.mktemp("base") / "tiny", num_hidden_layers=6)


@pytest.fixture
def trainer(base):
    return make_trainer(str(base))


@pytest.fixture
def forecast(base):
    def forecast(settings=LORA, *, kind="cpu", half=False, **more):
        return Forecast(base, settings | more, kind=kind, half=half)

    return forecast


@pytest.fixture
def start(trainer, prepare, monkeypatch):
    """Start a training on a device with so much memory; returns it and what it tells."""

    def start(free, **options):
        monkeypatch.setattr("tuneway_service.trainers.hf.training.free_memory", lambda _: free)
        told = []
        run = prepare(ROWS, **{"batch_size": 4, "n_epochs": 1} | options)
        return trainer.start(dataclasses.replace(run, tell=told.append)), told

    return start


def steps_of(training):
    return [item.metrics for item in training.advance() if isinstance(item, Step)]


# the need


def test_weights_gradients_and_the_optimiser_are_counted_by_their_type(base, forecast):
    from transformers import AutoModelForCausalLM

    count = sum(weight.numel() for weight in AutoModelForCausalLM.from_pretrained(base).parameters())
    tables = forecast(ALL).weights - 4 * count
    assert 0 <= tables < 1000  # what a model keeps beside its weights, such as frequencies
    assert forecast(ALL).learning == 3 * 4 * count
    assert forecast(LORA, half=True).weights < 0.6 * forecast(LORA).weights + forecast(LORA).learning / 3
    assert forecast(LORA, lora_r=32).learning == 2 * forecast(LORA).learning


def test_the_need_grows_with_the_rows_and_shrinks_with_gradient_checkpointing(forecast):
    found = forecast()
    plain, more = (found.parts(LargestRows(1, 256), checkpointing=on) for on in (False, True))
    assert more.first < 0.5 * plain.first
    longer = found.parts(LargestRows(1, 512), checkpointing=False)
    assert longer.first == pytest.approx(2 * plain.first, rel=0.05)  # there is no table of pairs of tokens
    assert found.parts(LargestRows(2, 256), checkpointing=False).first == pytest.approx(2 * plain.first, rel=0.05)


def test_the_largest_layer_is_counted_where_something_is_learned(forecast):
    few, every = (forecast().parts(LargestRows(1, 256, learned=n), checkpointing=False) for n in (8, None))
    assert few.alone < 0.95 * every.alone
    assert every.alone == every.first
    assert (few.first, few.more) == (every.first, every.more)  # of many rows some learn at each place
    assert few.fitting(few.alone) == 1
    assert few.fitting(few.alone - 1) == 0
    assert few.fitting(few.bytes(3)) == 3


def test_the_rows_say_what_is_learned_from_them(start):
    training, _ = start(24 * GIB)
    dataset = training._objective.train
    examples = [example for number in range(len(dataset)) for example in dataset[number]]
    assert dataset.longest == max(map(len, examples))
    assert dataset.most_learned == max(example.learned for example in examples)


def test_a_device_that_computes_in_half_precision_needs_less(forecast):
    full, half = (forecast(half=half).parts(LargestRows(1, 256), checkpointing=False).first for half in (False, True))
    assert 0.4 * full < half < 0.9 * full


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
@pytest.mark.parametrize("checkpointing", [False, True], ids=["without", "with checkpointing"])
@pytest.mark.parametrize("settings", [LORA, ALL], ids=["LoRA", "all weights"])
def test_the_estimate_is_what_a_real_training_takes(tmp_path, settings, checkpointing):
    import subprocess
    import sys

    folder = make_tiny_llama(
        tmp_path / "base", context_length=2048, hidden_size=512, intermediate_size=1536, num_hidden_layers=8
    )
    words = [str(folder), str(settings["lora"]), str(checkpointing)]
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEASURE, *words], capture_output=True, text=True, check=True,
        env={"PATH": "/usr/bin", "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    estimated, real = map(int, found.stdout.split()[-2:])
    assert 0.85 * real < estimated < 1.5 * real


MEASURE = """
import sys, threading, time
from pathlib import Path
import torch
from transformers import AutoModelForCausalLM
from tuneway_service.trainers.hf.models import Tuned, with_adapter
from tuneway_service.trainers.hf.room import switch_on_checkpointing
from tuneway_service.trainers.hf.structure import Structure
from trl.trainer.utils import selective_log_softmax

folder, lora, checkpointing = Path(sys.argv[1]), sys.argv[2] == "True", sys.argv[3] == "True"
structure = Structure(folder, {"lora": lora, "lora_r": 16}, half=False)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
model = (with_adapter(model, 16) if lora else model).train()
if checkpointing:
    structure.switch_on_checkpointing()
    switch_on_checkpointing(model)
tuned = Tuned(model, None, torch.device("cpu"), frozenset(), False)

def learn(length):
    ids = torch.zeros((2, length), dtype=torch.int64)
    (-selective_log_softmax(tuned.logits(ids, length), ids).sum()).backward()

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

learn(8)  # gradients are there, and the libraries' buffers
before, most, running = resident(), 0, True

def watch():
    global most
    while running:
        most = max(most, resident())
        time.sleep(0.001)

watcher = threading.Thread(target=watch)
watcher.start()
learn(1024)
running = False
watcher.join()
print(structure.activations(2, 1024, 1024), most - before)
"""


# what is decided


def need(found, rows, *, checkpointing, count=1):
    return found.weights + found.learning + found.parts(rows, checkpointing=checkpointing).bytes(count)


def test_with_enough_memory_as_much_is_computed_at_once_as_is_of_use(forecast):
    rows = LargestRows(1, 128, batch=512)
    plan = forecast(kind="cuda").plan(rows, 1000 * GIB)
    assert (plan.room, plan.checkpointing) == (32_768, False)
    assert forecast(kind="cuda").plan(rows, None) == plan  # the system doesn't say what is free
    assert forecast().plan(rows, 1000 * GIB).room == 1024


def test_less_memory_means_fewer_tokens_at_once(forecast):
    found, rows = forecast(kind="cuda"), LargestRows(1, 512, batch=64)
    plan = found.plan(rows, round(need(found, rows, checkpointing=False, count=10) / 0.9) + MIB // 100)
    assert (plan.room, plan.tokens, plan.checkpointing) == (5120, 5120, False)
    assert plan.bytes == need(found, rows, checkpointing=False, count=10)


def test_gradient_checkpointing_is_switched_on_when_too_little_fits_without(forecast):
    found, rows = forecast(kind="cuda"), LargestRows(1, 512, batch=64)
    free = round(need(found, rows, checkpointing=False, count=3) / 0.9)
    assert found.plan(rows, free).checkpointing
    assert found.plan(rows, free).room > 3 * 512
    never, always = (forecast(kind="cuda", gradient_checkpointing=on) for on in (False, True))
    assert not never.plan(rows, free).checkpointing
    assert always.plan(rows, 1000 * GIB).checkpointing
    # a step that has no more than what fits doesn't need it
    assert not found.plan(LargestRows(1, 512, batch=2), free).checkpointing


def test_the_margin_is_given_up_before_a_training_is_refused(forecast):
    found, rows = forecast(gradient_checkpointing=False), LargestRows(1, 512)
    least = need(found, rows, checkpointing=False)
    assert found.plan(rows, least).tokens == 512
    assert found.plan(rows, least - 1) is None


def test_gradient_checkpointing_comes_before_the_margin_is_given_up(forecast):
    found, rows = forecast(kind="cuda"), LargestRows(1, 4096, batch=4)
    assert found.plan(rows, need(found, rows, checkpointing=False)).checkpointing


@pytest.mark.slow
def test_the_table_of_the_docs_is_what_the_estimate_says():
    spec = importlib.util.spec_from_file_location("memory_table", SCRIPTS / "memory_table.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = script.PAGE.read_text(encoding="utf-8")
    kept, today = page, script.written(page)
    # versions of Transformers differ a little
    numbers = re.compile(r"\d[\d,.]*")
    assert numbers.sub("N", kept) == numbers.sub("N", today)
    for one, other in zip(numbers.findall(kept), numbers.findall(today), strict=True):
        if one != other:
            assert float(one.replace(",", "")) == pytest.approx(float(other.replace(",", "")), rel=0.15)


# what the job tells


def test_the_job_tells_what_it_needs(start):
    _, told = start(24 * GIB)
    (remark,) = told
    assert remark.level == "info"
    assert remark.text.startswith("Needs about ")
    assert "of the 24.0 GiB that are free" in remark.text
    assert "for weights" in remark.text
    assert remark.text.endswith("tokens at once; gradient checkpointing is off")


@pytest.mark.parametrize("method", ["supervised", "dpo", "reinforcement"])
def test_each_method_has_an_estimate(trainer, prepare, monkeypatch, method):
    from support.support_chats import preferences

    from tuneway_service.graders import Grading

    monkeypatch.setattr("tuneway_service.trainers.hf.training.free_memory", lambda _: 24 * GIB)
    rows = {
        "supervised": ROWS,
        "dpo": preferences(4, seed=1),
        "reinforcement": [{"messages": row["messages"][:1]} for row in ROWS],
    }[method]
    told = []
    options = {"reasoning_effort": "low"} if method == "reinforcement" else {}
    run = prepare(rows, method=method, **options)
    trainer.start(dataclasses.replace(run, tell=told.append, grade=lambda *_: Grading(reward=0.0)))
    assert [remark.text.startswith("Needs about ") for remark in told] == [True]


def test_what_is_estimated_changes_nothing_that_is_learned(start, forecast):
    much, _ = start(24 * GIB)
    rows = LargestRows(1, much._objective.train.longest, batch=4)
    little, told = start(need(forecast(), rows, checkpointing=True))
    assert little._tuned.room.checkpointing
    assert little._tuned.room.tokens < much._tuned.room.tokens
    assert told[0].text.endswith("gradient checkpointing is on")
    for one, other in zip(steps_of(much), steps_of(little), strict=True):
        assert other == pytest.approx(one, abs=1e-5)


# what doesn't fit


@pytest.mark.parametrize(
    ("asked", "advice"),
    [({"gradient_checkpointing": False}, 'gradient_checkpointing="auto"'), ({"lora": False}, "lora=true")],
)
def test_a_training_that_cannot_fit_is_refused_with_the_settings_that_fit(start, forecast, asked, advice):
    longest = 222  # of `ROWS`, with what the template writes
    free = need(forecast(), LargestRows(1, longest, batch=4), checkpointing=True)
    with pytest.raises(DoesNotFit, match=f"It fits with {advice}\\.") as caught:
        start(free, **asked)
    assert failure(caught.value)["code"] == "out_of_memory"
    training, _ = start(free)
    assert training._objective.train.longest == longest


def test_rows_that_are_too_long_are_refused_with_the_length_that_fits(start, forecast):
    free = need(forecast(), LargestRows(1, 140), checkpointing=True)
    with pytest.raises(DoesNotFit, match=r"It fits with context_length=128\."):
        start(free)
    assert start(free, context_length=128)


def test_a_model_that_does_not_fit_is_refused_before_it_is_loaded(start, monkeypatch):
    def load(*_):
        raise AssertionError

    monkeypatch.setattr("tuneway_service.trainers.hf.training.load_to_tune", load)
    with pytest.raises(DoesNotFit, match=r"0 MiB are free.*A smaller model or more memory"):
        start(100 * 1024)


def test_a_model_that_cannot_be_estimated_is_trained_all_the_same(start, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no meta kernel")

    monkeypatch.setattr(Structure, "activations", broken)
    training, told = start(24 * GIB)
    assert not told
    assert steps_of(training)


def test_a_model_whose_checkpointing_cannot_be_estimated_is_estimated_without(start, forecast, monkeypatch):
    activations = Structure.activations
    switched_on = set()
    switch_on = Structure.switch_on_checkpointing

    def noted(self):
        switched_on.add(id(self))
        return switch_on(self)

    def broken(self, *words):
        if id(self) in switched_on:
            raise RuntimeError("recomputed values differ")
        return activations(self, *words)

    monkeypatch.setattr(Structure, "switch_on_checkpointing", noted)
    monkeypatch.setattr(Structure, "activations", broken)
    found, rows = forecast(), LargestRows(1, 256)
    assert not found.plan(rows, need(found, rows, checkpointing=False)).checkpointing
    assert switched_on


# what is free


def files(root, contents):
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    4000 kB\n"}


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ({}, 4000 * 1024),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": "1000\n",
          "sys/fs/cgroup/a/memory.current": "900\n", "sys/fs/cgroup/a/memory.stat": "anon 1\ninactive_file 300\n",
          "sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/b/memory.current": "5\n"}, 400),
        ({"proc/self/cgroup": "0::/../x\n", "sys/fs/cgroup/memory.max": "1000\n",
          "sys/fs/cgroup/memory.current": "100\n"}, 900),
        ({"proc/self/cgroup": "3:cpu:/x\n2:memory:/x\n", "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "500\n",
          "sys/fs/cgroup/memory/x/memory.usage_in_bytes": "200\n",
          "sys/fs/cgroup/memory/x/memory.stat": "total_inactive_file 50\n"}, 350),
    ],
    ids=["no groups", "a group above has the limit", "in a container", "the first version of groups"],
)  # fmt: skip
def test_free_is_what_the_machine_and_the_control_groups_leave(tmp_path, groups, expected):
    assert min(free._of_machine(files(tmp_path, MEMINFO | groups))) == expected


def test_processes_on_one_machine_share_its_memory(monkeypatch):
    monkeypatch.setattr(free, "_of_machine", lambda _: iter([1000]))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert free.free_memory(torch.device("cpu")) == 500
    monkeypatch.setattr(free, "_of_machine", lambda _: iter([]))
    assert free.free_memory(torch.device("cpu")) is None


def test_a_gpu_says_what_is_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (7, 9) if device.index == 1 else (1, 9))
    assert free.free_memory(torch.device("cuda", 1)) == 7
