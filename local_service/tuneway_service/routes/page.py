"""The routes of the web pages; `tuneway_service.page` makes their content."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from tuneway._escape import url_segment
from tuneway.report._markup import h
from tuneway_service.answers import ask_for_text
from tuneway_service.auth import page_cookie
from tuneway_service.bodies import read_json
from tuneway_service.page import frame, job, overview
from tuneway_service.refusals import Refusal, wants_page
from tuneway_service.replies import service_of
from tuneway_service.routes.chat import HUNG_UP, find_model, while_connected
from tuneway_service.routes.models import cards_of
from tuneway_service.states import Move, WrongState

if TYPE_CHECKING:
    from starlette.requests import Request

QUESTION_LIMIT = 20_000
ANSWER_TOKENS = 400
STEERING = ("pause", "resume", "cancel")
MONTH = 30 * 24 * 3600


def html(text: str, status: int = 200) -> HTMLResponse:
    """A page, with the headers that protect it from other sites."""
    return HTMLResponse(text, status, headers=frame.HEADERS)


def shown(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Show refusals as pages."""

    async def show(request: Request) -> Response:
        try:
            return await handler(request)
        except (Refusal, WrongState) as error:
            status = error.status if isinstance(error, Refusal) else 400
            text = h("div", str(error), class_="failure")
            return html(frame.page("Not possible", "/", h("h1", "That isn't possible"), text), status)

    return show


def for_browsers(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Show a page only to browsers: a program that asks at this path means the API, and its base URL lacks /v1."""

    async def show(request: Request) -> Response:
        if not wants_page(request.headers):
            raise HTTPException(404)
        return await handler(request)

    return show


@shown
async def jobs_list(request: Request) -> Response:
    """`/`."""
    service = service_of(request)
    found = await service.database.read(overview.gather_jobs, request.query_params.get("after"))
    base_url = str(request.base_url) + "v1"
    return html(
        await anyio.to_thread.run_sync(
            overview.jobs_page, found, base_url, service.catalogue.bases, service.supervisor.slots
        )
    )


@for_browsers
@shown
async def files_list(request: Request) -> Response:
    """`/files`."""
    after = request.query_params.get("after")
    rows, more = await service_of(request).database.read(overview.gather_files, after)
    return html(overview.files_page(rows, more=more))


@for_browsers
@shown
async def models_list(request: Request) -> Response:
    """`/models`."""
    service = service_of(request)
    rows = await service.database.read(overview.gather_models)
    bases = service.catalogue.bases
    cards = await anyio.to_thread.run_sync(cards_of, service, {*bases.values(), *(row["trainer"] for row in rows)})
    return html(overview.models_page(rows, cards, bases))


@shown
async def one_job(request: Request) -> Response:
    """`/jobs/{job_id}`."""
    view = await service_of(request).database.read(job.gather, request.path_params["job_id"])
    return html(await anyio.to_thread.run_sync(job.job_page, view))


@shown
async def ask(request: Request) -> Response:
    """`POST /jobs/{job_id}/ask`: ask the model, and its base model for comparison."""
    service, form = service_of(request), await _form(request)
    view = await service.database.read(job.gather, request.path_params["job_id"])
    question, model = form.get("question", "").strip()[:QUESTION_LIMIT], form.get("model", "")
    asked = [{"role": "user", "content": question}]

    async def answer_all() -> list[tuple[str, str]]:
        names = dict.fromkeys((model, job.base_of(view)))
        found = [(name, await find_model(service, name)) for name in names]
        return [(name, (await ask_for_text(model, asked, max_tokens=ANSWER_TOKENS))[0]) for name, model in found]

    answers = await while_connected(request, answer_all)
    if answers is None:
        return Response(status_code=HUNG_UP)
    asked_of = job.Asked(question, model, answers)
    return html(await anyio.to_thread.run_sync(job.job_page, view, asked_of))


@shown
async def steer(request: Request) -> Response:
    """`POST /jobs/{job_id}/{move}`: pause, resume or cancel the job, then show it."""
    service, job_id, word = service_of(request), request.path_params["job_id"], request.path_params["move"]
    if word not in STEERING:
        raise Refusal(f"There is no action {word[:40]!r} on a job.", status=404)
    await service.steer(job_id, Move(word))
    return RedirectResponse(f"/jobs/{url_segment(job_id)}", 303)


async def login(request: Request) -> Response:
    """`/login`: ask for the token; a cookie derived from it gives access to the pages for a month."""
    token = service_of(request).settings.token
    wrong = None
    if request.method == "POST":
        given = (await _form(request)).get("token", "")
        if token is None or hmac.compare_digest(given.encode(), token.encode()):
            reply = RedirectResponse("/", 303)
            if token is not None:
                cookie = page_cookie(token, service_of(request).settings.data_dir)
                reply.set_cookie(cookie.name, cookie.value, max_age=MONTH, httponly=True, samesite="strict")
            return reply
        wrong = h("p", "That isn't the token.", class_="level error")
    field = h("input", type="password", name="token", aria_label="Token", autofocus="autofocus", required="required")
    form = h("form", field, h("button", "Open"), method="post")
    text = h("p", "This service was started with a token.", class_="note")
    return html(
        frame.page("Token", "", h("div", h("h1", "Token"), text, wrong, form, class_="login")), 401 if wrong else 200
    )


async def asset(request: Request) -> Response:
    """The style sheet and the script."""
    name = request.scope["path"].removeprefix("/")
    kind = "text/css" if name.endswith(".css") else "text/javascript"
    text = await anyio.to_thread.run_sync(frame.asset, name)
    return Response(text, media_type=kind, headers={"cache-control": "max-age=60"})


async def _form(request: Request) -> dict[str, str]:
    """The fields of a submitted form."""
    try:
        fields = parse_qs((await read_json(request)).decode("utf-8", "replace"), max_num_fields=10)
    except ValueError:
        raise Refusal("The form has too many fields.") from None
    return {name: values[0] for name, values in fields.items()}


routes = [
    Route("/", jobs_list),
    Route("/files", files_list),
    Route("/models", models_list),
    Route("/jobs/{job_id}", one_job),
    Route("/jobs/{job_id}/ask", ask, methods=["POST"]),
    Route("/jobs/{job_id}/{move}", steer, methods=["POST"]),
    Route("/login", login, methods=["GET", "POST"]),
    Route("/style.css", asset),
    Route("/live.js", asset),
]
