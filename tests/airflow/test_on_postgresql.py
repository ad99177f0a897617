"""The same with Airflow's own data in PostgreSQL, as those who run it for real have it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.postgres import programs, running_postgres
from support.real_airflow import Airflow
from support.service import running_service
from support.support_chats import chats

from tuneway import Client

PROGRAMS = programs()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(PROGRAMS is None, reason="no PostgreSQL here: there is no initdb (Debian: postgresql)"),
]


@pytest.fixture
def airflow(tmp_path, monkeypatch):
    pytest.importorskip("psycopg2")
    data = tmp_path / "train.jsonl"
    data.write_text("\n".join(map(json.dumps, chats(24, seed=12))) + "\n")
    monkeypatch.setenv("TUNEWAY_TEST_DATA", str(data))
    with running_service() as trains, running_service(faults="stuck=1") as stuck, running_postgres(PROGRAMS) as place:
        registry = {"registry": f"sqlite:///{tmp_path / 'models.db'}"}
        connections = {
            "tuneway_default": {"conn_type": "tuneway", "host": trains.base_url, "extra": registry},
            "stuck": {"conn_type": "tuneway", "host": stuck.base_url},
        }
        with Airflow.running(connections, database=f"postgresql+psycopg2://{place}") as airflow:
            airflow.services = trains, stuck
            shutil.copy(Path(__file__).with_name("dags.py"), airflow.home / "dags" / "dags.py")
            yield airflow


def test_deferred_tasks_end_well_survive_their_triggerer_and_take_their_job_along(airflow):
    trains, stuck = (Client(base_url=service.base_url) for service in airflow.services)
    with trains, stuck:
        well = airflow.trigger("four_in_one")
        waits = airflow.trigger("stuck_deferred")

        airflow.until_task("four_in_one", well, "tune", "success")
        [job] = trains.jobs.list(metadata={"run": well})
        assert airflow.xcom("four_in_one", well, "tune", "return_value")["job_id"] == job.id

        airflow.until_task("stuck_deferred", waits, "tune", "deferred")
        airflow.until(lambda: "Validating training file" in airflow.log("stuck_deferred", waits, "tune"))
        airflow.kill("triggerer")
        starts = airflow.log("stuck_deferred", waits, "tune").count(" starting")
        airflow.start("triggerer")
        airflow.until(lambda: airflow.log("stuck_deferred", waits, "tune").count(" starting") > starts)
        [job] = stuck.jobs.list(metadata={"run": waits})
        assert not job.done

        airflow.set_state("stuck_deferred", waits, "tune", "failed")
        airflow.until(lambda: stuck.jobs.retrieve(job.id).status == "cancelled")
        assert airflow.log("stuck_deferred", waits, "tune").count("Validating training file") == 1
