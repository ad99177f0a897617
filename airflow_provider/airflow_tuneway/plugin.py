"""The report of a job beside its task: loss curve, data, log, checkpoints, in Airflow's own pages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]

PREFIX = "/tuneway"


class _Pages:
    """The pages, made with the first request: workers load plugins as well, and never show a page."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if self._app is None:
            from airflow_tuneway._pages import make_app

            self._app = await asyncio.to_thread(make_app)
        await self._app(scope, receive, send)


class TunewayPlugin(AirflowPlugin):
    """A tab on each task."""

    name = "tuneway"
    fastapi_apps = [{"app": _Pages(), "url_prefix": PREFIX, "name": "Tuneway"}]  # noqa: RUF012 - as declared there
    external_views = [  # noqa: RUF012
        {
            "name": "Fine-tuning",
            "href": f"{PREFIX}/report/{{DAG_ID}}/{{RUN_ID}}/{{TASK_ID}}/{{MAP_INDEX}}",
            "destination": "task_instance",
            "url_route": "fine-tuning",
        }
    ]
