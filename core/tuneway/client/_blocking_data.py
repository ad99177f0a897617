# Generated from _async_data.py by scripts/unasync.py: change that file, then run the script.
# fmt: off
"""The blocking client's steps with data: check it, upload it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneway import flows
from tuneway.client._checks import checked
from tuneway.client._fine_tune import UploadedFile
from tuneway.client._uploading import Uploading
from tuneway.drivers import Driver
from tuneway.flows import Account
from tuneway.progress import Listener
from tuneway.recipe import Data

if TYPE_CHECKING:
    from tuneway.dataset import DatasetReport


class DataSteps:
    """Steps with data, on the account of a client."""

    _account: Account
    _driver: Driver

    def validate(
        self,
        training_data: Data | None = None,
        *,
        validation_data: Data | float | None = None,
        on_event: Listener | None = None,
        **options: Any,
    ) -> DatasetReport:
        """Check data on this machine: training data, validation data, or both as a pair. The report lists the errors.

        `options` are those of `tuneway.dataset.validate`.
        """

        def run(listener: Listener) -> DatasetReport:
            keys = self._account.offers.row_keys
            return checked(listener, training_data, validation_data=validation_data, row_keys=keys, **options)

        return self._driver.run(flows.work(run), on_event)

    def upload(
        self,
        training_data: Data | None = None,
        *,
        validation_data: Data | float | None = None,
        report: DatasetReport | None = None,
        validate: bool = True,
        purpose: str = "fine-tune",
        expires_after: int | None = None,
        on_event: Listener | None = None,
        **options: Any,
    ) -> UploadedFile:
        """Upload data: check it, hash it, and send it unless the service has it already.

        Training and validation data given together are checked as a pair: a row that is in both is an error. This
        can't be checked for files that are uploaded separately. Fewer than ten rows of validation data are a
        warning; fewer than ten rows of training data are an error.

        The result is the training file, or the validation file if only that is given.

        Args:
            training_data: A path or URL, rows, or a frame; see `tuneway.recipe.Data`.
            validation_data: Likewise, or the share of the training data that is split off for it.
            report: The report of `check` or `validate` about these files, so that they needn't be checked again.
                A file that was written since is refused.
            validate: Whether to check them; False only hashes them.
            purpose: What they are for; it is sent to the service.
            expires_after: Seconds after which the service deletes them.
            on_event: Called with news of what happens.
            options: Further arguments of `tuneway.dataset.validate`, such as `row` and `order`.

        Raises:
            InvalidDataset: The data has errors; nothing was sent.
        """
        from tuneway.data import GivenData

        uploading = Uploading(
            given=GivenData.of(training_data, validation_data, options), report=report, validate=validate,
            options=options, purpose=purpose, expires_after=expires_after,
        )  # fmt: skip
        return self._driver.run(uploading.send(self._account), on_event)
