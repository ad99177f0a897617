"""Model folders: whole or not at all, the same bytes for the same content."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tuneway.errors import InvalidInput
from tuneway_service.trainers import make_trainer
from tuneway_service.trainers.folder import read_folder, write_folder

Content = tuple[dict[str, Any], dict[str, Any]]

OLD: Content = ({"step": 1}, {"a": np.arange(5), "same": np.ones(3)})
NEW: Content = ({"step": 2}, {"a": np.arange(6), "same": np.ones(3), "b": np.zeros((2, 2), np.float16)})


def content_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def equal(found, expected):
    facts, arrays = found
    return (
        facts == expected[0]
        and arrays.keys() == expected[1].keys()
        and all(np.array_equal(array, expected[1][name]) for name, array in arrays.items())
    )


def test_what_was_written_is_read(tmp_path):
    write_folder(tmp_path / "deep" / "model", *NEW)
    assert equal(read_folder(tmp_path / "deep" / "model"), NEW)


def test_the_same_content_is_the_same_bytes_whatever_was_there_before(tmp_path):
    write_folder(tmp_path / "one", *NEW)
    write_folder(tmp_path / "two", *OLD)
    write_folder(tmp_path / "two", *NEW)
    assert content_of(tmp_path / "one") == content_of(tmp_path / "two")


@pytest.mark.parametrize("survived", range(6))
def test_a_death_at_any_moment_leaves_the_old_or_the_new_one(tmp_path, monkeypatch, survived):
    """Everything that is seen from outside happens in renames and removals; the death comes before one of them."""

    class Death(BaseException):
        pass

    calls = 0

    def dies(real):
        def act(path, *arguments, **options):
            nonlocal calls
            calls += 1
            if calls > survived:
                raise Death
            return real(path, *arguments, **options)

        return act

    folder = tmp_path / "model"
    write_folder(folder, *OLD)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dies(Path.replace))
        patch.setattr(Path, "unlink", dies(Path.unlink))
        with contextlib.suppress(Death):
            write_folder(folder, *NEW)
    renamed = survived >= 3  # two arrays are new, then the index
    assert equal(read_folder(folder), NEW if renamed else OLD)
    write_folder(folder, *NEW)
    assert equal(read_folder(folder), NEW)
    assert len(content_of(folder)) == 4


def test_a_full_disk_says_so_and_the_old_one_stays(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    write_folder(folder, *OLD)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        write_folder(folder, *NEW)
    assert equal(read_folder(folder), OLD)


@pytest.mark.parametrize("damage", ["missing", "truncated", "changed", "index", "no index", "not JSON object"])
def test_damage_is_noticed(tmp_path, damage):
    folder = tmp_path / "model"
    write_folder(folder, *NEW)
    array, index = next(folder.glob("a-*")), folder / "index.json"
    if damage == "missing":
        array.unlink()
    elif damage == "truncated":
        array.write_bytes(array.read_bytes()[:20])
    elif damage == "changed":
        array.write_bytes(array.read_bytes()[:-1] + b"\x07")
    elif damage == "index":
        index.write_text("{")
    elif damage == "no index":
        index.unlink()
    else:
        index.write_text("[]")
    with pytest.raises(InvalidInput, match="model is not a readable model folder"):
        read_folder(folder)


def test_a_model_of_another_trainer_or_time_is_refused(tmp_path):
    write_folder(tmp_path / "model", {"trainer": "hf"}, {})
    with pytest.raises(InvalidInput, match="trainer 'hf'"):
        make_trainer("bytes").load_model(tmp_path / "model")
