"""Everything that can go wrong, as one tree.

    TunewayError
    ├── InvalidInput            refused here, before anything was sent; also a ValueError
    │   ├── InvalidSpec         a field of a recipe, a job specification or a setting; `.field`
    │   │   └── OverBudget      it would cost more than `max_usd`; `.report`
    │   └── InvalidDataset      the data has errors; `.report` lists them with their lines
    ├── MissingExtra            an optional part isn't installed; `.extra` names it
    ├── TransportError          no usable reply
    │   ├── ConnectionFailed    nothing was sent: safe to send again
    │   ├── ConnectionLost      sent, then silence: it may have been processed
    │   ├── RequestTimeout      sent, then too slow: it may have been processed
    │   └── BadReply            a reply that isn't this API's: HTML, cut JSON, too large
    ├── ApiError                the service refused; `.status`, `.code`, `.request_id`
    │   ├── BadRequest 400 · Unauthorized 401 · NotFound 404 · Conflict 409 · Unprocessable 422
    │   ├── Forbidden 403       the key may not do this
    │   │   └── TrainingNotAvailable    this account can't create jobs any more
    │   ├── RateLimited 429     wait a little and send again
    │   │   └── QuotaExhausted  a 429 that waiting seconds does not cure
    │   └── ServerError ≥500    it may have been processed
    ├── LookupFailed            what exists can't be told, so nothing was created
    ├── SubmitUncertain         sent several times, never seen: the next try starts with a look
    ├── RegistryError           the model registry can't do it; `.registry`
    │   ├── RegistryUnavailable not reachable, locked, or full: nothing was lost, try again
    │   ├── NotRegistered       no such model, version or alias
    │   └── GateRefused         registered, but an alias may not move to it; `.version`, `.verdicts`
    └── JobError                about a job; `.job_id`, `.job`
        ├── JobFailed           the service says failed, and why
        ├── JobCancelled        somebody cancelled it
        └── WaitTimeout         the deadline passed; the job goes on

Each class knows two things that decisions are made of: `retryable`, whether doing the same step again
later can succeed, and `processed`, whether the service acted on the request (`None`: can't be told).
Every message ends with what to do next. Errors survive pickling, since engines send them across processes.
"""

from __future__ import annotations

import copyreg
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from tuneway.dataset import DatasetReport
    from tuneway.models import Job
    from tuneway.registry import ModelVersion, Verdict


