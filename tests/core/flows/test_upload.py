"""A file is sent once."""

from __future__ import annotations

import pytest
from support.fake_service import refuse, reply
from support.virtual_driver import Crashed, answered_after, lost_after

from tuneway import flows, progress
from tuneway.calls import Response
from tuneway.errors import (
    BadRequest,
    ConnectionFailed,
    ConnectionLost,
    LookupFailed,
    QuotaExhausted,
    ServerError,
    SubmitUncertain,
)
from tuneway.flows import Account

SHA, OTHER = "a" * 64, "b" * 64
LIST, SEND = "GET /files", "POST /files"
DAY = 86_400.0


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_bytes(b'{"prompt": "a", "completion": "b"}\n' * 10)
    return path


@pytest.fixture(autouse=True)
def _no_files(stage):
    stage.service.files.clear()


def there(stage, path, **fields):
    return stage.service.add_file(filename=flows.name_with_hash("any.jsonl", SHA), bytes=path.stat().st_size, **fields)


def test_a_file_is_sent_once_under_a_name_that_carries_its_hash(stage, path):
    file = stage.upload(path)
    assert stage.trail == [LIST, SEND, "FileUploaded"]
    assert file.filename == f"train.sha256-{SHA}.jsonl"
    assert stage.service.contents[file.id] == path.read_bytes()


def test_the_same_data_is_found_and_not_sent_again(stage, path):
    first = stage.upload(path)
    again = stage.upload(path.rename(path.with_name("renamed.jsonl")))
    assert again.id == first.id
    assert stage.trail == [LIST, SEND, "FileUploaded", LIST, "FileReused"]


def test_other_data_is_sent(stage, path):
    assert stage.upload(path).id != stage.upload(path, sha256=OTHER).id


def test_another_purpose_is_another_file_even_where_the_list_is_not_filtered(stage, path):
    first = stage.upload(path)
    assert stage.upload(path, purpose="evals").id != first.id
    assert [dict(request.query)["purpose"] for request in stage.service.requests("GET", "/files")] == [
        "fine-tune",
        "evals",
    ]


@pytest.mark.parametrize(
    ("fields", "usable"),
    [
        ({}, True),
        ({"status": "uploaded"}, True),
        ({"status": None}, True),
        ({"status": "error"}, False),
        ({"status": "deleted"}, False),
        ({"purpose": None}, True),
        ({"purpose": "evals"}, False),
        ({"bytes": 3}, False),
        ({"bytes": None}, True),
        ({"expires_at": 1_000_000 + DAY}, True),
        ({"expires_at": 1_000_000 + 60}, False),
        ({"expires_at": 999_999}, False),
    ],
)
def test_only_a_usable_file_is_used_again(stage, path, fields, usable):
    stage.service.add_file(**{"filename": f"x.sha256-{SHA}.jsonl", "bytes": path.stat().st_size} | fields)
    assert (stage.upload(path).id == "file-1") is usable


def test_of_several_the_oldest_is_used_whatever_order_they_come_in(stage, path):
    there(stage, path, id="file-and-young", created_at=9)
    there(stage, path, id="file-old-b", created_at=5)
    there(stage, path, id="file-old-a", created_at=5)
    assert stage.upload(path).id == "file-old-a"


def test_a_file_without_a_date_counts_as_old(stage, path):
    there(stage, path, id="file-dated", created_at=5)
    there(stage, path, id="file-undated", created_at=None)
    assert stage.upload(path).id == "file-undated"


def test_the_hash_is_found_on_a_later_page(stage, path):
    there(stage, path)
    stage.service.page_cap = 1
    for _ in range(3):
        stage.service.add_file()
    assert stage.upload(path).id == "file-1"


# --- unclear ---


@pytest.mark.parametrize(
    "fault",
    [
        lost_after(ConnectionLost("gone")),
        answered_after(refuse(503, "in trouble")),
        answered_after(refuse(409, "busy")),
        answered_after(Response(200, {}, b'{"id": "fil')),
    ],
)
def test_an_unclear_upload_is_looked_up_and_not_repeated(stage, path, fault):
    stage.driver.trouble[SEND] = [fault]
    assert stage.upload(path).id == "file-1"
    assert stage.trail.count(SEND) == 1
    assert len(stage.service.files) == 1


