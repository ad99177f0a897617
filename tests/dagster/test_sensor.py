"""The sensor: every submission is reported once, whatever dies, and a tick stays within its time."""

from __future__ import annotations

import json
import time

import dagster as dg
import pytest
from dagster._core.definitions.partitions.context import partition_loading_context
from support.dagster_runs import checks, jobs_on, materializations, resources_of
from support.fault_server import answer

from dagster_tuneway import fine_tuned_model_assets, fine_tuning_sensor, output_of
from dagster_tuneway._registering import JOB_TAG
from tuneway import Client
from tuneway.errors import InvalidInput, InvalidSpec, NotRegistered, ServerError
from tuneway.registry import Gate, open_registry


class Daemon:
    """What Dagster's daemon does with a tick: writes its events down one after the other, then its cursor.

    `dies_after` events it dies, and forgets the tick.
    """

    def __init__(self, instance, defs, sensor):
        self.instance = instance
        self.defs = defs
        self.sensor = sensor
        self.cursor = None
        self.requests = {}

    def tick(self, *, dies_after=None):
        resources = self.defs.resources
        # Dagster's own, in a process of its own, looks up partitions in its instance; a context for tests doesn't
        partitions = partition_loading_context(dynamic_partitions_store=self.instance)
        with (
            partitions,
            dg.build_sensor_context(
                instance=self.instance, cursor=self.cursor, definitions=self.defs, resources=resources
            ) as context,
        ):
            result = self.sensor.evaluate_tick(context)
        for number, event in enumerate(result.asset_events):
            if number == dies_after:
                return result
            self.instance.report_runless_asset_event(event)
        if dies_after is not None:
            return result
        self.cursor = result.cursor
        for request in result.run_requests:
            self.requests[request.run_key] = request  # Dagster asks for each key once
        return result

    @property
    def open(self):
        return [one["token"]["job_id"] for one in json.loads(self.cursor or "{}").get("open", [])]


@pytest.fixture
def daemon(instance, resources):
    def make(*groups, **options):
        sensor = fine_tuning_sensor(*groups, **options)
        assets = [asset for group in groups for asset in group]
        return Daemon(instance, dg.Definitions(assets=assets, sensors=[sensor], resources=resources), sensor)

    return make


@pytest.fixture
def router(data, server):
    server.service.ends = None
    return group("router", data)


def group(name, data, **more):
    return fine_tuned_model_assets(name, training_data=str(data), model="gpt-4o-mini", wait="sensor", **more)


def reports(instance, assets, partition=None):
    """What was reported of a model: its materializations, and the results of its check."""
    key = assets.fine_tuned_model
    where = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition] if partition else None)
    made = [one.asset_materialization for one in instance.fetch_materializations(where, limit=100).records]
    check = dg.AssetCheckKey(key, "trained")
    history = instance.event_log_storage.get_asset_check_execution_history(check, limit=100)
    told = [record.event.dagster_event.event_specific_data for record in history]
    return made, told


def test_a_run_ends_when_it_has_submitted(run, service, router):
    result = run(router)

    (job,) = jobs_on(service, "router/job")
    assert not job.done
    assert list(materializations(result)) == ["training_file", "job"]


def test_the_sensor_reports_a_model_with_all_that_a_step_would_tell(run, instance, service, server, router, daemon):
    submitted = run(router)
    daemon = daemon(router)
    daemon.tick()
    (job,) = jobs_on(service, "router/job")
    assert daemon.open == [job.id]
    assert daemon.tick().skip_message == "1 job is open"
    server.service.train(job.id)

    daemon.tick()

    (made,), (check,) = reports(instance, router)
    (job,) = jobs_on(service, "router/job")
    assert made.description.startswith(f"`{job.fine_tuned_model}`: tuned from")
    assert made.metadata["train_loss"].value == 0.1
    assert made.metadata["loss_curve"].value.startswith("![")
    assert made.metadata["submitted_by"].value == submitted.run_id
    assert made.tags["dagster/data_version"] == job.fine_tuned_model
    assert (check.passed, check.metadata["submitted_by"].value) == (True, submitted.run_id)
    assert output_of(instance, router.fine_tuned_model)["fine_tuned_model"] == job.fine_tuned_model
    assert daemon.open == []


