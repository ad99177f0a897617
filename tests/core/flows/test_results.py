"""A job's metrics, from its result file."""

from __future__ import annotations

import base64

import pytest
from support.fake_service import refuse, result_csv

from tuneway.errors import BadReply, InvalidInput, NotFound
from tuneway.flows import result_metrics
from tuneway.flows.results import decode
from tuneway.models import Job
from tuneway.models._curve import points

PLAIN = (
    b"step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n"
    b"1,1.5,0.25,,\n"
    b"2,0.75,0.5,0.875,0.625\n"
)  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        base64.b64encode(PLAIN),
        base64.encodebytes(PLAIN),
        b"\xef\xbb\xbf" + PLAIN,
        base64.b64encode(b"\xef\xbb\xbf" + PLAIN),
        b"\n" + PLAIN.replace(b"\n", b"\r\n"),
        base64.b64encode(PLAIN).rstrip(b"\n") + b"\n",
    ],
    ids=["plain", "base64", "base64 in lines", "with a mark", "base64 of one with a mark", "crlf", "final newline"],
)
def test_every_way_to_send_a_result_file_reads_the_same(content):
    first, second = decode(content)
    assert (first.step, first.train_loss, first.train_accuracy, first.valid_loss) == (1, 1.5, 0.25, None)
    assert (second.step, second.valid_loss, second.valid_mean_token_accuracy) == (2, 0.875, 0.625)


def test_columns_are_matched_by_name_and_unknown_ones_kept():
    (row,) = decode(b"step,valid_loss,reward,note,train_loss\n3,0.5,0.25,good,0.125,extra\n")
    assert (row.step, row.valid_loss, row.train_loss) == (3, 0.5, 0.125)
    assert row.model_extra == {"reward": 0.25, "note": "good"}


def test_the_rewards_of_a_reinforcement_job_are_metrics_like_the_others():
    heads = b"step,train_reward_mean,full_valid_mean_reward,scores/graders/python/fits/train_reward_mean\n"
    rows = decode(heads + b"1,0.25,,0.25\n2,0.5,0.375,0.5\n")
    assert points(rows) == {
        ("train_mean_reward", 1): 0.25,
        ("train_mean_reward", 2): 0.5,
        ("full_valid_mean_reward", 2): 0.375,
    }


def test_a_cell_that_is_no_number_is_absent():
    (row,) = decode(b"step,train_loss\n1,nan?\n")
    assert row.train_loss is None


def test_a_file_with_a_header_alone_has_no_rows():
    assert decode(b"step,train_loss\n") == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "doesn't start with a `step` column"),
        (b"abc", "neither CSV nor base64"),
        (b"<html>Sign in</html>", "neither CSV nor base64|`step` column"),
        (base64.b64encode(b"loss,step\n1,2\n"), "doesn't start with a `step` column"),
        (b"step,train_loss\nlate,0.5\n", "can't be read: 1 validation error for MetricRow"),
        (b"step,train_loss\n,0.5\n", "can't be read"),
        (b'step,train_loss\n1,"' + b"x" * 9_000_000 + b'"\n', "can't be read: field larger than field limit"),
    ],
)
def test_what_is_no_result_file_is_an_error_that_says_why(content, told):
    with pytest.raises(BadReply, match=told):
        decode(content)


def test_all_result_files_of_a_job_are_read(stage):
    stage.service.contents = {"file-a": result_csv("1,0.5,,,"), "file-b": PLAIN}
    stage.service.add_file(id="file-a")
    stage.service.add_file(id="file-b")
    stage.service.add_job(id="ftjob-1", status="succeeded", result_files=["file-a", "file-b"])
    rows = stage.driver.run(result_metrics(stage.account, "ftjob-1"))
    assert [row.step for row in rows] == [1, 1, 2]


def test_a_job_that_is_known_is_not_fetched_again(stage):
    stage.service.contents = {"file-a": PLAIN}
    stage.service.add_file(id="file-a")
    job = Job(id="ftjob-1", status="succeeded", result_files=["file-a"])
    assert len(stage.driver.run(result_metrics(stage.account, job))) == 2
    assert stage.trail == ["GET /files/file-a/content"]


@pytest.mark.parametrize("files", [None, []])
def test_a_job_without_result_files_is_named(stage, files):
    with pytest.raises(InvalidInput, match=r"ftjob-1 has no result file \(running\)") as caught:
        stage.driver.run(result_metrics(stage.account, Job(id="ftjob-1", status="running", result_files=files)))
    assert caught.value.job_id == "ftjob-1"


def test_a_deleted_result_file_is_not_found(stage):
    job = Job(id="ftjob-1", status="succeeded", result_files=["file-gone"])
    stage.driver.trouble["GET /files/file-gone/content"] = [refuse(404, "no such file")]
    with pytest.raises(NotFound):
        stage.driver.run(result_metrics(stage.account, job))
