"""What a try does with the job of an earlier one, whose id Airflow has kept; and what if the data has changed since."""

from __future__ import annotations

import itertools
import json
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG
from support.support_chats import chats

from airflow_tuneway._compat import AirflowFailException
from airflow_tuneway.decorators import fine_tune_task
from airflow_tuneway.operators import CreateFineTuningJobOperator, FineTuneOperator
from tuneway import Client, Recipe
from tuneway.errors import InvalidSpec

START = datetime(2026, 1, 1)  # noqa: DTZ001 - Airflow takes it for UTC
EACH = pytest.mark.parametrize("on_stale_data", ["adopt", "cancel", "fail"])


class Store(dict):
    """Airflow's store of a task's states."""

    def set(self, name, value):
        self[name] = json.loads(json.dumps(value))


class Tries:
    """Tries of one task: each with an operator of its own, as Airflow makes them."""

    def __init__(self, service):
        self.service = service
        self.stores = {}
        self.max_tries = 2
        self.run_id = "r"

    def clear(self):
        self.max_tries += 1

    def start_run(self):
        self.run_id, self.stores = "another", {}

    def run(self, kind=FineTuneOperator, *, index=-1, keeps=True, **arguments):
        """Try once; gives the output."""
        if kind is FineTuneOperator:
            arguments |= {"model": "gpt-4o-mini"}
        if kind is not CreateFineTuningJobOperator:
            arguments |= {"wait_for_completion": False}
        ti = SimpleNamespace(
            dag_id="d",
            run_id=self.run_id,
            task_id="t",
            map_index=index,
            max_tries=self.max_tries,
            xcom_push=lambda key, value: None,
        )
        store = {"task_state_store": self.stores.setdefault(index, Store())} if keeps else {}
        tried = kind(task_id="t", retries=2, **arguments)
        return tried.execute({"ti": ti} | store)

    def jobs(self, *outputs):
        """The statuses of these jobs."""
        with Client(base_url=self.service.base_url) as client:
            return [client.jobs.retrieve(output["job_id"]).status for output in outputs]


@pytest.fixture
def tries(stuck, monkeypatch):
    connection = {"conn_type": "tuneway", "host": stuck.base_url, "extra": {"settle": 0}}  # it shows at once
    monkeypatch.setenv("AIRFLOW_CONN_TUNEWAY_DEFAULT", json.dumps(connection))
    return Tries(stuck)


@pytest.fixture
def logged(capsys, caplog):
    """What tasks have logged: Airflow's versions do it in several ways."""
    return lambda: capsys.readouterr().out + caplog.text


def change(data, seed=1):
    data.write_text("\n".join(map(json.dumps, chats(20, seed=abs(hash(str(data))) + seed))) + "\n")


@pytest.mark.parametrize("reuse", ["run", "content", "never"])
def test_a_retry_goes_on_with_its_job_and_does_not_read_the_data_again(tries, data, reuse):
    first = tries.run(training_data=data, reuse=reuse)
    data.unlink()

    again = tries.run(training_data=data, reuse=reuse)

    assert again == first
    assert again["data"][0]["rows"] == 24


def test_a_retry_of_a_decorated_function_does_not_call_it_again(tries, data):
    called = []

    def recipe():
        called.append(1)
        return Recipe(model="gpt-4o-mini", training_data=data)

    def decorated(**arguments):
        with DAG("decorated_retry", schedule=None):
            return fine_tune_task(recipe, **arguments)().operator

    assert tries.run(decorated) == tries.run(decorated)
    assert called == [1]


def test_a_retry_whose_job_has_failed_meanwhile_reads_its_data_and_trains_anew(tries, data):
    first = tries.run(training_data=data)
    with Client(base_url=tries.service.base_url) as client:
        client.cancel(first["job_id"])

    again = tries.run(training_data=data)

    assert again["job_id"] != first["job_id"]
    assert tries.run(training_data=data) == again


def test_before_airflow_kept_it_a_retry_finds_its_job_by_its_data(tries, data, logged):
    first = tries.run(training_data=data, keeps=False)

    assert tries.run(training_data=data, keeps=False, on_stale_data="cancel") == first
    assert "on_stale_data has no effect: before 3.3" in logged()


class BrokenStore:
    def get(self, name):
        raise RuntimeError("no answer")

    def set(self, name, value):
        raise RuntimeError("no answer")