def test_the_run_that_it_asks_for_registers_that_very_job(run, service, server, data, daemon, registry):
    server.service.ends = None
    method = {"type": "supervised", "n_epochs": 3}
    assets = group("asked", data, alias="champion", gates=[Gate("train_loss", max=1)], method=method)
    run(assets)
    (job,) = jobs_on(service, "asked/job")
    server.service.train(job.id)
    daemon = daemon(assets)
    daemon.tick()
    (request,) = daemon.requests.values()

    result = run(assets, selection=request.asset_selection, tags=dict(request.tags))

    assert list(materializations(result)) == ["registered_model"]
    assert checks(result)["train_loss_max_1"].passed
    record = open_registry(registry).get("asked@champion").record
    assert (record.job_id, record.requested) == (job.id, {"n_epochs": 3})


@pytest.fixture
def registering(run, service, registry, tmp_path):
    """Starts the run that a daemon was last asked for; `fails` is whether the registry can't be reached then."""

    def start(assets, daemon, *, fails=False):
        request = list(daemon.requests.values())[-1]
        place = f"sqlite:///{tmp_path / 'nowhere' / 'deeper' / 'models.db'}" if fails else registry
        if fails:
            (tmp_path / "nowhere").write_text("in the way")
        run(
            assets, selection=request.asset_selection, partition_key=request.partition_key, tags=dict(request.tags),
            resources=resources_of(service, place, tmp_path), fails=fails,
        )  # fmt: skip
        (tmp_path / "nowhere").unlink(missing_ok=True)

    return start


@pytest.fixture
def clock(monkeypatch):
    """The time for the sensor, which a test moves on."""

    class Hand:
        at = time.time()

        def time(self):
            return self.at

    hand = Hand()
    monkeypatch.setattr("dagster_tuneway._asking.time", hand)
    return hand


def versions(registry, name):
    try:
        return len(open_registry(registry).versions(name))
    except NotRegistered:
        return 0


def test_a_registration_that_fails_is_asked_for_again_until_the_model_is_registered(
    run, service, server, data, daemon, registry, registering, clock
):
    server.service.ends = None
    assets = [group(name, data) for name in ("one", "two", "three")]
    daemon = daemon(*assets)
    for each in assets:
        run(each)
        (job,) = jobs_on(service, f"{each.recipe.name}/job")
        server.service.train(job.id)
        daemon.tick()
        registering(each, daemon, fails=each.recipe.name == "two")
    assert [versions(registry, each.recipe.name) for each in assets] == [1, 0, 1]
    assert daemon.tick().skip_message == "no job is open; 1 model is not registered yet"
    assert len(daemon.requests) == 3
    clock.at += 61

    daemon.tick()
    registering(assets[1], daemon)

    assert daemon.tick().skip_message == "no job is open"
    assert len(daemon.requests) == 4
    assert [versions(registry, each.recipe.name) for each in assets] == [1, 1, 1]


def test_what_never_gets_registered_is_said_at_each_tick_until_a_person_does_it(
    run, service, server, router, daemon, registry, registering, clock
):
    run(router)
    (job,) = jobs_on(service, "router/job")
    server.service.train(job.id)
    daemon = daemon(router)
    for number in range(1, 5):
        daemon.tick()
        assert len(daemon.requests) == number
        registering(router, daemon, fails=True)
        daemon.tick()
        clock.at += 1801
    for _ in range(2):
        said = daemon.tick().skip_message
        assert said.startswith(
            "no job is open; 1 model is not registered yet, and nobody is asked any more for router ("
        )
        assert job.id in said
    assert len(daemon.requests) == 4

    run(router, selection=[router.registered_model])

    assert daemon.tick().skip_message == "no job is open"
    assert versions(registry, "router") == 1


def test_a_model_is_not_registered_after_a_later_one_of_the_same_partition(
    run, service, server, data, daemon, registry, registering, clock
):
    server.service.ends = None
    assets = group("later", data, reuse="run")
    daemon = daemon(assets)
    for fails in (True, False):
        run(assets)
        server.service.train(jobs_on(service, "later/job")[-1].id)
        daemon.tick()
        registering(assets, daemon, fails=fails)
    clock.at += 61

    assert daemon.tick().skip_message == "no job is open"
    assert len(daemon.requests) == 2


def test_a_run_that_a_person_ended_is_not_asked_for_again(
    run, instance, service, server, router, daemon, registering, clock
):
    run(router)
    (job,) = jobs_on(service, "router/job")
    server.service.train(job.id)
    daemon = daemon(router)
    daemon.tick()
    registering(router, daemon, fails=True)
    (ended,) = instance.get_runs(dg.RunsFilter(tags={JOB_TAG: job.id}))
    instance.run_storage.handle_run_event(ended.run_id, _canceled(ended))
    clock.at += 1801

    assert "nobody is asked any more for router" in daemon.tick().skip_message


