"""The routes: a module for each kind of object of the API, one for the pages, and one for the health check."""

from __future__ import annotations

from starlette.routing import BaseRoute, Mount, Route, Router

from tuneway_service.routes import (
    chat,
    files,
    graders,
    health,
    jobs,
    memory,
    models,
    page,
    permissions,
    uploads,
    webhooks,
)


def all_routes() -> list[BaseRoute]:
    """All routes."""
    api = [
        *files.routes,
        *uploads.routes,
        *jobs.routes,
        *permissions.routes,
        *graders.routes,
        *memory.routes,
        *models.routes,
        *chat.routes,
        *webhooks.routes,
    ]
    # a path with a slash too many is unknown, as at OpenAI: a program that is redirected would send its body twice
    return [Route("/healthz", health.healthz), *page.routes, Mount("/v1", Router(api, redirect_slashes=False))]
