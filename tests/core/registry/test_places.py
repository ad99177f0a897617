"""Where a registry is looked for, and what its address may look like."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.registries import make_record

from tuneway.errors import InvalidSpec, RegistryError
from tuneway.registry import default_uri, open_registry, own_file_warning


def test_the_environment_names_the_registry():
    assert default_uri({"TUNEWAY_REGISTRY_URI": "sqlite:///m.db", "XDG_DATA_HOME": "/data"}) == "sqlite:///m.db"


@pytest.mark.parametrize(
    ("environ", "platform", "uri"),
    [
        ({"XDG_DATA_HOME": "/data"}, "linux", "sqlite:////data/tuneway/models.db"),
        ({"XDG_DATA_HOME": "relative"}, "linux", "sqlite:///{home}/.local/share/tuneway/models.db"),
        ({}, "linux", "sqlite:///{home}/.local/share/tuneway/models.db"),
        ({}, "darwin", "sqlite:///{home}/Library/Application Support/tuneway/models.db"),
        ({}, "win32", "sqlite:///{home}/AppData/Local/tuneway/models.db"),
        ({"LOCALAPPDATA": "/local"}, "win32", "sqlite:////local/tuneway/models.db"),
    ],
)
def test_without_a_word_it_lives_in_the_users_data_folder(environ, platform, uri):
    assert default_uri(environ, platform) == uri.format(home=Path.home())


def test_the_default_registry_is_made_with_its_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "new"))
    open_registry().register(make_record("router"))
    assert (tmp_path / "new/tuneway/models.db").exists()


def test_three_slashes_are_a_relative_path_and_four_an_absolute_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    relative = open_registry("sqlite:///models.db")
    monkeypatch.chdir("/")
    relative.register(make_record("router"))
    assert open_registry(f"sqlite:///{tmp_path}/models.db").get("router").version == 1


@pytest.mark.parametrize(
    "uri",
    [
        "models.db",
        "sqlite://models.db",
        "sqlite:///",
        "sqlite:///:memory:",
        "mlflow:",
        "mlflow:databricks",
        "http://user:secret@tracking.example",
    ],
)
def test_an_address_that_is_none_is_refused_without_being_repeated(uri):
    with pytest.raises(InvalidSpec, match="not the URI of a registry") as caught:
        open_registry(uri)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "own"),
    [
        (None, True),
        ("sqlite:///models.db", True),
        ("sqlite:///{home}/models.db", True),
        ("mlflow:sqlite:///mlflow.db", True),
        ("sqlite:////mnt/shared/models.db", False),
        ("mlflow:https://user:secret@mlflow.example", False),
        ("mlflow:postgresql://db.example/mlflow", False),
    ],
)
def test_a_file_that_one_machine_has_alone_is_told_from_a_registry_of_all(uri, own, monkeypatch):
    monkeypatch.delenv("TUNEWAY_REGISTRY_URI", raising=False)
    told = own_file_warning(uri and uri.format(home=Path.home()), setting="`registry` of the block")
    assert (told is not None) is own
    assert told is None or "set `registry` of the block to mlflow:https" in told


def test_the_default_registry_is_a_file_of_one_machine_wherever_its_folder_is(monkeypatch):
    monkeypatch.delenv("TUNEWAY_REGISTRY_URI", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/elsewhere")
    assert "/elsewhere/tuneway/models.db" in str(own_file_warning(None, setting="it"))


@pytest.mark.parametrize(
    ("module", "package"),
    [("psycopg", "pip install 'psycopg[binary]'"), ("psycopg2", "pip install 'psycopg2-binary'")],
)
def test_a_database_whose_driver_is_missing_names_the_driver(monkeypatch, module, package):
    for needed in ("mlflow", "sqlalchemy"):
        pytest.importorskip(needed)
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(RegistryError, match="database's driver") as caught:
        open_registry(f"mlflow:postgresql+{module}://ann:hunter2@127.0.0.1/models")

    assert package in caught.value.hint
    assert "hunter2" not in str(caught.value)