class TunewayError(Exception):
    """The root of the tree.

    Args:
        message: What happened.
        hint: What to do next; joined to the message when printed.
    """

    retryable: bool = False
    processed: bool | None = False

    def __init__(self, message: str, *, hint: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.status: int | None = details.pop("status", None)
        self.code: str | None = details.pop("code", None)
        self.param: str | None = details.pop("param", None)
        self.request_id: str | None = details.pop("request_id", None)
        self.job_id: str | None = details.pop("job_id", None)
        self.__dict__.update(details)

    def __str__(self) -> str:
        facts = [
            f"{name}: {value}"
            for name, value in (
                ("status", self.status),
                ("code", self.code),
                ("job", self.job_id if self.job_id and self.job_id not in self.message else None),
                ("request id", self.request_id),
            )
            if value
        ]
        text = f"{self.message} ({', '.join(facts)})" if facts else self.message
        return f"{text}\n{self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[Any, ...]:
        return copyreg.__newobj__, (type(self),), self.__dict__ | {"args": self.args}  # type: ignore[attr-defined]

    def __setstate__(self, state: dict[str, Any] | None) -> None:
        state = dict(state or {})
        self.args: tuple[Any, ...] = state.pop("args", ())
        self.__dict__.update(state)

    def about(self, job_id: str) -> Self:
        """Name the job that this error is about, unless it already names one."""
        self.job_id = self.job_id or job_id
        return self


class InvalidInput(TunewayError, ValueError):
    """Refused on this side, before anything was sent."""


class InvalidSpec(InvalidInput):
    """A field of a job specification, or a setting, is missing or out of its limits."""

    field: str

    def __init__(self, message: str, *, field: str, **details: Any) -> None:
        super().__init__(message, field=field, **details)


class OverBudget(InvalidSpec):
    """The training is estimated to cost more than `max_usd`, or its cost can't be told. Nothing was sent."""

    report: DatasetReport


class InvalidDataset(InvalidInput):
    """The training data breaks rules that the service enforces."""

    report: DatasetReport

    def __init__(self, message: str, *, report: DatasetReport, **details: Any) -> None:
        super().__init__(message, report=report, **details)


class MissingExtra(TunewayError):
    """An optional part is needed that isn't installed."""

    extra: str

    def __init__(self, message: str, *, extra: str, **details: Any) -> None:
        details.setdefault("hint", f"Install it: pip install 'tuneway[{extra}]'")
        super().__init__(message, extra=extra, **details)


class TransportError(TunewayError):
    """No usable reply came back."""

    retryable: bool = True
    processed: bool | None = None


class ConnectionFailed(TransportError):
    """The connection could not be made: nothing was sent."""

    processed: bool | None = False


class ConnectionLost(TransportError):
    """The connection broke after something was sent."""


class RequestTimeout(TransportError):
    """The request ran out of its time."""


class BadReply(TransportError):
    """The reply is not one that this API gives."""


class ApiError(TunewayError):
    """The service answered, and the answer is no; `retry_after` when it said how long to leave it alone."""

    processed: bool | None = False
    retry_after: float | None = None


class BadRequest(ApiError):
    """400: the service found a mistake in the request."""


class Unauthorized(ApiError):
    """401: no key, or one that the service doesn't know."""


class Forbidden(ApiError):
    """403: the key may not do this."""


class TrainingNotAvailable(Forbidden):
    """403 `training_not_available`: the account can't create fine-tuning jobs any more."""


class NotFound(ApiError):
    """404: no such thing, or not in this project."""


class Conflict(ApiError):
    """409: somebody else is at it; for a create it can't be told whether ours counted."""

    retryable: bool = True
    processed: bool | None = None


class Unprocessable(ApiError):
    """422: understood and refused."""


class RateLimited(ApiError):
    """429: too fast. It was not processed; waiting cures it."""

    retryable: bool = True


class QuotaExhausted(RateLimited):
    """429 for a quota or a daily limit: waiting seconds doesn't cure it."""

    retryable: bool = False


class ServerError(ApiError):
    """5xx (and 408): the service broke; it may have acted before it did."""

    retryable: bool = True
    processed: bool | None = None


class LookupFailed(TunewayError):
    """It can't be told what already exists, so nothing was created: fail closed."""

    retryable: bool = True


class SubmitUncertain(TunewayError):
    """A create was sent, its fate is unknown, and nothing showed within the settle window."""

    retryable: bool = True
    processed: bool | None = None


class RegistryError(TunewayError):
    """The model registry refused, or can't be used as it is.

    Args:
        message: What happened.
        registry: Where the registry lives, without credentials.
    """

    registry: str | None

    def __init__(self, message: str, *, registry: str | None = None, **details: Any) -> None:
        super().__init__(message, registry=registry, **details)


class RegistryUnavailable(RegistryError):
    """The registry can't be reached, is locked, or has no room. Every step on it can be repeated safely."""

    retryable: bool = True
    processed: bool | None = None


class NotRegistered(RegistryError):
    """The registry holds no such model, version or alias."""


class GateRefused(RegistryError):
    """A gate refused to let an alias move; the version itself is registered, and so is the verdict."""

    version: ModelVersion
    verdicts: list[Verdict]

    def __init__(self, message: str, *, version: ModelVersion, verdicts: list[Verdict], **details: Any) -> None:
        super().__init__(message, version=version, verdicts=verdicts, **details)


class JobError(TunewayError):
    """About one job."""

    job: Job | None

    def __init__(self, message: str, *, job: Job | None = None, **details: Any) -> None:
        details.setdefault("job_id", job.id if job else None)
        super().__init__(message, job=job, **details)


class JobFailed(JobError):
    """The job ended as failed; the service's own reason is in the message.

    Retryable only where the service blames itself: bad data fails again, and is paid for again.
    """

    SERVICE_FAULTS = frozenset({"server_error", "internal_error", "internal_server_error", "service_unavailable"})

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message, **details)
        self.retryable: bool = self.code in self.SERVICE_FAULTS


class JobCancelled(JobError):
    """The job was cancelled."""


class WaitTimeout(JobError):
    """The deadline of a wait passed while the job was still alive."""

    retryable: bool = True