def test_an_upload_that_shows_late_is_waited_for(stage, path):
    def commits_later(request, exchange):
        stage.driver.at[stage.driver.now + 8] = lambda: exchange(request)
        raise ConnectionLost("gone")

    stage.driver.trouble[SEND] = [commits_later]
    assert stage.upload(path).id == "file-1"
    assert stage.trail.count(SEND) == 1
    assert 8 <= sum(stage.driver.slept) < 15


def test_a_service_that_is_trusted_to_show_all_at_once_is_looked_at_once(stage, path):
    stage.account = Account(settle=0.0)
    stage.driver.trouble[SEND] = [ConnectionLost("gone")]
    assert stage.upload(path).id == "file-1"
    assert stage.trail == [LIST, SEND, LIST, SEND, "FileUploaded"]


def test_an_upload_that_never_shows_is_sent_again_after_the_window(stage, path):
    stage.driver.trouble[SEND] = [ConnectionLost("gone")]
    assert stage.upload(path).id == "file-1"
    assert stage.trail.count(SEND) == 2
    assert sum(stage.driver.slept) >= 10


def test_after_three_sends_without_a_trace_it_says_so(stage, path):
    stage.driver.trouble[SEND] = [ConnectionLost("gone")] * 9
    with pytest.raises(SubmitUncertain, match="the file was sent 3 times, and not listed within 10 s: gone"):
        stage.upload(path)
    assert stage.trail.count(SEND) == 3


@pytest.mark.parametrize("fault", [refuse(429, "slow down"), ConnectionFailed("nobody there")])
def test_an_upload_that_was_surely_not_processed_is_sent_again_at_once(stage, path, fault):
    stage.driver.trouble[SEND] = [fault]
    assert stage.upload(path).id == "file-1"
    assert stage.trail.count(LIST) == 1


@pytest.mark.parametrize(
    ("refusal", "error"),
    [(refuse(400, "not JSONL"), BadRequest), (refuse(429, "pay", code="insufficient_quota"), QuotaExhausted)],
)
def test_a_clear_refusal_is_raised(stage, path, refusal, error):
    stage.driver.trouble[SEND] = [refusal]
    with pytest.raises(error):
        stage.upload(path)
    assert stage.trail.count(SEND) == 1


def test_a_crash_at_any_effect_leaves_one_file(stage, path):
    for effect in range(1, 99):
        stage.service.files.clear()
        try:
            stage.upload(path, dies_at=effect)
        except Crashed:
            stage.upload(path)
            assert len(stage.service.files) == 1
        else:
            assert effect > 5
            return


# --- failing closed ---


def test_an_unreadable_list_is_never_an_empty_one(stage, path):
    stage.driver.trouble[LIST] = [refuse(403, "no")]
    with pytest.raises(LookupFailed, match="can't find out whether the service has this file"):
        stage.upload(path)
    assert stage.service.requests("POST", ".*") == []


def test_a_list_without_end_is_given_up(stage, path):
    stage.account = Account(lookup_pages=2)
    stage.service.page_cap = 1
    for _ in range(3):
        stage.service.add_file()
    with pytest.raises(LookupFailed, match="more than 2 pages of files") as caught:
        stage.upload(path)
    assert not caught.value.retryable


def test_a_list_that_promises_more_and_shows_nothing_new_is_unreadable(stage, path):
    stage.driver.trouble[LIST] = [reply({"data": [], "has_more": True})]
    with pytest.raises(LookupFailed, match="more files, but doesn't list them") as caught:
        stage.upload(path)
    assert not caught.value.retryable
    assert stage.service.requests("POST", ".*") == []


def test_what_was_found_on_a_list_that_cannot_be_read_to_its_end_is_still_found(stage, path):
    file = there(stage, path)
    stage.driver.trouble[LIST] = [reply({"data": [file], "has_more": True})] * 2
    assert stage.upload(path).id == file["id"]


def test_trouble_with_the_list_after_an_unclear_upload_ends_the_try_and_the_next_one_finds_it(stage, path):
    stage.driver.trouble = {SEND: [lost_after(ConnectionLost("gone"))], LIST: [None, refuse(403, "no")]}
    with pytest.raises(LookupFailed):
        stage.upload(path)
    assert stage.upload(path).id == "file-1"


# --- in parts ---

BEGIN, PART, COMPLETE = "POST /uploads", "POST /uploads/upload-1/parts", "POST /uploads/upload-1/complete"


@pytest.fixture
def small_parts(stage):
    stage.account = Account(file_limit=100, part_size=150)


