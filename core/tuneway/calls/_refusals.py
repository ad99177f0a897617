"""Turn a refusal's status and body into an error that says what to do."""

from __future__ import annotations

import email.utils
import json
from collections.abc import Mapping
from typing import Any

from tuneway._escape import one_line
from tuneway.calls._http import WHERE, Response, bad_reply
from tuneway.errors import (
    ApiError,
    BadReply,
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    QuotaExhausted,
    RateLimited,
    ServerError,
    TrainingNotAvailable,
    Unauthorized,
    Unprocessable,
)

_LONGEST = 2000
_LONGEST_PAUSE = 1e9

BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    408: ServerError,
    409: Conflict,
    410: TrainingNotAvailable,  # so a service answers that has ended its fine-tuning
    422: Unprocessable,
    429: RateLimited,
}
BY_CODE: dict[str, type[ApiError]] = {
    "training_not_available": TrainingNotAvailable,
    "insufficient_quota": QuotaExhausted,
    "daily_rate_limit_exceeded": QuotaExhausted,
}
# gRPC's codes, by number: gateways in front of gRPC services send the number, Google sends the name
GRPC = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
EXHAUSTED = "RESOURCE_EXHAUSTED"
# Codes of gRPC and AWS for statuses of 400 to 499. AWS answers many refusals with 400.
BY_FOREIGN_CODE: dict[str, type[ApiError]] = {
    "INVALID_ARGUMENT": BadRequest,
    "NOT_FOUND": NotFound,
    "ALREADY_EXISTS": Conflict,
    "ABORTED": Conflict,
    "PERMISSION_DENIED": Forbidden,
    "UNAUTHENTICATED": Unauthorized,
    "DEADLINE_EXCEEDED": ServerError,
    "INTERNAL": ServerError,
    "UNAVAILABLE": ServerError,
    EXHAUSTED: RateLimited,
    "ValidationException": BadRequest,
    "ResourceNotFoundException": NotFound,
    "ConflictException": Conflict,
    "ResourceInUseException": Conflict,
    "AccessDeniedException": Forbidden,
    "UnrecognizedClientException": Unauthorized,
    "ExpiredTokenException": Unauthorized,
    "ThrottlingException": RateLimited,
    "TooManyRequestsException": RateLimited,
    "ServiceQuotaExceededException": QuotaExhausted,
    "InternalServerException": ServerError,
    "ServiceUnavailableException": ServerError,
}
UNKNOWN_URL = "unknown_url"
HINTS: dict[type[ApiError], str] = {
    Unauthorized: "Check the API key (OPENAI_API_KEY) and that it belongs to this base_url.",
    Forbidden: "The key is valid but may not do this: check its organisation, project and permissions.",
    NotFound: "Check the id, and that it was created with the same account and base_url.",
    TrainingNotAvailable: (
        "This account can't create fine-tuning jobs any more; a retry won't help. Files and existing models "
        "still work. Point base_url at another service that speaks this API, or run your own with `tuneway serve`; "
        "its option `--model NAME=TRAINER` keeps the model names of your pipelines."
    ),
    QuotaExhausted: "A quota or daily limit is used up: add credit, or try again tomorrow.",
    RateLimited: "Too many requests; try again later.",
    ServerError: "The service failed. Trying again is safe: an existing job is adopted, and nothing is paid twice.",
}


def refusal(response: Response, now: float = 0.0, *, repeatable: bool = True) -> ApiError | BadReply | None:
    """Give the error for a response; None for a success. `repeatable` is that of the request."""
    if 200 <= response.status < 300:
        return None
    if response.status < 400:
        return _redirect(response)
    if response.status in (404, 405) and _is_foreign(response.content):
        return _no_api(response)
    fault = _read_fault(response.content)
    code = _code(fault, response.headers)
    known = BY_CODE.get(code or "")
    asked = pause_asked(response.headers, now)
    if asked is None:
        asked = _pause_in(fault)
    kind = known or _kind(response.status, code)
    if code == EXHAUSTED and kind is RateLimited and asked is None and not repeatable:
        kind = known = QuotaExhausted  # a create takes of a quota; without a pause to wait for, none is meant
    error = kind(
        _text(fault.get("message")) or f"the service answered {response.status} and gave no reason",
        status=response.status,
        code=code,
        param=_text(fault.get("param")) or None,
        request_id=response.request_id,
        retry_after=asked,
        hint=f"Is /v1 missing from base_url? {WHERE}" if code == UNKNOWN_URL else HINTS.get(kind),
    )
    should_retry = response.headers.get("x-should-retry")
    if should_retry == "false":
        error.retryable = False
    elif should_retry == "true" and known is None:
        error.retryable = True
    return error


