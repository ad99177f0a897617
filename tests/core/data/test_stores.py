"""Data in an object store: a real S3 server on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support.reports import full_report

from tuneway import JobSpec, Recipe
from tuneway.dataset import validate
from tuneway.errors import InvalidSpec
from tuneway.report import write_report

pytest.importorskip("moto", reason="needs the group data-test")
pytest.importorskip("s3fs", reason="needs the group data-test")

pytestmark = [pytest.mark.filterwarnings("ignore")]  # of the server's and the store's own libraries

LINES = b"".join(b'{"prompt":"%d","completion":"%d"}\n' % (number, number * 2) for number in range(30))


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint, monkeypatch) -> str:
    import boto3
    import s3fs

    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "hunter2secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="tuneway")
    client.put_object(Bucket="tuneway", Key="nightly/train.jsonl", Body=LINES)
    return "s3://tuneway/nightly"


def test_an_object_gives_the_bytes_of_the_file(bucket, tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_bytes(LINES)

    report = validate(f"{bucket}/train.jsonl")

    assert (report.sha256, report.rows, report.path) == (validate(path).sha256, 30, f"{bucket}/train.jsonl")


def test_a_table_in_a_store_is_read_by_its_columns(bucket):
    import boto3

    content = b"question,answer\n" + b"".join(b"%d?,%d\n" % (number, number) for number in range(20))
    boto3.client("s3").put_object(Bucket="tuneway", Key="table.csv", Body=content)

    report = validate("s3://tuneway/table.csv", row={"user": "{question}", "assistant": "{answer}"})

    assert (report.ok, report.rows, report.format) == (True, 20, "chat")


def test_a_parquet_file_in_a_store_is_read(bucket):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"prompt": [str(number) for number in range(20)], "completion": "x"})
    frame.to_parquet("s3://tuneway/table.parquet")

    assert validate("s3://tuneway/table.parquet").sha256 == validate(frame).sha256


def replaced(name: str) -> Callable[[object], None]:
    """What replaces an object, when the check of it has begun."""
    import boto3

    def replace(_: object) -> None:
        boto3.client("s3").put_object(Bucket="tuneway", Key=name, Body=LARGE.replace(b"x", b"y"))

    return replace


LARGE = b"".join(b'{"prompt":"%d %s","completion":"yes"}\n' % (number, b"x" * 200) for number in range(48_000))


@pytest.mark.slow
@pytest.mark.parametrize("made", [str, "upath"])
@pytest.mark.parametrize("how", [{}, {"order": "content"}, {"validation_data": 0.1}])
def test_an_object_that_is_replaced_while_it_is_read_is_refused(bucket, made, how):
    import boto3

    path = pytest.importorskip("upath").UPath if made == "upath" else str
    boto3.client("s3").put_object(Bucket="tuneway", Key="large.jsonl", Body=LARGE)
    says = r"large\.jsonl (changed while it was being read|can't be read: it broke off after [\d,]+ bytes)"
    with pytest.raises(InvalidSpec, match=says):
        validate(path("s3://tuneway/large.jsonl"), on_progress=replaced("large.jsonl"), **how)


def test_an_object_that_is_replaced_after_its_last_byte_was_read_is_refused(bucket):
    with pytest.raises(InvalidSpec, match=r"train\.jsonl changed while it was being read"):
        validate(f"{bucket}/train.jsonl", on_progress=replaced("nightly/train.jsonl"))


def test_an_object_that_is_not_there_is_named(bucket):
    with pytest.raises(InvalidSpec, match=r"s3://tuneway/nightly/other.jsonl can't be read: there is no such file"):
        validate(f"{bucket}/other.jsonl")


def test_a_path_of_a_store_is_taken_as_it_is(bucket):
    upath = pytest.importorskip("upath")

    assert validate(upath.UPath(f"{bucket}/train.jsonl")).rows == 30


def test_a_recipe_on_a_store_is_sent_once(bucket, connect):
    from support.fault_server import FaultServer
    from support.quick_service import QuickService

    with FaultServer(QuickService()) as server:
        for _ in range(2):
            with connect(base_url=server.base_url, settle=0) as client:
                started = client.start(Recipe(model="base", training_data=f"{bucket}/train.jsonl"))
                assert isinstance(started.spec, JobSpec)
        sent = [one for one in server.service.files if one["purpose"] == "fine-tune"]
        assert [one["filename"].partition(".")[0] for one in sent] == ["train"]
        assert server.service.contents[sent[0]["id"]] == LINES
        assert len(server.service.jobs) == 1


def test_a_report_is_an_object_of_a_store(bucket):
    import boto3

    assert write_report(full_report("router"), f"{bucket}/router.html") == f"{bucket}/router.html"

    page = boto3.client("s3").get_object(Bucket="tuneway", Key="nightly/router.html")["Body"].read()
    assert page.startswith(b"<!doctype html>")


@pytest.mark.parametrize(
    ("to", "says"), [("s3://no-such-bucket/router.html", "s3://no-such-bucket/router.html can't be written")]
)
def test_a_report_that_the_store_refuses_is_named_without_credentials(bucket, to, says):
    with pytest.raises(InvalidSpec, match=says) as caught:
        write_report(full_report("router"), to)
    assert "hunter2secret" not in f"{caught.value!r}{caught.value.hint}"
