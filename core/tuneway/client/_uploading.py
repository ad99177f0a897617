"""Uploading data: checked and hashed in one reading, or not read again if it was checked before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneway import flows
from tuneway.client._checks import checked
from tuneway.client._fine_tune import UploadedFile
from tuneway.errors import InvalidInput, InvalidSpec
from tuneway.flows import Account, Facts, Flow
from tuneway.progress import Listener

if TYPE_CHECKING:
    from tuneway.dataset import DatasetReport

PathText = str | PathLike[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploading:
    """Training data, validation data, or both, on their way to the service.

    Args:
        training_data: The training file.
        validation_data: The validation file.
        report: What a check of these very files found; they aren't read again before they are sent.
        validate: Whether to check them now, unless there is a report.
        options: Further arguments of `tuneway.dataset.validate`.
        purpose: What the service is told that they are for.
        expires_after: Seconds after which the service deletes them.
    """

    training_data: PathText | None
    validation_data: PathText | None
    report: DatasetReport | None = None
    validate: bool = True
    options: Mapping[str, Any]
    purpose: str = "fine-tune"
    expires_after: int | None = None

    def send(self, account: Account) -> Flow[UploadedFile]:
        """Have the data on the service; the training file is sent first."""
        training, *validation = yield from flows.work(self._facts)
        file = yield from self._sent(account, training)
        beside = (yield from self._sent(account, validation[0])) if validation else None
        return file if beside is None else file.model_copy(update={"validation": beside})

    def _sent(self, account: Account, data: tuple[Path, Facts]) -> Flow[UploadedFile]:
        path, facts = data
        file = yield from flows.upload(account, path, facts, purpose=self.purpose, expires_after=self.expires_after)
        return UploadedFile.of(file, facts)

    def _facts(self, listener: Listener) -> list[tuple[Path, Facts]]:
        """Each file, with its hash and its size; bad data is refused here."""
        data = [path for path in (self.training_data, self.validation_data) if path is not None]
        if not data:
            raise InvalidSpec("there is no data to upload", field="training_data", hint="Give training_data.")
        report = self.report
        if report is None and not self.validate:
            from tuneway.dataset import fingerprint

            return [(Path(path), found) for path, found in [(path, fingerprint(path)) for path in data]]
        if report is None:
            report = checked(listener, self.training_data, validation_data=self.validation_data, **self.options)
        report.raise_for_errors()
        if [fspath(path) for path in data] != [one.path for one in report.reports]:
            raise InvalidInput("the report is about other files than those to be uploaded")
        return [(Path(path), one) for path, one in zip(data, report.reports, strict=True)]