def _canceled(run):
    return dg.DagsterEvent(event_type_value=dg.DagsterEventType.RUN_CANCELED.value, job_name=run.job_name)


def test_a_run_for_a_job_that_is_no_more_the_models_knows_its_id_alone(run, service, server, data, daemon, registry):
    server.service.ends = None
    assets = group("older", data, method={"type": "supervised", "n_epochs": 3})
    run(assets)
    (job,) = jobs_on(service, "older/job")
    server.service.train(job.id)
    other = server.service.add_job()
    server.service.finish(other["id"], "succeeded")
    daemon(assets).tick()

    run(assets, selection=[assets.registered_model], tags={JOB_TAG: other["id"]})

    record = open_registry(registry).get("older").record
    assert (record.job_id, record.requested) == (other["id"], {})


@pytest.mark.parametrize(
    ("ends", "words"), [("failed", "line 3 is no good"), ("cancelled", "was cancelled"), (None, "before the deadline")]
)
def test_what_ends_badly_fails_the_check_with_the_reason(run, instance, service, server, data, daemon, ends, words):
    server.service.ends = None
    assets = group("badly", data, timeout=0 if ends is None else None)
    run(assets)
    (job,) = jobs_on(service, "badly/job")
    if ends:
        server.service.train(job.id, ends)
    daemon = daemon(assets)

    daemon.tick()
    daemon.tick()

    made, (check,) = reports(instance, assets)
    assert made == []
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.ERROR
    assert words in check.description
    assert daemon.open == []
    assert daemon.requests == {}


@pytest.mark.parametrize("dies_after", [0, 1, 2])
def test_a_daemon_that_dies_anywhere_reports_once(run, instance, service, server, router, daemon, dies_after):
    run(router)
    (job,) = jobs_on(service, "router/job")
    daemon = daemon(router)
    daemon.tick(dies_after=0)
    server.service.train(job.id)

    daemon.tick(dies_after=dies_after)
    daemon.tick()

    made, told = reports(instance, router)
    assert (len(made), len(told)) == (1, 1)
    assert len(daemon.requests) == 1


@pytest.mark.parametrize("dies_after", [0, 1])
def test_a_failure_is_reported_once_too(run, instance, service, server, router, daemon, dies_after):
    run(router)
    (job,) = jobs_on(service, "router/job")
    server.service.train(job.id, "failed")
    daemon = daemon(router)

    daemon.tick(dies_after=dies_after)
    daemon.tick()

    assert [check.passed for check in reports(instance, router)[1]] == [False]


def test_a_lost_cursor_loses_nothing_and_repeats_nothing(run, instance, service, server, data, daemon):
    server.service.ends = None
    first, second = group("kept_one", data), group("kept_two", data)
    run([*first, *second])
    server.service.train(jobs_on(service, "kept_one/job")[0].id)
    daemon = daemon(first, second)
    daemon.tick()
    daemon.cursor = None

    daemon.tick()
    server.service.train(jobs_on(service, "kept_two/job")[0].id)
    daemon.tick()

    for assets in (first, second):
        made, told = reports(instance, assets)
        assert (len(made), len(told)) == (1, 1)


