"""All errors of Tuneway, as one tree.

    TunewayError
    ├── InvalidInput            refused by the client, before anything was sent; also a ValueError
    │   ├── InvalidSpec         a field of a recipe, a job specification or a setting is wrong; `.field`
    │   │   └── OverBudget      the training would cost more than `max_usd`; `.report`
    │   └── InvalidDataset      the data has errors; `.report` lists them with their lines
    ├── MissingExtra            an optional part isn't installed; `.extra` names it
    ├── TransportError          no usable reply came back
    │   ├── ConnectionFailed    the request wasn't sent; it is safe to send it again
    │   ├── ConnectionLost      the connection broke; the request may have been processed
    │   ├── RequestTimeout      the reply took too long; the request may have been processed
    │   └── BadReply            the reply isn't one of this API: HTML, cut JSON, too large
    ├── ApiError                the service refused; `.status`, `.code`, `.request_id`
    │   ├── BadRequest 400 · Unauthorized 401 · NotFound 404 · Conflict 409 · Unprocessable 422
    │   ├── Forbidden 403       the key may not do this
    │   │   └── TrainingNotAvailable    this account, or this service (410), can't create jobs any more
    │   ├── RateLimited 429     too many requests; wait a little and send again
    │   │   └── QuotaExhausted  a quota is used up; waiting for seconds doesn't help
    │   └── ServerError ≥500    the service broke; the request may have been processed
    ├── LookupFailed            existing jobs or files can't be read, so nothing was created
    ├── SubmitUncertain         sent several times and never listed; a retry lists again before it sends
    ├── RegistryError           the model registry refused; `.registry`
    │   ├── RegistryUnavailable the registry is unreachable, locked or full; nothing was lost, try again
    │   ├── NotRegistered       no such model, version or alias
    │   └── GateRefused         the version is registered, but an alias may not move to it; `.version`, `.verdicts`
    └── JobError                about a job; `.job_id`, `.job`
        ├── JobFailed           the job failed; the message has the service's reason
        ├── JobCancelled        the job was cancelled
        ├── UnknownStatus       the job has ended, with a status that is unknown here
        ├── StaleData           the data has changed, and the job of an earlier attempt still runs on the old one
        └── WaitTimeout         the deadline passed; the job goes on

Each class has two attributes for decisions: `retryable`, whether the same step can succeed later, and
`processed`, whether the service acted on the request (`None`: unknown). Messages end with what to do next.
Errors survive pickling, since engines send them between processes. Their texts have nothing that a terminal obeys.
"""

from __future__ import annotations

import copyreg
from typing import TYPE_CHECKING, Any, Self

from tuneway._escape import one_line, printable

if TYPE_CHECKING:
    from tuneway.dataset import DatasetReport
    from tuneway.models import Job
    from tuneway.registry import ModelVersion, Verdict


_LONGEST_FACT = 100


