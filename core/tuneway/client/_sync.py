# Generated from _async.py by scripts/unasync.py: change that file, then run the script.
# fmt: off
"""The blocking client. Each method is one line: a flow, handed to the driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from tuneway import dialects, flows
from tuneway.client._blocking_operations import (
    Checkpoints,
    Files,
    Graders,
    Jobs,
    Models,
    Uploads,
)
from tuneway.client._blocking_steps import Steps
from tuneway.client._settings import ApiKey, NoCookies, Options, tls
from tuneway.dialects import Dialect
from tuneway.drivers import Driver
from tuneway.flows import Diagnosis, Offers, Poll, Retry
from tuneway.models import Job, MetricRow
from tuneway.watcher import Watcher


class Client(Steps):
    """Fine-tuning jobs on one service, for one account. Threads may share a client.

    Args:
        base_url: The service; else OPENAI_BASE_URL, else OpenAI's own.
        api_key: Else OPENAI_API_KEY. A service on this machine needs none. A function that gives a token that expires
            is asked again when the token's end is near, or when the service refuses the token. It gives a text; a
            text and the time of its end in epoch seconds; or an object with `token` and `expires_on`, as
            azure-identity does. A coroutine function is for `Client` alone, which calls others in a thread.
        organization: Else OPENAI_ORG_ID.
        project: Else OPENAI_PROJECT_ID.
        timeout: Seconds that one request may take in all, however slowly its reply drips.
        retry: How one request is sent again where that is safe.
        poll: How often a waiting call looks at its job: a `Poll`, or fields of one.
        settle: Seconds within which the service is trusted to show what a request has done; 10 unless it
            is on this machine, where it is 1.
        lookup_pages: The number of pages after which a search for a job or a file fails. Nothing is created then.
        dialect: Its name, such as "azure", or a `tuneway.dialects.Dialect` of your own; guessed from `base_url`.
        api_version: Azure's dated API version, else OPENAI_API_VERSION; its /openai/v1 needs none.
        service_options: What else the service needs; those that are left out come from the variables that the
            service's own SDK reads. Each dialect names its options.
        http: Your own `httpx.Client`, for proxies and certificates; you close it.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: ApiKey = None,
        organization: str | None = None,
        project: str | None = None,
        timeout: float = 60.0,
        retry: Retry | None = None,
        poll: Poll | Mapping[str, float] | None = None,
        settle: float | None = None,
        lookup_pages: int = 100,
        dialect: str | Dialect | None = None,
        api_version: str | None = None,
        service_options: Mapping[str, str] | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        options = Options(
            base_url=base_url, api_key=api_key, organization=organization, project=project, timeout=timeout,
            retry=retry, poll=poll, settle=settle, lookup_pages=lookup_pages, dialect=dialect,
            api_version=api_version, service_options=service_options,
        )  # fmt: skip
        self._wire, self._account = options.resolve()
        self._owned = http is None
        self._http = http or httpx.Client(verify=tls(), trust_env=not self._account.local, cookies=NoCookies())
        self._driver = Driver(self._wire, self._http)
        self._watcher = Watcher(self._account, self._driver)
        self.files: Files = Files(self._driver, self._account)
        self.uploads: Uploads = Uploads(self._driver, self._account)
        self.jobs: Jobs = Jobs(self._driver, self._account)
        self.models: Models = Models(self._driver, self._account)
        self.checkpoints: Checkpoints = Checkpoints(self._driver, self._account)
        self.graders: Graders = Graders(self._driver, self._account)

    @property
    def base_url(self) -> str:
        """The service's address."""
        return self._wire.base_url

    @property
    def offers(self) -> Offers:
        """What the service offers."""
        return self._account.offers

    def doctor(self) -> Diagnosis:
        """Find out which service this is, what it offers, and whether the key works. Creates nothing.

        It reads the lists of jobs and models. An error of the service is a part of the diagnosis.
        """
        wire = self._wire
        why = dialects.reason(dialects.DIALECTS, wire.dialect, wire.base_url, wire.api_version)
        options = {option.name: option.meaning for option in wire.dialect.options}
        return self._driver.run(flows.doctor(self._account, base_url=wire.base_url, why=why, options=options))

    def pause(self, job_id: str) -> Job:
        """Pause a job."""
        return self.jobs.pause(job_id)

    def resume(self, job_id: str) -> Job:
        """Resume a paused job."""
        return self.jobs.resume(job_id)

    def result_metrics(self, job: Job | str) -> list[MetricRow]:
        """Get the metrics of a succeeded job, step by step."""
        return self._driver.run(flows.result_metrics(self._account, job))

    def ask(self, model: str, messages: Sequence[Mapping[str, Any]], **options: Any) -> str:
        """Ask a model by chat completion, and return the text of its answer.

        Options are sent as they are. Without `temperature` the model is asked for its most likely answer
        (temperature 0), if it takes that option.
        """
        return self._driver.run(flows.ask(self._account, model, messages, options))

    def close(self) -> None:
        """Stop watching and close the connections; an `http` that was given is left open."""
        self._watcher.close()
        if self._owned:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r})"