def test_a_store_that_does_not_answer_does_not_stop_a_task(tries, data, logged):
    tries.stores[-1] = BrokenStore()

    assert tries.run(training_data=data) == tries.run(training_data=data)

    told = logged()
    assert "The job can't be stored in Airflow" in told
    assert "can't be read from Airflow" in told


@EACH
def test_unchanged_data_is_the_same_job_after_a_clear(tries, data, on_stale_data):
    first = tries.run(training_data=data, on_stale_data=on_stale_data)
    tries.clear()

    assert tries.run(training_data=data, on_stale_data=on_stale_data) == first
    assert tries.jobs(first) == ["validating_files"]


def test_a_clear_with_changed_data_goes_on_with_the_running_job_and_warns(tries, data, logged):
    first = tries.run(training_data=data)
    change(data)
    tries.clear()

    again = tries.run(training_data=data)

    assert again == first  # with the facts of the data that it trains
    [warning] = [line for line in logged().splitlines() if "the data has changed since" in line]
    assert f"{first['job_id']} was created: this attempt goes on with it" in warning
    assert "warning" in warning.lower()


@pytest.mark.parametrize("cleared", [False, True])
def test_changed_data_cancels_the_running_job_and_trains_anew_if_that_is_asked_for(tries, data, cleared):
    first = tries.run(training_data=data, on_stale_data="cancel")
    change(data)
    if cleared:
        tries.clear()

    again = tries.run(training_data=data, on_stale_data="cancel")

    assert tries.jobs(first, again) == ["cancelled", "validating_files"]
    assert [file["rows"] for file in again["data"]] == [20]


@pytest.mark.parametrize("cleared", [False, True])
def test_changed_data_fails_the_task_and_leaves_the_job_if_that_is_asked_for(tries, data, cleared):
    first = tries.run(training_data=data, on_stale_data="fail")
    change(data)
    if cleared:
        tries.clear()

    with pytest.raises(AirflowFailException, match=f"the data has changed since {first['job_id']} was created"):
        tries.run(training_data=data, on_stale_data="fail")

    assert tries.jobs(first) == ["validating_files"]


def test_changed_data_never_cancels_a_job_that_another_run_has_made(tries, data):
    first = tries.run(training_data=data, reuse="content")
    [note] = tries.stores[-1].values()
    other = Tries(tries.service)
    other.stores[-1] = Store(tuneway_job=note)
    change(data)

    again = other.run(training_data=data, reuse="content", key="another", on_stale_data="cancel")

    assert tries.jobs(first, again) == ["validating_files", "validating_files"]


@EACH
def test_a_clear_that_reuses_nothing_makes_a_new_job_and_leaves_the_other(tries, data, on_stale_data):
    first = tries.run(training_data=data, reuse="never", on_stale_data=on_stale_data)
    change(data)
    tries.clear()

    again = tries.run(training_data=data, reuse="never", on_stale_data=on_stale_data)

    assert again["job_id"] != first["job_id"]
    assert tries.jobs(first, again) == ["validating_files", "validating_files"]


@EACH
def test_a_file_that_sorts_in_first_is_no_changed_data_for_the_mapped_tasks_behind_it(tries, tmp_path, on_stale_data):
    files = [tmp_path / name for name in ("a.jsonl", "b.jsonl", "c.jsonl")]
    for number, file in enumerate(files):
        change(file, number)
    before = [
        tries.run(training_data=file, index=index, on_stale_data=on_stale_data) for index, file in enumerate(files[1:])
    ]
    for cleared in (True, False):
        if cleared:
            tries.clear()
        after = [
            tries.run(training_data=file, index=index, on_stale_data=on_stale_data) for index, file in enumerate(files)
        ]

        assert [one["job_id"] for one in after[1:]] == [one["job_id"] for one in before]
        assert len({one["job_id"] for one in after}) == 3
        assert tries.jobs(*after) == ["validating_files"] * 3


def test_rows_of_a_mapped_task_that_are_others_after_a_clear_are_another_job(tries):
    rows = [
        [{"messages": chat["messages"]} for chat in chats(12, seed=abs(hash(str(tries))) + number)] for number in (1, 2)
    ]
    first = tries.run(training_data=rows[0], index=0, on_stale_data="cancel")
    tries.clear()

    again = tries.run(training_data=rows[1], index=0, on_stale_data="cancel")

    assert tries.jobs(first, again) == ["validating_files", "validating_files"]