class TunewayError(Exception):
    """The base class of all errors.

    Args:
        message: What happened.
        hint: What to do next; printed below the message.
    """

    retryable: bool = False
    processed: bool | None = False

    def __init__(self, message: str, *, hint: str | None = None, **details: Any) -> None:
        message = printable(message)
        super().__init__(message)
        self.message: str = message
        self.hint: str | None = hint if hint is None else printable(hint)
        self.status: int | None = details.pop("status", None)
        self.code: str | None = details.pop("code", None)
        self.param: str | None = details.pop("param", None)
        self.request_id: str | None = details.pop("request_id", None)
        self.job_id: str | None = details.pop("job_id", None)
        self.__dict__.update(details)

    def __str__(self) -> str:
        facts = [
            f"{name}: {one_line(value, _LONGEST_FACT)}"
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
        """Set the job that this error is about, unless one is set."""
        self.job_id = self.job_id or job_id
        return self

    def at(self, where: str) -> Self:
        """Put where it happened before the message."""
        self.message = printable(f"{where}: {self.message}")
        self.args = (self.message, *self.args[1:])
        return self


class InvalidInput(TunewayError, ValueError):
    """The client refused the input, before anything was sent."""


class InvalidSpec(InvalidInput):
    """A field of a recipe or job specification, or a setting, is missing or out of its limits."""

    field: str

    def __init__(self, message: str, *, field: str, **details: Any) -> None:
        super().__init__(message, field=field, **details)


class OverBudget(InvalidSpec):
    """The training is estimated to cost more than `max_usd`, or its cost is unknown. Nothing was sent."""

    report: DatasetReport


class InvalidDataset(InvalidInput):
    """The training data breaks rules that the service enforces."""

    report: DatasetReport

    def __init__(self, message: str, *, report: DatasetReport, **details: Any) -> None:
        super().__init__(message, report=report, **details)


class MissingExtra(TunewayError):
    """An optional part that is needed isn't installed."""

    extra: str

    def __init__(self, message: str, *, extra: str, **details: Any) -> None:
        details.setdefault("hint", f"Install it: pip install 'tuneway[{extra}]'")
        super().__init__(message, extra=extra, **details)


class TransportError(TunewayError):
    """No usable reply came back."""

    retryable: bool = True
    processed: bool | None = None


class ConnectionFailed(TransportError):
    """The connection could not be made, so nothing was sent."""

    processed: bool | None = False


class ConnectionLost(TransportError):
    """The connection broke after a part of the request was sent."""


class RequestTimeout(TransportError):
    """The request took longer than the time-out."""


class BadReply(TransportError):
    """The reply isn't one of this API.

    Attributes:
        page: Whether it is a web page.
    """

    page: bool = False


class ApiError(TunewayError):
    """The service refused the request. `retry_after` is the pause in seconds that it asked for, if it did."""

    processed: bool | None = False
    retry_after: float | None = None


class BadRequest(ApiError):
    """400: the service found a mistake in the request."""


class Unauthorized(ApiError):
    """401: there is no key, or the service doesn't know it."""


class Forbidden(ApiError):
    """403: the key may not do this."""


class TrainingNotAvailable(Forbidden):
    """403 `training_not_available`, or 410: the account or the service can't create fine-tuning jobs any more."""


class NotFound(ApiError):
    """404: the object doesn't exist, or isn't in this project."""


class Conflict(ApiError):
    """409: the request conflicts with another one. After a create it is unknown whether the service acted on it."""

    retryable: bool = True
    processed: bool | None = None


class Unprocessable(ApiError):
    """422: the service understood the request and refused its content."""


class RateLimited(ApiError):
    """429: too many requests. This one was not processed; send it again after a pause."""

    retryable: bool = True


class QuotaExhausted(RateLimited):
    """429: a quota or a daily limit is used up. Waiting for seconds doesn't help."""

    retryable: bool = False


class ServerError(ApiError):
    """5xx (and 408): the service broke. It may have processed the request before."""

    retryable: bool = True
    processed: bool | None = None


class LookupFailed(TunewayError):
    """Existing jobs or files can't be read, so nothing was created."""

    retryable: bool = True


class SubmitUncertain(TunewayError):
    """A create was sent with an unknown result, and the service listed nothing within the settle window."""

    retryable: bool = True
    processed: bool | None = None


class RegistryError(TunewayError):
    """The model registry refused, or can't be used.

    Args:
        message: What happened.
        registry: The registry's URI, without credentials.
    """

    registry: str | None

    def __init__(self, message: str, *, registry: str | None = None, **details: Any) -> None:
        super().__init__(message, registry=registry, **details)


class RegistryUnavailable(RegistryError):
    """The registry is unreachable, locked or full. Every operation on it can be repeated safely."""

    retryable: bool = True
    processed: bool | None = None


class NotRegistered(RegistryError):
    """The registry has no such model, version or alias."""


class GateRefused(RegistryError):
    """A gate refused to move an alias. The version and the verdicts are stored."""

    version: ModelVersion
    verdicts: list[Verdict]

    def __init__(self, message: str, *, version: ModelVersion, verdicts: list[Verdict], **details: Any) -> None:
        super().__init__(message, version=version, verdicts=verdicts, **details)


class JobError(TunewayError):
    """An error about one job."""

    job: Job | None

    def __init__(self, message: str, *, job: Job | None = None, **details: Any) -> None:
        details.setdefault("job_id", job.id if job else None)
        super().__init__(message, job=job, **details)


class JobFailed(JobError):
    """The job failed. The message has the service's reason.

    It is retryable only if the service names an error of its own: bad data would fail, and cost, again.
    """

    SERVICE_FAULTS = frozenset({"server_error", "internal_error", "internal_server_error", "service_unavailable"})

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message, **details)
        self.retryable: bool = self.code in self.SERVICE_FAULTS


class JobCancelled(JobError):
    """The job was cancelled."""


class UnknownStatus(JobError):
    """The job has ended, as its other fields show, but its status is unknown here: `job.status`."""


class StaleData(JobError):
    """The data has changed, and the job of an earlier attempt still runs on the old data. No job was created."""


class WaitTimeout(JobError):
    """The deadline of a wait passed before the job ended."""

    retryable: bool = True
