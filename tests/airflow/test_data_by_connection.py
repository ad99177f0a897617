"""Data in an object store, opened by an Airflow connection: a real S3 server on this machine, which checks who asks."""

from __future__ import annotations

import json
from zlib import crc32

import httpx
import pytest
from airflow.sdk import DAG, BaseHook, ObjectStoragePath, task
from support.support_chats import chats

from airflow_tuneway._compat import AirflowNotFoundException
from airflow_tuneway._places import DEFAULTS, located
from airflow_tuneway.operators import FineTuneOperator, UploadTrainingFileOperator, ValidateTrainingDataOperator
from tuneway import Recipe
from tuneway.errors import InvalidSpec

s3 = pytest.importorskip("airflow.providers.amazon.aws.fs.s3", reason="needs the group airflow-test")
pytest.importorskip("moto", reason="needs the group airflow-test")
pytest.importorskip("s3fs", reason="needs the group airflow-test")

SECRET = "OFCONNECTION"
SHORT = {"type": "supervised", "n_epochs": 1}


@pytest.fixture(scope="module")
def endpoint():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    httpx.post(f"http://{host}:{port}/moto-api/reset-auth", content=b"inf").raise_for_status()
    server.stop()


@pytest.fixture(scope="module")
def account(endpoint):
    """The key of a user who may read; the server lets nobody else in."""
    import boto3

    anyone = {"endpoint_url": endpoint, "region_name": "us-east-1", "aws_access_key_id": "a"}
    anyone |= {"aws_secret_access_key": "b"}
    boto3.client("s3", **anyone).create_bucket(Bucket="lake")
    iam = boto3.client("iam", **anyone)
    iam.create_user(UserName="reader")
    may = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}
    iam.put_user_policy(UserName="reader", PolicyName="reads", PolicyDocument=json.dumps(may))
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    httpx.post(f"{endpoint}/moto-api/reset-auth", content=b"0").raise_for_status()
    return {"login": key["AccessKeyId"], "password": key["SecretAccessKey"]}


@pytest.fixture
def store(endpoint, account):
    """The store, for one who may read and write."""
    import boto3

    return boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1",
        aws_access_key_id=account["login"], aws_secret_access_key=account["password"],
    )  # fmt: skip


@pytest.fixture
def url(store, tmp_path, monkeypatch):
    """The URL of training data of this test's own. The environment has no key for it."""
    import s3fs
    from airflow.sdk.io.store import _STORE_CACHE

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    _STORE_CACHE.clear()
    s3fs.S3FileSystem.clear_instance_cache()
    rows = "\n".join(map(json.dumps, chats(24, seed=crc32(tmp_path.name.encode())))) + "\n"
    store.put_object(Bucket="lake", Key=f"{tmp_path.name}.jsonl", Body=rows.encode())
    yield f"s3://lake/{tmp_path.name}.jsonl"
    _STORE_CACHE.clear()


@pytest.fixture
def connection(endpoint, account, monkeypatch):
    """Makes a connection to the store."""

    def connect(conn_id, **changed):
        extra = {"endpoint_url": endpoint, "region_name": "us-east-1"}
        given = {"conn_type": "aws", "extra": extra} | account | changed
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(given))
        return given

    return connect


def rendered(task_id):
    """What Airflow's pages show as a task's arguments."""
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.utils.session import create_session
    from sqlalchemy import select

    fields = RenderedTaskInstanceFields
    query = select(fields.rendered_fields).where(fields.task_id == task_id).order_by(fields.run_id.desc())
    with create_session() as session:
        return session.execute(query).scalars().first()


def test_a_url_is_opened_by_the_connection_that_is_named_in_each_step(run, service, url, connection):
    secret = connection("lake")["password"]
    with DAG("by_named_connection", schedule=None) as dag:

        @task.fine_tune(task_id="by_function", data_conn_id="lake", timeout=60)
        def tune():
            return Recipe(model="gpt-4o-mini", training_data=url, method=SHORT)

        by = {"training_data": url, "data_conn_id": "{{ params.store }}", "params": {"store": "lake"}}
        ValidateTrainingDataOperator(task_id="by_check", **by)
        UploadTrainingFileOperator(task_id="by_upload", **by)
        FineTuneOperator(task_id="by_operator", **by, model="gpt-4o-mini", method=SHORT, timeout=60)
        tune()

    state, told = run(dag)

    assert state == "success"
    rows = [told["by_check", "rows"], told["by_upload", "rows"]]
    rows += [told[name, "data"][0]["rows"] for name in ("by_operator", "by_function")]
    assert rows == [24] * 4
    shown = rendered("by_operator")
    assert (shown["training_data"], shown["data_conn_id"]) == (url, "lake")
    assert secret not in str([rendered(name) for name in ("by_check", "by_upload", "by_operator", "by_function")])


