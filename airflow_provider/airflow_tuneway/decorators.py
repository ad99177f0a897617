"""`@task.fine_tune`: a function says what to train, and its task trains it.

@task.fine_tune(name="support-router", deferrable=True)
def tune(path):
return Recipe(model="gpt-4o-mini", training_data=path, method=Supervised(n_epochs=3))

tune("/data/train.jsonl")
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.bases.decorator import DecoratedOperator, task_decorator_factory
from airflow.sdk.definitions.context import context_merge

try:
    from airflow.sdk.bases.decorator import determine_kwargs
except ImportError:  # Airflow 3.1
    from airflow.utils.operator_helpers import determine_kwargs  # type: ignore[attr-defined]

from airflow_tuneway.operators._fine_tune import OneStepOperator
from airflow_tuneway.operators._inputs import revealed, with_rows_hidden

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.bases.decorator import TaskDecorator

    from tuneway import JobSpec, Recipe


class _FineTuneDecoratedOperator(DecoratedOperator, OneStepOperator):
    """A fine-tune whose recipe a function gives when the task runs."""

    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *OneStepOperator.template_fields)
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **DecoratedOperator.template_fields_renderers,
        **OneStepOperator.template_fields_renderers,
    }
    custom_operator_name: str = "@task.fine_tune"

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.pop("multiple_outputs", None)  # it was guessed from the function, whose value isn't the task's output
        super().__init__(python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, **kwargs)

    def render_template(self, *args: Any, **kwargs: Any) -> Any:
        """Render an argument, or a part of one. Airflow stores a description of rows and frames, never a row."""
        return with_rows_hidden(super().render_template(*args, **kwargs))

    def execute(self, context: Context) -> Any:
        """Train what the function says."""
        return OneStepOperator.execute(self, context)

    def training(self, context: Context) -> Recipe | JobSpec | Mapping[str, Any]:
        """Ask the function. A retry that goes on with its job doesn't."""
        given, named = revealed(self.op_args), revealed(self.op_kwargs)
        context_merge(context, named)
        arguments = determine_kwargs(self.python_callable, given, context)
        what: Recipe | JobSpec | Mapping[str, Any] = self.python_callable(*given, **arguments)
        return what


def fine_tune_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Make a task of a function that returns a `Recipe`, a `JobSpec`, or a mapping of the fields of either.

    Args:
        python_callable: The function.
        kwargs: The arguments of `SubmittingOperator`, `WaitingOperator` and `PublishingOperator`, `data_conn_id`, and
            `wait_for_completion`.
    """
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=_FineTuneDecoratedOperator, **kwargs
    )
