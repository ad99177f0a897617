"""All steps as one flow of tasks: check, upload, create, wait, register."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import signature
from typing import Any, Unpack

from prefect import flow

from prefect_tuneway import _data, tasks
from prefect_tuneway._jobs import given
from prefect_tuneway._signature import spell_out
from prefect_tuneway._steps import Step, TaskCall, arun, awaited, blocking, result_of, run
from prefect_tuneway.credentials import Credentials
from prefect_tuneway.hooks import cancel_jobs
from tuneway import DatasetReport, Recipe
from tuneway.choices import Reuse, check_word
from tuneway.errors import InvalidSpec
from tuneway.flows import deadline_after
from tuneway.models import TrainingFields
from tuneway.recipe import RecipeFields
from tuneway.registry import Gate, NoWorseThanChampion, RegistrationFields, check_registration


class FineTuneFields(RecipeFields, RegistrationFields, total=False):
    """The fields of a `Recipe`, and those of how its model is registered."""


_FORM: dict[str, Any] = {
    # a deployment gives a gate as JSON
    "types": {"gates": Sequence[Gate | NoWorseThanChampion | Callable[..., Any]]},
    "defaults": {name: one.default for name, one in signature(check_registration).parameters.items()}
    | {"order": "given"},
}


@flow(name="fine_tune", on_cancellation=[cancel_jobs])
@spell_out(Recipe, RegistrationFields, **_FORM)
def fine_tune(
    *,
    credentials: Credentials = None,
    key: str | None = None,
    reuse: Reuse = "run",
    timeout: float | None = None,
    **fields: Unpack[FineTuneFields],
) -> dict[str, Any]:
    """Check, upload, create, wait and register. The output is the version; without a `name`, the job.

    Everything is checked before anything is sent: the fields, the data and the pair of files, the budget, and the
    name, alias, checkpoint and gates of the registration. A run that is cancelled cancels its job; one that is
    killed, retried or run again adopts it.

    Args:
        credentials: The service: a block, the name of a stored one, or None for what the environment says.
        key: A word of your own, for several jobs of the same content in one flow run.
        reuse: Which existing jobs are adopted: those of this flow run ("run"), any of the same content ("content"),
            or none ("never").
        timeout: Seconds to wait for the job; it goes on when they have passed.
        metadata: Up to 13 pairs of your own; three of the 16 are the marks by which a retry and a cancel find the job.
        registry: Where to register: `sqlite:///models.db`, `mlflow:https://…`; else as the credentials say, else
            TUNEWAY_REGISTRY_URI.
        fields: The fields of `tuneway.Recipe` and of `tuneway.registry.RegistrationFields`.
    """
    return run(_whole(fields, credentials=credentials, key=key, reuse=reuse, timeout=timeout))


@flow(name="fine_tune", on_cancellation=[cancel_jobs])
@spell_out(fine_tune.fn, **_FORM)
async def afine_tune(
    *,
    credentials: Credentials = None,
    key: str | None = None,
    reuse: Reuse = "run",
    timeout: float | None = None,  # noqa: ASYNC109 - of the service's work, not of this call
    **fields: Unpack[FineTuneFields],
) -> dict[str, Any]:
    """`fine_tune`, to be awaited."""
    return await arun(_whole(fields, credentials=credentials, key=key, reuse=reuse, timeout=timeout))


@blocking(retries=0)
def check_recipe(
    recipe: Recipe, *, credentials: Credentials, key: str | None, reuse: Reuse, then: RegistrationFields
) -> DatasetReport:
    """Check a recipe whole, with how its model is to be registered. Nothing is sent."""
    return result_of(_data.check(recipe, credentials=credentials, key=key, reuse=reuse, then=then))


_CHECK = check_recipe, awaited(check_recipe)
_UPLOAD = tasks.upload_training_file, tasks.aupload_training_file
_CREATE = tasks.create_fine_tuning_job, tasks.acreate_fine_tuning_job
_WAIT = tasks.wait_for_fine_tuning_job, tasks.await_for_fine_tuning_job
_REGISTER = tasks.register_model, tasks.aregister_model


def _whole(
    fields: Mapping[str, Any], *, credentials: Credentials, key: str | None, reuse: Reuse, timeout: float | None
) -> Step[dict[str, Any]]:
    """Call the tasks, one after another. The data is read twice: to check it, and to send it."""
    check_word(reuse, Reuse, field="reuse")
    deadline_after(timeout, 0.0)  # a wrong time-out is refused before anything is sent
    fields = given(fields)
    then = {name: fields.pop(name) for name in RegistrationFields.__annotations__ if name in fields}
    _refuse_iterators(fields)
    recipe = Recipe(**fields)
    data = {name: getattr(recipe, name) for name in ("training_data", "validation_data", "row", "order")}
    training = {name: fields[name] for name in TrainingFields.__annotations__ if name in fields}
    service, who = {"credentials": credentials}, {"key": key, "reuse": reuse}
    report = yield TaskCall(_CHECK, {"recipe": recipe, "then": then, **service, **who})
    file = yield TaskCall(_UPLOAD, {**data, "report": report, **service})
    job = yield TaskCall(_CREATE, {"training_file": file, **training, **service, **who})
    done = yield TaskCall(_WAIT, {"job": job, "timeout": timeout, **service})
    if "name" not in then:
        return done  # type: ignore[no-any-return]
    return (yield TaskCall(_REGISTER, {"job": done, **then, **service}))  # type: ignore[no-any-return]


def _refuse_iterators(fields: Mapping[str, Any]) -> None:
    """Prefect stores the parameters of a flow, so an iterator is read to its end before the flow begins."""
    for name in ("training_data", "validation_data"):
        if isinstance(fields.get(name), Iterator):
            raise InvalidSpec(
                f"{name}: Prefect has read this iterator already, to store the parameters of the flow",
                field=name,
                hint="Give a list, or a function that returns the rows.",
            )
