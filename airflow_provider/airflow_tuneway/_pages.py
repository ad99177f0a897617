"""The pages of the plugin. A user who may see a task's XComs may see the report of its job."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from fastapi import Depends, FastAPI
from fastapi.responses import HTMLResponse
from sqlalchemy import select

from airflow_tuneway.hooks import FineTuningHook
from airflow_tuneway.links import CONN_ID, JOB_ID
from tuneway._escape import html
from tuneway.errors import TunewayError
from tuneway.report import gather, render_html


def make_app() -> FastAPI:
    """The application that serves the pages."""
    app = FastAPI(openapi_url=None)
    may_see = Depends(requires_access_dag("GET", DagAccessEntity.XCOM))

    @app.get("/report/{dag_id}/{run_id}/{task_id}/{map_index}", dependencies=[may_see], response_class=HTMLResponse)
    def report(dag_id: str, run_id: str, task_id: str, map_index: str) -> HTMLResponse:
        stored = _told(dag_id, run_id, task_id, int(map_index) if map_index.isdecimal() else -1)
        if JOB_ID not in stored or CONN_ID not in stored:
            return _note("No fine-tuning job", "This task has none, or none yet.", status=404)
        try:
            with FineTuningHook(stored[CONN_ID]).new_client() as client:
                return HTMLResponse(render_html(gather(client, stored[JOB_ID])))
        except TunewayError as error:
            return _note("The service doesn't answer", str(error), status=502)

    return app


def _told(dag_id: str, run_id: str, task_id: str, map_index: int) -> dict[str, Any]:
    """Which job a task is about, and on which connection, from its XComs."""
    what = select(XComModel.key, XComModel.value).where(
        XComModel.dag_id == dag_id,
        XComModel.run_id == run_id,
        XComModel.task_id == task_id,
        XComModel.map_index == map_index,
        XComModel.key.in_((JOB_ID, CONN_ID)),
    )
    with create_session() as session:
        return {key: value for key, value in session.execute(what) if isinstance(value, str)}


def _note(title: str, text: str, *, status: int) -> HTMLResponse:
    body = f"<!doctype html><title>{html(title)}</title><h1>{html(title)}</h1><p>{html(text)}</p>"
    return HTMLResponse(f"{body}<style>body{{font:16px system-ui;margin:2rem;color-scheme:light dark}}</style>", status)
