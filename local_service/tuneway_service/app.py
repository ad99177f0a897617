"""The ASGI application: routes, middleware, and the service behind them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware

from tuneway_service import refusals
from tuneway_service.auth import AccessControl
from tuneway_service.faults import Faults
from tuneway_service.logs import AccessLog
from tuneway_service.routes import all_routes
from tuneway_service.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tuneway_service.executors import Executor
    from tuneway_service.settings import Settings


def build_app(settings: Settings, executor: Executor | None = None) -> Starlette:
    """The ASGI application. It opens the data directory now and closes it when it ends."""
    service = Service(settings, executor)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = Starlette(
        routes=all_routes(),
        middleware=[
            Middleware(AccessLog),
            *([Middleware(Faults, faults=service.faults, seed=settings.fault_seed)] if settings.faults else []),
            Middleware(AccessControl, token=settings.token, host=settings.host, data_dir=settings.data_dir),
        ],
        exception_handlers=refusals.handlers(),
        lifespan=lifespan,
    )
    app.state.service = service
    return app