def test_the_step_that_creates_a_job_does_the_same_with_other_files(tries, data):
    with Client(base_url=tries.service.base_url) as client:
        files = [client.upload(data).id]
        change(data)
        files.append(client.upload(data).id)
    create = {"kind": CreateFineTuningJobOperator, "model": "gpt-4o-mini"}
    first = tries.run(**create, training_file=files[0])
    tries.clear()

    assert tries.run(**create, training_file=files[1])["job_id"] == first["job_id"]
    again = tries.run(**create, training_file=files[1], on_stale_data="cancel")

    assert tries.jobs(first, again) == ["cancelled", "validating_files"]


def test_a_word_that_on_stale_data_does_not_know_is_refused_when_the_dag_is_parsed_or_before_anything_is_sent(tries):
    with pytest.raises(InvalidSpec, match="on_stale_data can't be 'keep'"):
        FineTuneOperator(task_id="t", training_data="/d", model="gpt-4o-mini", on_stale_data="keep")

    create = CreateFineTuningJobOperator(
        task_id="t", model="gpt-4o-mini", training_file="file-1", on_stale_data="{{ params.word }}"
    )
    create.on_stale_data = "rendered"
    with pytest.raises(AirflowFailException, match="on_stale_data can't be 'rendered'"):
        create.execute({"ti": SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1, max_tries=0)})


class LosesItsData(FineTuneOperator):
    """Its first try ends after the job was made, and its data is gone then."""

    def await_job(self, client, context, job_id):
        if context["ti"].try_number == 1:
            self.training_data.unlink()
            raise RuntimeError("the worker is lost")
        return super().await_job(client, context, job_id)


def test_airflow_itself_keeps_the_job_over_tries(run, service, data):
    pytest.importorskip("airflow.models.task_state_store", reason="Airflow keeps it from 3.3")
    with DAG("kept_over_tries", start_date=START, schedule=None) as dag:
        LosesItsData(
            task_id="tune", training_data=data, model="gpt-4o-mini", method={"type": "supervised", "n_epochs": 1},
            name="kept", retries=1, retry_delay=timedelta(0), timeout=60,
        )  # fmt: skip

    state, told = run(dag)

    assert state == "success"
    assert told["tune", "return_value"]["job_id"] == told["tune", "job_id"]


GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "airflow.md"
COUNTS = {
    "its own job": 1, "the job of that run": 1, "the job of this content": 1, "one job": 1,
    "a new job": 2, "a job each": 2,
}  # fmt: skip
CHANGES = {
    "a task is retried": {},
    "a task is cleared": {"before": Tries.clear},
    "another run, or a backfill of a new date": {"before": Tries.start_run},
    "a backfill of a date that has been run": {"before": Tries.clear},
    "mapped tasks with different content": {"first": {"index": 0}, "second": {"index": 1, "seed": 1}},
    "mapped tasks with the same content": {"first": {"index": 0}, "second": {"index": 1}},
    "the same, each with a `key` of its own": {
        "first": {"index": 0, "key": "one"},
        "second": {"index": 1, "key": "two"},
    },
}


def cells_of_the_guide():
    """Each cell of the guide's table of jobs: what happens, `reuse`, and what becomes of it."""
    lines = GUIDE.read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith('| What happens | `reuse="run"`'))
    for line in itertools.takewhile(lambda line: line.startswith("|"), lines[first + 2 :]):
        what, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        yield from ((what, *cell) for cell in zip(("run", "content", "never"), cells, strict=True))


def test_the_guides_table_of_jobs_has_the_cases_that_are_tried():
    assert {what for what, _, _ in cells_of_the_guide()} == set(CHANGES)


@pytest.mark.parametrize("keeps", [True, False], ids=["kept", "not kept"])
@pytest.mark.parametrize(("what", "reuse", "says"), list(cells_of_the_guide()))
def test_each_cell_of_the_guides_table_of_jobs_holds(tries, data, what, reuse, says, keeps):
    change = CHANGES[what]
    how = {"training_data": data, "reuse": reuse, "keeps": keeps}
    second = how | change.get("second", {})

    made = [tries.run(**how | change.get("first", {}))["job_id"]]
    change.get("before", lambda _: None)(tries)
    made.append(tries.run(**second)["job_id"])

    assert len(set(made)) == COUNTS[says]
    assert tries.run(**second)["job_id"] == made[1]  # and each of them is retried