def _kind(status: int, code: str | None) -> type[ApiError]:
    """Choose the error class by status and code. For 5xx only the status counts: the service may have acted."""
    if status >= 500:
        return ServerError
    return BY_FOREIGN_CODE.get(code or "") or BY_STATUS.get(status) or BadRequest


def _code(fault: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
    """The code of a refusal, in the words of the service: OpenAI's, gRPC's, Google's or AWS'."""
    status = fault.get("status")
    if isinstance(status, str) and status in GRPC:
        return status
    aws = headers.get("x-amzn-errortype") or fault.get("__type")
    if isinstance(aws, str):
        return one_line(aws.partition(":")[0].rpartition("#")[2], _LONGEST)
    return _text(fault.get("code")) or _text(fault.get("type")) or None


def _pause_in(fault: Mapping[str, Any]) -> float | None:
    """The pause that Google asks for in the details of a refusal: `{"retryDelay": "7s"}`."""
    details = fault.get("details")
    for detail in details if isinstance(details, list) else []:
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str):
            return _seconds(delay.removesuffix("s"))
    return None


def _is_foreign(content: bytes) -> bool:
    """Whether a body isn't JSON, so that it is a web server's own, and no refusal of this API."""
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return bool(content.strip())
    return False


def _no_api(response: Response) -> BadReply:
    error = bad_reply(response, "nothing of this API is at this URL")
    error.retryable = error.processed = False
    return error


def _redirect(response: Response) -> BadReply:
    error = BadReply(
        f"unexpected redirect to {one_line(response.headers.get('location', 'nowhere').partition('?')[0], 200)!r}",
        status=response.status,
        request_id=response.request_id,
        hint="Correct base_url. Redirects aren't followed, so that the key isn't sent to another host.",
    )
    error.retryable = False
    return error


def pause_asked(headers: Mapping[str, str], now: float) -> float | None:
    """The pause in seconds that the service asks for; None if it asks for none, or for an invalid one."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name)
        if text is None:
            continue
        try:
            seconds = float(text) * unit
        except ValueError:
            seconds = _seconds_until(text, now)
        if 0 <= seconds < _LONGEST_PAUSE:
            return seconds
    return None


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 <= seconds < _LONGEST_PAUSE else None


def _seconds_until(date: str, now: float) -> float:
    try:
        return max(0.0, email.utils.parsedate_to_datetime(date).timestamp() - now)
    except (ValueError, OverflowError):
        return -1.0


def _read_fault(content: bytes) -> dict[str, Any]:
    """Find the reason in a body: the format of OpenAI, Azure, FastAPI, gRPC, Google or AWS, or plain text."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        text = content[:200].decode("utf-8", "replace").strip()
        return {} if text.startswith("<") else {"message": text}
    if not isinstance(body, dict):
        return {"message": _text(body)}
    fault = body.get("error", body)
    if isinstance(fault, str):
        return {"message": fault, **{k: body.get(k) for k in ("code", "param")}}
    if isinstance(fault, dict) and "message" not in fault and "detail" in fault:
        return {"message": _detail(fault["detail"])}
    return _translated(fault, bare=fault is body) if isinstance(fault, dict) else {}


def _translated(fault: dict[str, Any], *, bare: bool) -> dict[str, Any]:
    """Translate gRPC's number for a code, which gateways send in a bare body, and AWS' name for the message."""
    number = fault.get("code")
    code = GRPC[number] if bare and type(number) is int and 0 < number < len(GRPC) else number
    return {"message": fault.get("Message")} | fault | {"code": code}


def _detail(detail: Any) -> str:
    """Join the list of locations and messages of FastAPI's 422."""
    if not isinstance(detail, list):
        return _text(detail)
    return "; ".join(f"{_place(row.get('loc'))}: {_text(row.get('msg'))}" for row in detail if isinstance(row, dict))


def _place(loc: Any) -> str:
    return ".".join(map(_text, loc)) if isinstance(loc, list) else _text(loc)


def _text(value: Any) -> str:
    """Make one printable line of any JSON value."""
    if value is None:
        return ""
    try:
        text = value if isinstance(value, str) else json.dumps(value)
    except RecursionError:
        return ""
    return one_line(text, _LONGEST)
