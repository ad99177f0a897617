"""All steps as one flow of tasks: check, upload, create, wait, register."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from inspect import signature
from typing import TYPE_CHECKING, Any, Unpack

from prefect_tuneway import _data, tasks
from prefect_tuneway._data import log_news
from prefect_tuneway._inputs import data_flow, describe_inputs
from prefect_tuneway._jobs import given
from prefect_tuneway._signature import spell_out
from prefect_tuneway._steps import AtService, Here, Step, TaskCall, arun, awaited, blocking, result_of, run
from prefect_tuneway._wait import seconds_in
from prefect_tuneway.credentials import Credentials, FineTuningCredentials, resolve
from prefect_tuneway.hooks import cancel_jobs
from tuneway import Recipe
from tuneway.choices import Reuse, check_word
from tuneway.flows import deadline_after
from tuneway.models import TrainingFields
from tuneway.recipe import RecipeFields
from tuneway.registry import Gate, NoWorseThanChampion, RegistrationFields, check_registration
from tuneway.report import Place, check_report_place

if TYPE_CHECKING:
    from tuneway import AsyncClient
    from tuneway.progress import Listener


class FineTuneFields(RecipeFields, RegistrationFields, total=False):
    """The fields of a `Recipe`, and those of how its model is registered."""


_FORM: dict[str, Any] = {
    # a deployment gives a gate as JSON
    "types": {"gates": Sequence[Gate | NoWorseThanChampion | Callable[..., Any]]},
    "defaults": {name: one.default for name, one in signature(check_registration).parameters.items()}
    | {"order": "given"},
}


@data_flow(name="fine_tune", on_cancellation=[cancel_jobs])
@spell_out(Recipe, RegistrationFields, **_FORM)
def fine_tune(
    *,
    credentials: Credentials = None,
    key: str | None = None,
    reuse: Reuse = "run",
    timeout: float | timedelta | None = None,
    report_to: Place | None = None,
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
        timeout: Seconds (or a timedelta) to wait for the job; it goes on when they have passed.
        report_to: Where the report of the training is written, if at all: a path, a URL of an object store such as
            `s3://reports/{job_id}.html`, or a `UPath` with credentials.
        metadata: Up to 13 pairs of your own; three of the 16 are the marks by which a retry and a cancel find the job.
        registry: Where to register: `sqlite:///models.db`, `mlflow:https://…`; else as the credentials say, else
            TUNEWAY_REGISTRY_URI.
        fields: The fields of `tuneway.Recipe` and of `tuneway.registry.RegistrationFields`.
    """
    return run(_whole(fields, credentials=credentials, key=key, reuse=reuse, timeout=timeout, report_to=report_to))


@data_flow(name="fine_tune", on_cancellation=[cancel_jobs])
@spell_out(fine_tune.fn, **_FORM)
async def afine_tune(
    *,
    credentials: Credentials = None,
    key: str | None = None,
    reuse: Reuse = "run",
    timeout: float | timedelta | None = None,  # noqa: ASYNC109 - of the service's work, not of this call
    report_to: Place | None = None,
    **fields: Unpack[FineTuneFields],
) -> dict[str, Any]:
    """`fine_tune`, to be awaited."""
    return await arun(
        _whole(fields, credentials=credentials, key=key, reuse=reuse, timeout=timeout, report_to=report_to)
    )


@blocking()
def check_and_upload(
    recipe: Recipe, *, credentials: Credentials, key: str | None, reuse: Reuse, then: RegistrationFields
) -> dict[str, Any]:
    """Check a recipe whole, with how its model is to be registered; then upload its data."""
    return result_of(_data.send(recipe, credentials=credentials, key=key, reuse=reuse, then=then))


_SEND = check_and_upload, awaited(check_and_upload)
_CREATE = tasks.create_fine_tuning_job, tasks.acreate_fine_tuning_job
_WAIT = tasks.wait_for_fine_tuning_job, tasks.await_for_fine_tuning_job
_REGISTER = tasks.register_model, tasks.aregister_model


def _whole(
    fields: Mapping[str, Any],
    *,
    credentials: Credentials,
    key: str | None,
    reuse: Reuse,
    timeout: float | timedelta | None,
    report_to: Place | None,
) -> Step[dict[str, Any]]:
    """Call the tasks, one after another."""
    check_word(reuse, Reuse, field="reuse")
    deadline_after(
        None if timeout is None else seconds_in(timeout), 0.0
    )  # a wrong time-out is refused before anything is sent
    if report_to is not None:
        check_report_place(report_to, field="report_to")
    fields = given(fields)
    then = {name: fields.pop(name) for name in RegistrationFields.__annotations__ if name in fields}
    recipe = Recipe(**fields)
    training = {name: fields[name] for name in TrainingFields.__annotations__ if name in fields}
    service, who = {"credentials": credentials}, {"key": key, "reuse": reuse}
    file = yield TaskCall(_SEND, {"recipe": recipe, "then": then, **service, **who})
    yield Here(lambda: describe_inputs(fields, file))
    limit = yield from _budget_left(recipe, credentials)
    job = yield TaskCall(_CREATE, {"training_file": file, "max_usd": limit, **training, **service, **who})
    done = yield TaskCall(_WAIT, {"job": job, "timeout": timeout, "report_to": report_to, **service})
    if "name" not in then:
        return done  # type: ignore[no-any-return]
    return (yield TaskCall(_REGISTER, {"job": done, **then, **service}))  # type: ignore[no-any-return]


def _budget_left(recipe: Recipe, credentials: Credentials) -> Step[float | None]:
    """The budget that the create step has to hold against the service's own price."""
    if recipe.max_usd is None:
        return None
    access: FineTuningCredentials = yield Here(lambda: resolve(credentials))

    async def left(client: AsyncClient, _tell: Listener) -> float | None:
        return client.offers.budget(recipe.max_usd)

    return (yield AtService(access.client_settings(), left, log_news))  # type: ignore[no-any-return]
