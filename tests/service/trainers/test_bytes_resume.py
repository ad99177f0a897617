"""The same run gives the same bytes: again, in another process, and with a pause anywhere."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest
from support.datasets import write
from support.support_chats import chats, preferences

from tuneway.errors import InvalidInput, TunewayError
from tuneway_service.trainers import CheckpointDue, Step

ROWS = chats(20, seed=21)
VALID = chats(10, seed=22)
PAIRS = preferences(20, seed=23)


def test_the_same_seed_gives_the_same_bytes(train, contents):
    assert contents(train(ROWS, seed=5)[0].export) == contents(train(ROWS, seed=5)[0].export)


PROGRAM = """
import hashlib, sys
from pathlib import Path
from tuneway_service.trainers import TrainingRun, make_trainer

trainer = make_trainer("bytes")
knobs = trainer.resolve("supervised", {}, 20)
training = trainer.start(TrainingRun(method="supervised", train_path=Path(sys.argv[1]), hyperparameters=knobs, seed=3))
for _ in training.advance():
    pass
training.save(Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_threads_and_hash_seeds_change_nothing(tmp_path):
    path = write(tmp_path / "rows.jsonl", ROWS)
    digests = set()
    for number in ("1", "7"):
        folder = tmp_path / number
        variables = {"OMP_NUM_THREADS": number, "OPENBLAS_NUM_THREADS": number, "PYTHONHASHSEED": number}
        subprocess.run([sys.executable, "-c", PROGRAM, str(path), str(folder)], env=os.environ | variables, check=True)
        files = sorted(folder.iterdir())
        digests.add(hashlib.sha256(b"".join(file.name.encode() + file.read_bytes() for file in files)).digest())
    assert len(digests) == 1


@pytest.mark.slow
@pytest.mark.parametrize("method", ["supervised", "dpo"])
def test_a_pause_anywhere_changes_nothing(trainer, prepare, train, contents, tmp_path, method):
    rows, valid = (ROWS, VALID) if method == "supervised" else (PAIRS, PAIRS[:5])
    train(chats(20, seed=24))[0].export(tmp_path / "base")
    run = prepare(rows, valid=valid, method=method, base=tmp_path / "base", batch_size=8, n_epochs=2)
    straight = trainer.start(run)
    told = list(straight.advance())
    assert len(told) == straight.total_steps + 2
    saved, model = contents(straight.save), contents(straight.export)

    pauses = [{point} for point in range(len(told) + 1)]
    for points in [*pauses, set(range(len(told) + 1))]:
        training = trainer.start(run)
        heard: list[Step | CheckpointDue] = []
        for point in sorted(points):
            progress = training.advance()
            heard += [next(progress) for _ in range(point - len(heard))]
            training.save(tmp_path / "saved")
            training = trainer.resume(run, tmp_path / "saved")
        heard += training.advance()
        assert heard == told
        assert contents(training.save) == saved
        assert contents(training.export) == model
        assert training.trained_tokens == straight.trained_tokens


def test_a_resume_needs_no_base_any_more(trainer, prepare, train, contents, tmp_path):
    train(chats(20, seed=24))[0].export(tmp_path / "base")
    run = prepare(PAIRS, method="dpo", base=tmp_path / "base", n_epochs=2)
    straight, _, _ = train(PAIRS, method="dpo", base=tmp_path / "base", n_epochs=2)
    training = trainer.start(run)
    next(training.advance())
    training.save(tmp_path / "saved")
    for file in (tmp_path / "base").iterdir():
        file.unlink()
    resumed = trainer.resume(run, tmp_path / "saved")
    list(resumed.advance())
    assert contents(resumed.export) == contents(straight.export)


def test_a_resume_from_an_older_save_tells_the_same_again(trainer, prepare, tmp_path):
    run = prepare(ROWS, batch_size=8, n_epochs=2)
    training = trainer.start(run)
    progress = training.advance()
    next(progress)
    training.save(tmp_path / "saved")
    lost = [next(progress), next(progress)]
    again = trainer.resume(run, tmp_path / "saved").advance()
    assert [next(again), next(again)] == lost


@pytest.mark.parametrize("change", [{"seed": 9}, {"n_epochs": 4}, {"rows": ROWS[:-1]}], ids=str)
def test_a_save_of_another_training_is_refused(trainer, prepare, tmp_path, change):
    training = trainer.start(prepare(ROWS, n_epochs=2, batch_size=8))
    training.save(tmp_path / "saved")
    options = {"n_epochs": 2, "batch_size": 8} | change
    with pytest.raises(InvalidInput, match="another training"):
        trainer.resume(prepare(options.pop("rows", ROWS), **options), tmp_path / "saved")


def test_a_damaged_save_is_refused(trainer, prepare, tmp_path):
    run = prepare(ROWS)
    trainer.start(run).save(tmp_path / "saved")
    for file in (tmp_path / "saved").glob("energy-*"):
        file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(InvalidInput, match="saved is not a readable model folder"):
        trainer.resume(run, tmp_path / "saved")


def test_rows_that_vanish_are_told_as_one_of_our_errors(trainer, prepare, monkeypatch):
    monkeypatch.setattr("tuneway_service.trainers.bytewise.dataset._KEPT_BYTES", 0)
    run = prepare(ROWS)
    training = trainer.start(run)
    run.train_path.unlink()
    with pytest.raises(TunewayError, match=r"train\.jsonl can't be read"):
        next(training.advance())


def test_what_does_not_fit_in_memory_is_read_again(train, contents, monkeypatch):
    kept, _, _ = train(ROWS)
    monkeypatch.setattr("tuneway_service.trainers.bytewise.dataset._KEPT_BYTES", 10_000)
    read, _, _ = train(ROWS)
    assert contents(kept.export) == contents(read.export)
