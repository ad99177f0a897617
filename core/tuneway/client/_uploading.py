"""Uploading data: checked and hashed in one reading, or not read again if it was checked before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tuneway import flows
from tuneway.calls import Source
from tuneway.client._checks import TrainingPlan, prepared
from tuneway.client._fine_tune import SentData, UploadedFile
from tuneway.flows import Account, Flow
from tuneway.progress import Listener
from tuneway.recipe import Recipe

if TYPE_CHECKING:
    from tuneway.data import GivenData
    from tuneway.dataset import DatasetReport
    from tuneway.dataset.ready import Prepared, ReadyFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploading:
    """Training data, validation data, or both, to be uploaded.

    Args:
        given: The data.
        report: What a check of this very data found; files aren't read again before they are sent.
        validate: Whether to check the data now, unless there is a report.
        options: Further arguments of `tuneway.dataset.validate`.
        purpose: What the files are for; it is sent to the service.
        expires_after: Seconds after which the service deletes them.
    """

    given: GivenData
    report: DatasetReport | None = None
    validate: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    purpose: str = "fine-tune"
    expires_after: int | None = None

    def send(self, account: Account) -> Flow[UploadedFile]:
        """Upload the data, the training file first."""
        with ExitStack() as stack:
            ready = yield from flows.work(lambda listener: stack.enter_context(self._prepared(listener, account)))
            return (yield from self.send_prepared(account, ready))

    def send_prepared(self, account: Account, ready: Prepared) -> Flow[UploadedFile]:
        """Send data that is ready."""
        report = ready.report
        training, *validation = ready.files
        file = yield from self._sent(account, training, report)
        if not validation:
            return file
        beside = yield from self._sent(account, validation[0], report and report.validation)
        return file.model_copy(update={"validation": beside})

    def _sent(self, account: Account, data: ReadyFile, report: DatasetReport | None) -> Flow[UploadedFile]:
        source = Source(data.file, size=data.facts.size_bytes, modified_ns=data.facts.modified_ns)
        file = yield from flows.upload(
            account, source, name=data.name, sha256=data.facts.sha256, purpose=self.purpose,
            expires_after=self.expires_after,
        )  # fmt: skip
        return UploadedFile.of(file, report)

    @contextmanager
    def _prepared(self, listener: Listener, account: Account) -> Iterator[Prepared]:
        """The data, ready to be sent; bad data is refused here."""
        with self._read(listener, account) as ready:
            if ready.report is not None:
                ready.report.raise_for_errors()
            yield ready

    def _read(self, listener: Listener, account: Account) -> AbstractContextManager[Prepared]:
        from tuneway.dataset.ready import data_of_report, hashed_data

        if self.report is not None:
            return data_of_report(self.given, self.report)
        if self.validate:
            return prepared(listener, self.given, row_keys=account.offers.row_keys, **self.options)
        return hashed_data(self.given)


def send_recipe(account: Account, plan: TrainingPlan, recipe: Recipe) -> Flow[SentData]:
    """Check a plan, and upload the data of its recipe. The data is read once."""
    with ExitStack() as stack:
        ready = yield from flows.work(lambda listener: stack.enter_context(plan.prepared(listener, recipe)))
        assert ready.report is not None
        file = yield from Uploading(given=recipe.data).send_prepared(account, ready)
        return SentData(ready.report, file)
