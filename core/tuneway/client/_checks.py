"""Everything that can be found wrong with a recipe before anything is sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tuneway import flows, progress
from tuneway.choices import Reuse, check_word
from tuneway.errors import InvalidSpec, OverBudget
from tuneway.models import JobSpec
from tuneway.progress import Listener
from tuneway.recipe import Recipe
from tuneway.requester import Requester

if TYPE_CHECKING:
    from tuneway.data import GivenData
    from tuneway.dataset import DatasetReport
    from tuneway.dataset.ready import Prepared

PRICES = "A recipe takes them as data_options={'prices': …}, the command line as --prices FILE."


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """A recipe, who asks for it, and what shall happen afterwards.

    Args:
        recipe: What to train: a recipe, or a specification whose files are uploaded already.
        requester: Who asks.
        reuse: Which existing jobs will do.
        account: The account, which knows what the service offers and whether it sends a bill.
        then: How the model is registered.
    """

    recipe: Recipe | JobSpec
    requester: Requester = field(default_factory=Requester)
    reuse: str = "run"
    account: flows.Account = field(default_factory=flows.Account)
    then: Mapping[str, Any] = field(default_factory=dict)

    def check_words(self) -> None:
        """Check everything but the data; quick, and without I/O.

        Raises:
            InvalidSpec: A field is wrong; `.field` says which.
        """
        from tuneway.registry import check_registration

        recipe = self.recipe
        check_word(self.reuse, Reuse, field="reuse")
        self.account.offers.check(recipe, service=self.account.service)
        flows.check_room(recipe.metadata, keep_origin=self.requester.keep_origin)
        flows.check_suffix(self.account, recipe)
        beside = recipe.validation_data if isinstance(recipe, Recipe) else recipe.validation_file
        check_registration(**self.then, training=recipe, validated=beside is not None)

    def check(self, listener: Listener) -> DatasetReport | None:
        """Check all of it; reads the data once. Gives what was found in it: None where it is uploaded already.

        Raises:
            InvalidSpec: A field is wrong, or the data isn't for this method.
            InvalidDataset: The data has errors.
            OverBudget: The training would cost more than `max_usd`.
        """
        if isinstance(self.recipe, JobSpec):
            self.check_words()
            return None
        with self.prepared(listener, self.recipe) as ready:
            return ready.report

    @contextmanager
    def prepared(self, listener: Listener, recipe: Recipe) -> Iterator[Prepared]:
        """Check all of it, as `check` does, with the data ready to be sent until the context ends."""
        self.check_words()
        keys = self.account.offers.row_keys
        with prepared(listener, recipe.data, row_keys=keys, **recipe.validation_options()) as ready:
            assert ready.report is not None
            self._judge(recipe, ready.report)
            yield ready

    def _judge(self, recipe: Recipe, report: DatasetReport) -> None:
        """Refuse data that isn't for this training."""
        report.raise_for_errors()
        _check_format(recipe, report)
        limit = recipe.max_usd
        later = self.account.local or self.account.offers.quote  # no bill, or the service's own price before a create
        problem = None if later or limit is None else report.budget_problem(limit)
        if problem is not None:
            hint = PRICES if report.cost is None else None
            raise OverBudget(problem, field="max_usd", report=report, hint=hint)


def _check_format(recipe: Recipe, report: DatasetReport) -> None:
    methods = {"preference": "dpo", "reinforcement": "reinforcement"}
    needed = methods.get(report.format or "")
    if needed is not None and needed != recipe.kind:
        raise InvalidSpec(
            f"method: the data is {report.format} data, and the method is {recipe.kind}",
            field="method",
            hint=f"Train it with the method {needed!r}.",
        )


@contextmanager
def prepared(
    listener: Listener, given: GivenData, *, max_line_bytes: int | None = None, **options: Any
) -> Iterator[Prepared]:
    """Read and check data. Until the context ends, it can be sent without reading it again.

    The listener receives the progress of the reading, and then what was found.
    """
    from tuneway.dataset.ready import checked_data, plan_of

    more = {} if max_line_bytes is None else {"max_line_bytes": max_line_bytes}
    plan = plan_of(**options)
    with checked_data(given, plan, on_progress=lambda step: listener(progress.Checking(*step)), **more) as ready:
        assert ready.report is not None
        listener(progress.DataChecked(ready.report))
        yield ready


def checked(listener: Listener, training_data: Any, *, validation_data: Any = None, **options: Any) -> DatasetReport:
    """Check data; the listener receives its progress, and then what was found."""
    from tuneway.data import GivenData

    given = GivenData.of(training_data, validation_data, options)
    with prepared(listener, given, **options) as ready:
        assert ready.report is not None
        return ready.report