def test_a_url_takes_the_connection_that_airflows_own_operators_take(run, service, url, connection):
    connection("aws_default")
    with DAG("by_default_connection", schedule=None) as dag:
        UploadTrainingFileOperator(task_id="upload", training_data=url)

    state, told = run(dag)

    assert (state, told["upload", "rows"]) == ("success", 24)


@pytest.mark.parametrize("given", ["with_its_connection", "as_airflow_writes_it"])
def test_a_path_keeps_the_connection_that_it_names(run, service, url, connection, given):
    connection("lake")
    connection("other", password="wrong")
    path = ObjectStoragePath(url, conn_id="lake") if given == "with_its_connection" else url.replace("//", "//lake@")
    by = {"training_data": path, "data_conn_id": "other"}
    with DAG(given, schedule=None) as dag:
        UploadTrainingFileOperator(task_id="upload", **by)
        FineTuneOperator(task_id="tune", **by, model="gpt-4o-mini", method=SHORT, wait_for_completion=False)

    state, told = run(dag)

    assert (state, told["upload", "rows"], told["tune", "data"][0]["rows"]) == ("success", 24, 24)


def test_a_path_without_a_connection_takes_the_named_one(run, service, url, connection):
    connection("lake")
    with DAG("path_without", schedule=None) as dag:
        ValidateTrainingDataOperator(task_id="validate", training_data=ObjectStoragePath(url), data_conn_id="lake")

    assert run(dag)[0] == "success"


@pytest.mark.parametrize("place", ["s3://by_name@lake/reports/{job_id}.html", "s3://lake/reports/{job_id}.html"])
def test_a_report_is_written_into_a_store_by_a_connection(run, service, url, connection, store, place):
    connection("by_name" if "@" in place else "aws_default")
    with DAG("report_in_a_store", schedule=None) as dag:
        FineTuneOperator(
            task_id="tune", training_data=chats(24, seed=31), model="gpt-4o-mini", method=SHORT, timeout=60,
            report_to=place,
        )  # fmt: skip

    state, told = run(dag)

    assert state == "success"
    written = store.get_object(Bucket="lake", Key=f"reports/{told['tune', 'job_id']}.html")
    assert written["Body"].read().startswith(b"<!doctype html>")
    store.delete_object(Bucket="lake", Key=f"reports/{told['tune', 'job_id']}.html")


def test_a_refused_key_is_told_without_the_key(run, service, url, connection, capsys):
    connection("wrong", password=SECRET)
    with DAG("wrong_key", schedule=None) as dag:
        ValidateTrainingDataOperator(task_id="validate", training_data=url, data_conn_id="wrong")

    assert run(dag)[0] == "failed"

    told = capsys.readouterr()
    assert f"{url} can't be read" in told.out
    assert SECRET not in told.out + told.err


def test_a_connection_that_is_not_there_is_told_and_the_store_is_not_asked_without_it(run, service, url, connection):
    connection("aws_default")
    with DAG("no_connection", schedule=None) as dag:
        ValidateTrainingDataOperator(task_id="validate", training_data=url, data_conn_id="lke")

    state, _ = run(dag)

    assert state == "failed"
    with pytest.raises(AirflowNotFoundException, match="lke"):
        located([url], "lke")


def test_a_key_in_a_url_is_no_connection():
    given = f"s3://key:{SECRET}@lake/train.jsonl"

    assert located([given], None) == [given]
    with pytest.raises(InvalidSpec, match="data_conn_id") as caught:
        located([given], "lake")
    assert SECRET not in str(caught.value)


def test_nothing_asks_for_a_connection_when_a_dag_is_parsed(monkeypatch):
    monkeypatch.setattr(BaseHook, "get_connection", lambda conn_id: pytest.fail(f"asked for {conn_id}"))

    with DAG("parsed", schedule=None):
        for kind in (FineTuneOperator, UploadTrainingFileOperator):
            model = {"model": "gpt-4o-mini"} if kind is FineTuneOperator else {}
            kind(task_id=kind.__name__, training_data="s3://lake/train.jsonl", data_conn_id="lake", **model)


@pytest.mark.parametrize(
    "given",
    [
        "/data/train.jsonl",
        "https://lake.example/train.jsonl",
        "abfs://container@account.dfs.core.windows.net/train.jsonl",
        "file:///d.jsonl",
        [{}],
    ],
)
def test_a_connection_that_opens_nothing_is_refused(given):
    with pytest.raises(InvalidSpec, match="data_conn_id: the data isn't in a store") as caught:
        located([given, 0.2], "lake")
    assert caught.value.field == "data_conn_id"


def test_without_a_connection_data_stays_as_it_is():
    given = ["/data/train.jsonl", "s3://lake/train.jsonl", "gs://lake/train.jsonl", [{"a": 1}], None, 0.2]

    assert all(one is other for one, other in zip(located(given, None), given, strict=True))
    assert {DEFAULTS["s3"], DEFAULTS["gs"]} == {"aws_default", "google_cloud_default"}
