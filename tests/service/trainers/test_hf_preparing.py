"""Rows are made tokens once for a job; later attempts read them, and never stale or damaged ones."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading

import pytest

pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("peft", reason="needs the extra `train`")

from support.datasets import write
from support.tiny_llama import TEMPLATE, make_tokenizer

from tuneway.errors import InvalidInput
from tuneway_service.trainers.hf import preparing
from tuneway_service.trainers.hf.batches import Batches
from tuneway_service.trainers.hf.objectives import HfDataset
from tuneway_service.trainers.hf.prepared import FILES, INDEX, RowsPart
from tuneway_service.trainers.hf.preparing import Preparer
from tuneway_service.trainers.hf.reading import RowReading
from tuneway_service.trainers.hf.tokens import Encoder


def talk(number, said="yes", **more):
    return {
        "messages": [{"role": "user", "content": f"is it {number}?"}, {"role": "assistant", "content": said, **more}]
    }


ROWS = [talk(number, "no" * (1 + number % 5), weight=number % 7 and 1) for number in range(200)]
SUPERVISED = RowReading("supervised")


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "rows.jsonl", ROWS)


def make_encoder(template=TEMPLATE, limit=4096, stops=()):
    tokenizer = make_tokenizer(template)
    return Encoder(tokenizer, [tokenizer.eos_token_id, *stops], limit)


@pytest.fixture
def encoder():
    return make_encoder()


@pytest.fixture
def preparer(encoder, tmp_path):
    return Preparer(encoder, tmp_path / "prepared", processes=1)


@pytest.fixture
def made(monkeypatch):
    """The rows that were made tokens since the start of the test."""
    rows = []
    original = Batches.supervised

    def noted(self, given):
        rows.extend(given)
        return original(self, given)

    monkeypatch.setattr(Batches, "supervised", noted)
    return rows


def all_of(prepared):
    return [prepared.examples(row) for row in range(len(prepared))]


def alone(encoder, rows):
    """What the encoder makes of each row with something to learn."""
    return [found for row in rows if (found := encoder.supervised(row))]


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "not kept"])
def test_prepared_rows_are_what_the_encoder_makes_of_each(encoder, path, tmp_path, kept):
    prepared = Preparer(encoder, tmp_path / "prepared" if kept else None).prepared(path, SUPERVISED)
    assert all_of(prepared) == alone(encoder, ROWS)
    assert prepared.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_second_attempt_makes_no_tokens(preparer, path, made):
    first = all_of(preparer.prepared(path, SUPERVISED))
    assert len(made) == len(ROWS)
    again = Preparer(make_encoder(), preparer.folder)
    assert all_of(again.prepared(path, SUPERVISED)) == first
    assert len(made) == len(ROWS)


CHANGES = {
    "the template": lambda: make_encoder(TEMPLATE.replace("user", "asker")),
    "the context": lambda: make_encoder(limit=30),
    "what ends an answer": lambda: make_encoder(stops=[7]),
    "the vocabulary": lambda: Encoder(tokenizer := make_tokenizer(merges=[("n", "o")]), [tokenizer.eos_token_id], 4096),
}


@pytest.mark.parametrize("change", CHANGES)
def test_rows_that_were_prepared_for_another_model_are_not_read(preparer, path, change):
    preparer.prepared(path, SUPERVISED)
    other = CHANGES[change]()
    assert all_of(Preparer(other, preparer.folder).prepared(path, SUPERVISED)) == alone(other, ROWS)


def test_rows_of_another_file_version_or_method_are_not_read(preparer, path, made, monkeypatch):
    preparer.prepared(path, SUPERVISED)
    write(path, ROWS[:-1])
    assert len(all_of(preparer.prepared(path, SUPERVISED))) == len(alone(preparer.encoder, ROWS[:-1]))
    count = len(made)
    monkeypatch.setattr(preparing, "VERSION", 999)
    Preparer(make_encoder(), preparer.folder).prepared(path, SUPERVISED)
    assert len(made) == count + len(ROWS) - 1
    questions = Preparer(make_encoder(), preparer.folder).prepared(path, RowReading("reinforcement", 16))
    assert len(questions) == len(ROWS) - 1


def test_stale_rows_do_not_stay_on_the_disk_and_those_of_the_other_file_do(preparer, path, tmp_path):
    other = write(tmp_path / "more.jsonl", ROWS[:3])
    for limit in (4096, 50):
        preparer.encoder.context_length = limit
        preparer = Preparer(preparer.encoder, preparer.folder)
        preparer.prepared(path, SUPERVISED)
        preparer.prepared(other, SUPERVISED)
    assert sorted(place.name.partition("-")[0] for place in preparer.folder.iterdir()) == ["lock", "more", "rows"]


@pytest.mark.parametrize("file", [*FILES, INDEX])
@pytest.mark.parametrize("damage", ["changed", "shortened", "gone"])
def test_damaged_rows_are_made_again(preparer, path, made, file, damage):
    whole = all_of(preparer.prepared(path, SUPERVISED))
    (place,) = preparer.folder.glob("rows-*")
    content = bytearray((place / file).read_bytes())
    if damage == "gone":
        (place / file).unlink()
    else:
        content[len(content) // 2] ^= 1
        (place / file).write_bytes(content if damage == "changed" else content[:-8])
    count = len(made)
    assert all_of(preparer.prepared(path, SUPERVISED)) == whole
    assert len(made) == count + len(ROWS) or (file, damage) == (INDEX, "changed")


def test_only_the_owner_may_read_them(preparer, path):
    preparer.prepared(path, SUPERVISED)
    for place in (preparer.folder, *preparer.folder.glob("rows-*"), preparer.folder / "lock"):
        assert place.stat().st_mode & 0o077 == 0, place


def test_of_two_that_need_the_same_rows_one_prepares_them_and_the_other_waits(path, tmp_path, made):
    found = []

    def prepare():
        found.append(all_of(Preparer(make_encoder(), tmp_path / "prepared", processes=1).prepared(path, SUPERVISED)))

    threads = [threading.Thread(target=prepare) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert found[0] == found[1] == found[2]
    assert len(made) == len(ROWS)


def test_who_waits_for_another_process_tells_what_that_one_tells(path, tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "CHUNK_BYTES", path.stat().st_size // 4)
    monkeypatch.setattr(preparing, "LOOK_SECONDS", 0.01)
    folder, passed_on, heard = tmp_path / "prepared", [], threading.Event()
    times = iter(range(0, 1_000, 40))

    def hear(remark):
        passed_on.append(remark)
        heard.set()

    waiter = threading.Thread(
        target=lambda: Preparer(make_encoder(), folder, hear, processes=1).prepared(path, SUPERVISED)
    )
    told = []

    def tell(remark):
        told.append(remark)
        if len(told) == 1:
            waiter.start()
        else:
            assert heard.wait(30)  # the first words were written when they had been told

    Preparer(make_encoder(), folder, tell, processes=1, clock=lambda: next(times)).prepared(path, SUPERVISED)
    waiter.join()
    assert passed_on[0] == told[0]
    assert set(passed_on) <= set(told)


def test_what_is_half_made_is_removed_when_the_disk_is_full(preparer, path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RowsPart, "add", full)
    with pytest.raises(OSError, match="No space left"):
        preparer.prepared(path, SUPERVISED)
    assert [place.name for place in preparer.folder.iterdir()] == ["lock"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([talk(1), "", talk(2), {"messages": []}, talk(3)], "line 4: messages is not a list"),
        ([talk(1), "{", {"messages": []}], "line 2: not JSON"),
        ([talk(1), {"messages": []}, "{"], "line 2: messages is not a list"),
        ([talk(1), "[1]"], "line 2: not a JSON object"),
        ([*[talk(1)] * 70, {"messages": []}], "line 71: "),
    ],
    ids=["row", "broken", "first", "list", "later"],
)
@pytest.mark.parametrize("size", [1, 1 << 20], ids=["a chunk for each line", "one chunk"])
def test_an_error_names_the_first_line_that_is_wrong(preparer, tmp_path, monkeypatch, rows, words, size):
    monkeypatch.setattr(preparing, "CHUNK_BYTES", size)
    with pytest.raises(InvalidInput, match=words):
        preparer.prepared(write(tmp_path / "rows.jsonl", rows), SUPERVISED)
    assert [place.name for place in preparer.folder.iterdir()] == ["lock"]


def test_long_work_tells_how_far_it_is(encoder, path, monkeypatch):
    monkeypatch.setattr(preparing, "CHUNK_BYTES", path.stat().st_size // 4)
    told = []
    times = iter(range(0, 1_000, 20))
    Preparer(encoder, None, told.append, processes=1, clock=lambda: next(times)).prepared(path, SUPERVISED)
    rows = [int(remark.text.split()[1]) for remark in told]
    assert rows == sorted(set(rows))
    assert [remark.text for remark in told] == [f"Prepared {count} of 200 rows of rows.jsonl" for count in rows]
    assert len({remark.mark for remark in told}) == len(told) >= 2
    told.clear()
    Preparer(encoder, None, told.append, processes=1, clock=lambda: 0.0).prepared(path, SUPERVISED)
    assert told == []


def test_a_question_comes_with_its_row(preparer, path):
    dataset = HfDataset(path, RowReading("reinforcement", 16), preparer, lambda examples, row: (examples, row()))
    (example,), row = dataset[5]
    assert row == ROWS[5]
    assert example.ids.tolist() == preparer.encoder.prompt(ROWS[5]["messages"])
    with pytest.raises(InvalidInput, match=r"line 1: the question has .* tokens; with an answer of 4090, 6 fit"):
        preparer.prepared(path, RowReading("reinforcement", 4090))


# in several processes


@pytest.fixture
def spread(monkeypatch, path):
    """Even small files are prepared by several processes, in several chunks."""
    monkeypatch.setattr(preparing, "ALONE_BYTES", 0)
    monkeypatch.setattr(preparing, "CHUNK_BYTES", path.stat().st_size // 10)


@pytest.mark.slow
def test_several_processes_make_the_same_files_as_one(encoder, path, tmp_path, monkeypatch, spread, made):
    Preparer(encoder, tmp_path / "many", processes=2).prepared(path, SUPERVISED)
    assert made == []
    Preparer(encoder, tmp_path / "one", processes=1).prepared(path, SUPERVISED)
    assert len(made) == len(ROWS)
    many, one = ((tmp_path / name).glob("rows-*") for name in ("many", "one"))
    for place, other in zip(many, one, strict=True):
        assert place.name == other.name
        assert {file.name: file.read_bytes() for file in place.iterdir()} == {
            file.name: file.read_bytes() for file in other.iterdir()
        }


@pytest.mark.slow
def test_the_first_wrong_line_is_named_though_another_process_found_a_later_one(encoder, tmp_path, path, spread):
    rows = [*ROWS[:150], {"messages": []}, *ROWS[:40], "{"]
    with pytest.raises(InvalidInput, match="line 151: messages is not a list"):
        Preparer(encoder, tmp_path / "many", processes=2).prepared(write(path, rows), SUPERVISED)
    assert [place.name for place in (tmp_path / "many").iterdir()] == ["lock"]


def test_a_process_that_is_lost_costs_only_time(encoder, path, tmp_path, monkeypatch, spread, made):
    monkeypatch.setattr(preparing, "COMMAND", (sys.executable, "-S", "-c", "pass"))
    prepared = Preparer(encoder, tmp_path / "prepared", processes=2).prepared(path, SUPERVISED)
    assert all_of(prepared) == alone(encoder, ROWS)
    assert len(made) == len(ROWS)


@pytest.mark.slow
def test_a_process_that_prepares_ends_with_the_worker():
    child = subprocess.Popen(preparing.COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    child.communicate(timeout=60)  # its input ends
    assert child.returncode is not None


def test_a_job_that_is_resumed_reads_its_rows_as_they_are(tmp_path, made):
    from support.tiny_llama import make_tiny_llama

    from tuneway_service.trainers import TrainingRun, make_trainer

    trainer = make_trainer(str(make_tiny_llama(tmp_path / "base")))
    knobs = trainer.resolve("supervised", {"n_epochs": 1, "batch_size": 4}, 8)
    path = write(tmp_path / "training.jsonl", ROWS[1:7])
    run = TrainingRun(
        method="supervised", train_path=path, valid_path=write(tmp_path / "validation.jsonl", ROWS[8:10]),
        hyperparameters=knobs, prepared=tmp_path / "prepared",
    )  # fmt: skip
    training = trainer.start(run)
    training.save(tmp_path / "state")
    assert len(made) == 8
    resumed = trainer.resume(run, tmp_path / "state")
    assert len(made) == 8
    assert [step.metrics for step in resumed.advance()] == [step.metrics for step in training.advance()]
    index = json.loads(next((tmp_path / "prepared").glob("training-*/index.json")).read_text())
    assert "yes" not in json.dumps(index)
