"""Triggers: one waits for a job without a worker, on a poll that all waits share; one watches for new versions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from airflow.sdk.bases.xcom import BaseXCom
from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent

from airflow_tuneway._clients import lease
from airflow_tuneway._errors import as_payload
from airflow_tuneway._measures import Measures
from airflow_tuneway._registries import registry_of
from airflow_tuneway._runs import is_over, is_own, run_of
from airflow_tuneway._telling import task_log
from airflow_tuneway._threads import in_thread
from airflow_tuneway.hooks import DEFAULT_CONN_ID, FineTuningHook
from tuneway import AsyncClient, Job, Requester, WaitToken
from tuneway._escape import one_line
from tuneway.errors import NotRegistered, TunewayError
from tuneway.progress import Listener, Logged, News
from tuneway.steps import as_made

TOLD = "tuneway_told"
"""The XCom with the position up to which the job's log is copied: another triggerer goes on from there."""

TOLD_OF_KILLS = hasattr(BaseTrigger, "on_kill")
"""Whether Airflow calls `on_kill`: from 3.3. Before, a trigger that is cancelled finds out itself why."""

CANCEL_SECONDS = 25.0
"""The time to cancel a job in when the task is killed; Airflow gives 30 seconds."""


class FineTuningJobTrigger(BaseTrigger):
    """Waits until a job has ended, and copies its log into the task's.

    What is stored of it is small and holds no secret: Airflow keeps it in plain text.

    Args:
        token: The wait, as `WaitToken` dumps it: the job, the absolute deadline.
        conn_id: The connection.
        poll: How often to look: fields of `tuneway.Poll`, in place of those of the connection.
        cancel_on_kill: Whether the job is cancelled when the task is ended by a person.
        maker: The arguments of a `tuneway.Requester`: only jobs that it has made are cancelled. Left out, as in
            triggers that an earlier version stored, it is the task's run.
        made: The job's marks, where the job itself doesn't show them whole: `made` in the create step's output.
    """

    def __init__(
        self,
        token: Mapping[str, Any],
        conn_id: str = DEFAULT_CONN_ID,
        *,
        poll: Mapping[str, float] | None = None,
        cancel_on_kill: bool = True,
        maker: Mapping[str, Any] | None = None,
        made: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.token = dict(token)
        self.conn_id = conn_id
        self.poll = dict(poll) if poll else None
        self.cancel_on_kill = cancel_on_kill
        self.maker = dict(maker) if maker else None
        self.made = dict(made) if made else None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What Airflow stores."""
        return f"{__name__}.{type(self).__name__}", {
            "token": self.token,
            "conn_id": self.conn_id,
            "poll": self.poll,
            "cancel_on_kill": self.cancel_on_kill,
            "maker": self.maker,
            **({"made": self.made} if self.made else {}),
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then say how it ended."""
        listener = task_log(self.log)
        outcome: dict[str, Any] = {"job_id": self.token["job_id"], "job": None, "error": None}
        try:
            async with lease(self.conn_id, self.poll) as client:
                job = await self._wait(client, await self._resumed(), listener)
            outcome["job"] = job.model_dump(mode="json", exclude_none=True)
        except asyncio.CancelledError:
            if not TOLD_OF_KILLS:
                await self._end_quietly()
            raise
        except TunewayError as error:
            outcome["error"] = as_payload(error)
        outcome["last"] = listener.last
        yield TriggerEvent(outcome)  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Cancel the job if a person ended the task, and the task's run has made the job.

        Airflow calls this as well when the trigger merely moves to another triggerer, so the task's state
        decides.
        """
        if not self.cancel_on_kill:
            return
        job_id = self.token["job_id"]
        if not await in_thread(is_over, self.task_instance):
            self.log.info("The task goes on elsewhere, and so does %s", one_line(job_id))
            return
        maker = Requester(**self.maker) if self.maker else run_of(self.task_instance)
        async with (
            asyncio.timeout(CANCEL_SECONDS),
            lease(self.conn_id, self.poll) as client,
        ):
            if not is_own(as_made(await client.jobs.retrieve(job_id), {"made": self.made}), maker):
                self.log.info("The task was ended: %s was made elsewhere and goes on", one_line(job_id))
                return
            job = await client.cancel(job_id)
        self.log.info("The task was ended: %s is %s", one_line(job_id), one_line(job.status))
        await in_thread(Measures(self.task_instance, type(self).__name__).cancelled, job)

    async def _end_quietly(self) -> None:
        """Run `on_kill`. Log an error instead of raising it, so that the cancellation goes on."""
        try:
            await self.on_kill()
        except Exception:
            self.log.exception("The task was ended: whether its job still runs is unknown")

    async def _wait(self, client: AsyncClient, token: WaitToken, listener: Listener) -> Job:
        """Wait, and write each piece of news into this task's log as it comes.

        The shared poll calls its listeners outside of this task, where the log would be another's; so news goes
        through a queue.
        """
        news: asyncio.Queue[News | None] = asyncio.Queue()
        telling = asyncio.create_task(self._tell(news, listener))
        try:
            job = await client.wait(token, on_event=news.put_nowait)
        except asyncio.CancelledError:
            telling.cancel()
            raise
        finally:
            news.put_nowait(None)
            await asyncio.gather(telling, return_exceptions=True)
        return job

    async def _tell(self, news: asyncio.Queue[News | None], listener: Listener) -> None:
        """Write news into the task's log, each once: the position is stored before the lines are written."""
        while True:
            batch = [await news.get()]
            while not news.empty():
                batch.append(news.get_nowait())
            told = [item.token for item in batch if isinstance(item, Logged)]
            if told:
                await self._note(told[-1])
            for item in batch:
                if item is None:
                    return
                listener(item)

    async def _resumed(self) -> WaitToken:
        """The wait, from the position that another triggerer has stored."""
        token = WaitToken.model_validate(self.token)
        try:
            noted = await in_thread(_read_note, self.task_instance)
        except Exception:
            self.log.exception("The position in the job's log could not be read; the log is copied from its beginning")
            noted = None
        if noted is None or noted.job_id != token.job_id:
            return token
        return token.model_copy(update={"last_event": noted.last_event, "last_event_at": noted.last_event_at})

    async def _note(self, token: str) -> None:
        try:
            await in_thread(_write_note, self.task_instance, token)
        except Exception:
            self.log.exception("The position in the job's log could not be stored; a restart copies these lines again")


class ModelVersionTrigger(BaseEventTrigger):
    """Fires when a registered model has a new version: for an `AssetWatcher`.

        Asset("router", watchers=[AssetWatcher("new version", trigger=ModelVersionTrigger("support-router"))])

    Versions that are there when the watch begins aren't news. Where Airflow keeps state for assets (from
    3.3), what is registered while no triggerer runs is reported later.

    Args:
        name: The model's name.
        alias: Only versions that this alias has moved to; else any.
        registry: Where it is registered; else as the connection says, if there is one, else `[tuneway] registry`
            in Airflow's configuration, else TUNEWAY_REGISTRY_URI.
        conn_id: A connection that names the registry.
        poke_interval: Seconds between two looks.
    """

    def __init__(
        self,
        name: str,
        *,
        alias: str | None = None,
        registry: str | None = None,
        conn_id: str | None = None,
        poke_interval: float = 60.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.name = name
        self.alias = alias
        self.registry = registry
        self.conn_id = conn_id
        self.poke_interval = poke_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What Airflow stores."""
        return f"{__name__}.{type(self).__name__}", {
            "name": self.name,
            "alias": self.alias,
            "registry": self.registry,
            "conn_id": self.conn_id,
            "poke_interval": self.poke_interval,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look now and then; fire when another version is the newest."""
        seen = await self._recall()
        while True:
            try:
                found = await in_thread(self._newest)
            except TunewayError as error:
                if not error.retryable:
                    raise
                self.log.warning("The registry can't be read, trying again in %s s: %s", self.poke_interval, error)
            else:
                number = found["version"] if found else 0
                if seen is not None and number not in (0, seen):
                    yield TriggerEvent(found)  # type: ignore[no-untyped-call]
                if number != seen:
                    seen = number
                    await self._remember(seen)
            await asyncio.sleep(self.poke_interval)

    def _newest(self) -> dict[str, Any] | None:
        """The version in question, as it is now; blocking."""
        from tuneway.registry import open_registry
        from tuneway.steps import version_summary

        uri = registry_of(self.registry, FineTuningHook(self.conn_id) if self.conn_id else None)
        try:
            return version_summary(open_registry(uri).get(f"{self.name}@{self.alias}" if self.alias else self.name))
        except NotRegistered:
            return None

    async def _recall(self) -> int | None:
        store = getattr(self, "asset_state_store", None)
        number = await store.aget(self._state_key) if store else None
        return number if isinstance(number, int) else None

    async def _remember(self, number: int) -> None:
        store = getattr(self, "asset_state_store", None)
        if store:
            await store.aset(self._state_key, number)

    @property
    def _state_key(self) -> str:
        return f"tuneway_seen_{self.name}@{self.alias}" if self.alias else f"tuneway_seen_{self.name}"


def _read_note(ti: Any) -> WaitToken | None:
    note = None if ti is None else BaseXCom.get_value(ti_key=ti, key=TOLD)
    return WaitToken.load(note) if note else None


def _write_note(ti: Any, note: str) -> None:
    if ti is not None:
        BaseXCom.set(
            key=TOLD, value=note, dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=ti.map_index
        )