@pytest.mark.usefixtures("small_parts")
def test_a_large_file_goes_in_parts_of_which_nothing_is_missing(stage, path):
    file = stage.upload(path)
    assert stage.trail == [LIST, BEGIN, PART, PART, PART, COMPLETE, "FileUploaded"]
    parts = [request.form.file for request in stage.service.requests("POST", ".*/parts")]
    assert [(part.offset, part.length, part.whole) for part in parts] == [
        (0, 150, 350),
        (150, 150, 350),
        (300, 50, 350),
    ]
    assert stage.service.contents[file.id] == path.read_bytes()
    assert file.filename == f"train.sha256-{SHA}.jsonl"


def test_a_file_of_just_the_limit_goes_in_one(stage, path):
    stage.account = Account(file_limit=path.stat().st_size, part_size=150)
    stage.upload(path)
    assert stage.trail == [LIST, SEND, "FileUploaded"]


@pytest.mark.usefixtures("small_parts")
def test_a_part_may_be_sent_twice(stage, path):
    stage.driver.trouble[PART] = [None, lost_after(ConnectionLost("gone"))]
    file = stage.upload(path)
    assert stage.trail.count(PART) == 4
    assert stage.service.contents[file.id] == path.read_bytes()


@pytest.mark.usefixtures("small_parts")
def test_a_complete_call_with_a_lost_reply_is_looked_up(stage, path):
    stage.driver.trouble[COMPLETE] = [lost_after(ConnectionLost("gone"))]
    assert stage.upload(path).id == "file-1"
    assert stage.trail.count(COMPLETE) == 1


@pytest.mark.usefixtures("small_parts")
def test_a_complete_call_that_never_arrived_is_sent_again(stage, path):
    stage.driver.trouble[COMPLETE] = [ConnectionLost("gone")]
    assert stage.upload(path).id == "file-1"
    assert stage.trail.count(COMPLETE) == 2
    assert stage.trail.count(PART) == 3


@pytest.mark.usefixtures("small_parts")
def test_a_refused_complete_call_after_an_unclear_one_may_mean_that_the_first_counted(stage, path):
    """The service completed late: the list shows it only after the second, refused, attempt."""

    def completes_unseen(request, exchange):
        exchange(request)
        stage.service.files[-1]["filename"] = "hidden"
        raise ConnectionLost("gone")

    stage.driver.trouble[COMPLETE] = [completes_unseen]
    stage.driver.at[stage.driver.now + 15] = lambda: stage.service.files[-1].update(filename=f"x.sha256-{SHA}.jsonl")
    assert stage.upload(path).id == "file-1"
    assert stage.trail.count(COMPLETE) == 2


@pytest.mark.usefixtures("small_parts")
def test_a_refused_complete_call_is_an_error(stage, path):
    stage.driver.trouble[COMPLETE] = [refuse(400, "the parts don't add up")]
    with pytest.raises(BadRequest):
        stage.upload(path)


@pytest.mark.usefixtures("small_parts")
def test_a_completed_upload_that_does_not_show_its_file_is_looked_up(stage, path):
    def silent(request, exchange):
        exchange(request)
        return reply({"id": "upload-1", "object": "upload", "status": "completed"})

    stage.driver.trouble[COMPLETE] = [silent]
    assert stage.upload(path).id == "file-1"
    assert stage.trail.count(COMPLETE) == 1


@pytest.mark.usefixtures("small_parts")
def test_trouble_with_a_part_ends_the_try(stage, path):
    stage.driver.trouble[PART] = [refuse(503, "in trouble")] * 9
    with pytest.raises(ServerError):
        stage.upload(path)
    assert stage.service.files == []


def test_the_expiry_is_sent_with_files_and_with_parts(stage, path):
    stage.upload(path, expires_after=7200)
    assert ("expires_after[seconds]", "7200") in stage.service.log[-1].form.fields
    stage.account = Account(file_limit=1)
    stage.upload(path, sha256=OTHER, expires_after=7200)
    (begun,) = stage.service.requests("POST", "/uploads")
    assert begun.json["expires_after"] == {"anchor": "created_at", "seconds": 7200}


def test_the_news_names_the_file(stage, path):
    stage.upload(path)
    stage.upload(path)
    assert [str(news) for news in stage.driver.told] == [
        f"uploaded train.sha256-{SHA}.jsonl as file-1",
        "file-1 already has this data: nothing is sent",
    ]
    assert isinstance(stage.driver.told[0], progress.FileUploaded)
