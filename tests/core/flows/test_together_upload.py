"""Uploads to Together AI in virtual time: killed at any moment, and checked for too long."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.vendors.together import FakeTogether
from support.virtual_driver import Crashed, VirtualDriver

from tuneway import InvalidSpec
from tuneway.calls import Source
from tuneway.dialects import TOGETHER
from tuneway.errors import SubmitUncertain
from tuneway.flows import Account, Flow, upload
from tuneway.models import File

ACCOUNT = Account(
    service=TOGETHER.name, exchange=TOGETHER.exchange, files=TOGETHER.files, file_limit=TOGETHER.file_limit
)
DATA = b'{"prompt": "a", "completion": "b"}\n'


@pytest.fixture
def train(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_bytes(DATA)
    return path


def sending(train: Path, account: Account = ACCOUNT) -> Flow[File]:
    sha256 = hashlib.sha256(DATA).hexdigest()
    return upload(account, Source(train, len(DATA)), name="rows", sha256=sha256)


def test_an_uploader_that_is_killed_at_any_moment_leaves_one_file(train):
    number = 0
    while True:
        number += 1
        service = FakeTogether()
        driver = VirtualDriver(service)  # type: ignore[arg-type]
        try:
            driver.run(sending(train), dies_at=number)
        except Crashed:
            file = driver.run(sending(train))
            assert [one["id"] for one in service.files] == [file.id], number
            assert (file.status, service.contents[file.id]) == ("processed", DATA)
        else:
            break
    assert number > 10
    assert service.files[0]["filename"].startswith("rows.sha256-")
    assert service.files[0]["filename"].endswith(".jsonl")


def test_a_check_that_never_ends_is_told_and_waited_for_again(train):
    service = FakeTogether(looks_until_processed=10**9)
    driver = VirtualDriver(service)  # type: ignore[arg-type]
    with pytest.raises(SubmitUncertain, match="without a result") as caught:
        driver.run(sending(train))
    assert caught.value.retryable
    assert driver.now == pytest.approx(1_003_600, abs=60)
    service._waits.clear()
    service.files[0]["processing_status"] = "COMPLETED"
    assert driver.run(sending(train)).id == service.files[0]["id"]
    assert len(service.storage.log) == 1


def test_data_that_is_too_large_for_one_upload_is_not_sent(train):
    service = FakeTogether()
    driver: Any = VirtualDriver(service)  # type: ignore[arg-type]
    with pytest.raises(InvalidSpec, match="training_data: 35 bytes are more"):
        driver.run(sending(train, replace(ACCOUNT, file_limit=34)))
    assert service.log == []