def test_a_submission_that_shows_late_in_dagsters_log_is_found(
    run, instance, service, server, data, daemon, monkeypatch
):
    """Of two entries that are written at once, the later may be visible first."""
    server.service.ends = None
    assets = group("unordered", data, partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
    for partition in "ab":
        run(assets, partition_key=partition)
    fetch = instance.fetch_materializations

    def without_the_first(records_filter, *args, **kwargs):
        found = fetch(records_filter, *args, **kwargs)
        return found._replace(records=found.records[1:]) if hasattr(found, "_replace") else hide(found)

    def hide(found):
        from dagster._record import replace

        return replace(found, records=found.records[1:])

    daemon = daemon(assets)
    monkeypatch.setattr(instance, "fetch_materializations", without_the_first)
    daemon.tick()
    monkeypatch.undo()
    assert len(daemon.open) == 1

    daemon.tick()

    assert len(daemon.open) == 2


def test_what_is_older_than_a_minute_is_read_once(run, instance, service, router, daemon, monkeypatch):
    run(router)
    daemon = daemon(router)
    monkeypatch.setattr("dagster_tuneway._watch.SETTLED", -1.0)

    daemon.tick()

    kept = json.loads(daemon.cursor)
    assert len(daemon.open) == 1
    assert kept["after"]["router/job"] > 0
    assert kept["known"]["router/job"] == []


def test_materializing_again_reports_again_though_the_job_is_the_same(run, instance, service, server, router, daemon):
    run(router)
    server.service.train(jobs_on(service, "router/job")[0].id)
    daemon = daemon(router)
    daemon.tick()
    run(router)

    daemon.tick()

    assert len(jobs_on(service, "router/job")) == 1
    assert len(reports(instance, router)[0]) == 2
    assert len(daemon.requests) == 2


def test_each_partition_is_reported_by_itself(run, instance, service, server, data, daemon):
    server.service.ends = None
    assets = group("many", data, partitions_def=dg.StaticPartitionsDefinition(["a", "b", "c"]))
    for partition in "abc":
        run(assets, partition_key=partition)
    jobs = jobs_on(service, "many/job")
    server.service.train(jobs[0].id)
    server.service.train(jobs[2].id, "failed")
    daemon = daemon(assets)

    daemon.tick()

    assert daemon.open == [jobs[1].id]
    assert [len(reports(instance, assets, key)[0]) for key in "abc"] == [1, 0, 0]
    assert sorted(check.metadata["partition"].value for check in reports(instance, assets)[1]) == ["a", "c"]
    (request,) = daemon.requests.values()
    assert request.partition_key == "a"


def test_a_partition_that_was_deleted_meanwhile_is_reported_and_no_run_is_asked_for(
    run, instance, service, server, data, daemon
):
    server.service.ends = None
    instance.add_dynamic_partitions("customers", ["acme", "globex"])
    assets = group("deleted", data, partitions_def=dg.DynamicPartitionsDefinition(name="customers"))
    for partition in ("acme", "globex"):
        run(assets, partition_key=partition)
    for job in jobs_on(service, "deleted/job"):
        server.service.train(job.id)
    instance.delete_dynamic_partition("customers", "acme")
    daemon = daemon(assets)

    daemon.tick()

    assert daemon.open == []
    assert {made.partition for made in reports(instance, assets)[0]} == {"acme", "globex"}
    assert [request.partition_key for request in daemon.requests.values()] == ["globex"]


def test_a_hundred_and_fifty_jobs_are_looked_at_with_two_requests(instance, server, data, daemon, resources):
    server.service.ends = None
    assets = group("crowd", data)
    for number in range(150):
        server.service.add_job()
        output = {"job_id": f"ftjob-{number + 1}", "wait": {"job_id": f"ftjob-{number + 1}"}}
        instance.report_runless_asset_event(dg.AssetMaterialization(assets.job, metadata={"tuneway": output}))
    daemon = daemon(assets)
    server.forget()

    daemon.tick()

    assert len(daemon.open) == 150
    assert len(server.arrived) == 2


def test_a_tick_that_has_no_time_left_leaves_the_rest_to_the_next(
    run, instance, service, server, data, daemon, monkeypatch
):
    server.service.ends = None
    groups = [group(f"slow_{number}", data) for number in range(3)]
    run([asset for one in groups for asset in one])
    for number in range(3):
        server.service.train(jobs_on(service, f"slow_{number}/job")[0].id)
    clock = iter([0.0, 0.0, 0.0, 0.0, 0.0, 99.0])
    daemon = daemon(*groups, time_limit=10)
    with monkeypatch.context() as patch:
        patch.setattr("dagster_tuneway._watch.time", FakeTime(clock))
        daemon.tick()
    assert 0 < len(daemon.open) < 3

    daemon.tick()

    assert daemon.open == []
    assert [len(reports(instance, one)[0]) for one in groups] == [1, 1, 1]


class FakeTime:
    """A clock that a test winds; when it is done, it is late."""

    def __init__(self, moments):
        self._moments = moments

    def monotonic(self):
        return next(self._moments, 100.0)

    def time(self):
        return time.time()


def test_a_service_that_is_down_makes_a_red_tick_and_loses_nothing(run, instance, service, server, router, daemon):
    run(router)
    daemon = daemon(router)
    server.fault(answer({"error": {"message": "down"}}, 503), "GET", times=1)

    with pytest.raises(ServerError):
        daemon.tick()
    server.service.train(jobs_on(service, "router/job")[0].id)
    daemon.tick()

    assert len(reports(instance, router)[0]) == 1


def test_what_cannot_be_told_of_one_job_stops_no_other(run, instance, service, server, data, daemon, monkeypatch):
    server.service.ends = None
    odd, good = group("odd", data), group("good", data)
    run([*odd, *good])
    for name in ("odd", "good"):
        server.service.train(jobs_on(service, f"{name}/job")[0].id)
    (unreadable,) = jobs_on(service, "odd/job")
    outcome = Client.outcome

    def refuse(client, job, **more):
        if job.id == unreadable.id:
            raise ServerError("the service broke")
        return outcome(client, job, **more)

    daemon = daemon(odd, good)
    with monkeypatch.context() as patch:
        patch.setattr(Client, "outcome", refuse)
        daemon.tick()
    assert [len(reports(instance, one)[0]) for one in (odd, good)] == [0, 1]

    daemon.tick()

    assert [len(reports(instance, one)[0]) for one in (odd, good)] == [1, 1]


def test_a_job_that_is_gone_fails_its_check_after_some_looks(run, instance, service, server, router, daemon):
    run(router)
    server.service.jobs.clear()
    daemon = daemon(router)

    for _ in range(7):
        daemon.tick()
    assert reports(instance, router)[1] == []
    daemon.tick()

    (check,) = reports(instance, router)[1]
    assert not check.passed
    assert daemon.open == []


def test_a_job_without_a_models_name_gets_a_few_looks_to_be_given_one(run, instance, service, server, router, daemon):
    run(router)
    (job,) = jobs_on(service, "router/job")
    server.service.train(job.id)
    named = server.service.job(job.id)["fine_tuned_model"]
    server.service.job(job.id)["fine_tuned_model"] = None
    daemon = daemon(router)
    daemon.tick()
    assert daemon.open == [job.id]
    server.service.job(job.id)["fine_tuned_model"] = named

    daemon.tick()

    assert reports(instance, router)[0][0].metadata["fine_tuned_model"].value == named


def test_a_cursor_that_cannot_be_read_says_what_to_do(daemon, router):
    daemon = daemon(router)
    daemon.cursor = "{not json"

    with pytest.raises(InvalidInput, match="Reset it"):
        daemon.tick()


def test_what_a_newer_version_has_put_into_the_cursor_is_kept(run, daemon, router):
    run(router)
    daemon = daemon(router)
    daemon.tick()
    newer = json.loads(daemon.cursor)
    newer["open"][0]["colour"] = newer["mood"] = "blue"
    daemon.cursor = json.dumps(newer)

    daemon.tick()

    kept = json.loads(daemon.cursor)
    assert (kept["mood"], kept["open"][0]["colour"]) == ("blue", "blue")


def test_the_cursor_of_a_version_before_can_be_read(daemon, router, service, server):
    """As the first version wrote it; it stays readable."""
    server.service.add_job()
    daemon = daemon(router)
    daemon.cursor = (
        '{"known":{"router/job":[25,52]},"after":{"router/job":7},"open":[{"asset":"router/job","partition":"b",'
        '"event":52,"run":"d8ea613b-cc01-4ab2-b6f7-e7eda5f9ae2d","token":{"job_id":"ftjob-1","deadline":4e9},'
        '"failures":2,"nameless":1}]}'
    )

    daemon.tick()

    assert daemon.open == ["ftjob-1"]


def test_models_with_a_condition_of_their_own_are_not_asked_for(run, service, server, data, daemon):
    server.service.ends = None
    assets = group("eager", data, automation_condition=dg.AutomationCondition.eager())
    run(assets)
    server.service.train(jobs_on(service, "eager/job")[0].id)
    daemon = daemon(assets)

    daemon.tick()

    assert daemon.requests == {}


def test_the_check_can_be_run_by_a_person(run, service, server, router):
    def look():
        selection = dg.AssetSelection.checks_for_assets(router.fine_tuned_model)
        return checks(run(router, selection=selection))["trained"]

    before = look()
    run(router)
    meanwhile = look()
    server.service.train(jobs_on(service, "router/job")[0].id)
    after = look()

    for check in (before, meanwhile):
        assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert after.passed


def test_a_sensor_watches_one_account_and_only_what_waits_for_it(data):
    with pytest.raises(InvalidSpec, match="2 resources"):
        fine_tuning_sensor(group("one", data), group("two", data, resource_key="other"))
    with pytest.raises(InvalidSpec, match="waited for in their step"):
        fine_tuning_sensor(fine_tuned_model_assets("step", training_data=str(data), model="m"))
    with pytest.raises(InvalidSpec, match="0 resources"):
        fine_tuning_sensor()
