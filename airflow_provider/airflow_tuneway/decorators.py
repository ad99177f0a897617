"""`@task.fine_tune`: a function says what to train, and its task trains it.

@task.fine_tune(name="support-router", deferrable=True)
def tune(file_id):
return JobSpec(model="gpt-4o-mini", training_file=file_id, method=Supervised(n_epochs=3))

tune(upload.output)
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

from airflow_tuneway.operators import FineTuneOperator

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.bases.decorator import TaskDecorator

    from tuneway import JobSpec


class _FineTuneDecoratedOperator(DecoratedOperator, FineTuneOperator):
    """A fine-tune whose specification a function gives when the task runs."""

    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *FineTuneOperator.template_fields)
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **DecoratedOperator.template_fields_renderers,
        **FineTuneOperator.template_fields_renderers,
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
        kwargs.pop("multiple_outputs", None)  # what the function returns isn't the task's output
        super().__init__(
            python_callable=python_callable,
            op_args=op_args,
            op_kwargs=op_kwargs,
            model="as the function says",
            **kwargs,
        )
        self._given: JobSpec | None = None

    def execute(self, context: Context) -> Any:
        """Ask the function, then train."""
        from tuneway import JobSpec

        context_merge(context, self.op_kwargs)
        arguments = determine_kwargs(self.python_callable, self.op_args, context)
        given = self.python_callable(*self.op_args, **arguments)
        self._given = given if isinstance(given, JobSpec) else JobSpec(**given)
        return FineTuneOperator.execute(self, context)

    def spec(self) -> JobSpec:
        """What the function gave."""
        assert self._given is not None
        return self._given


def fine_tune_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Make a task of a function that returns a `JobSpec`, or a mapping of its fields.

    Args:
        python_callable: The function.
        kwargs: The arguments of `FineTuneOperator`, without those that make the specification.
    """
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=_FineTuneDecoratedOperator, **kwargs
    )
