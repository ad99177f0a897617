"""Services that keep no metadata, but show the suffix of a job: the mark is there."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.fake_service import FakeService, reply
from support.stage import Stage
from support.virtual_driver import Crashed, VirtualDriver

from tuneway import JobSpec, calls, flows, progress
from tuneway.errors import InvalidSpec, LookupFailed
from tuneway.flows import CONTENT, KEY, Account, Marks, Offers, Suffix
from tuneway.models import Job
from tuneway.requester import Requester

LIST = "GET /fine_tuning/jobs"
CREATE = "POST /fine_tuning/jobs"
SHORT = Suffix(room=40, marks=("key",))
NIGHTLY = Requester(key="nightly")


def spec(**fields) -> JobSpec:
    return JobSpec(**{"model": "base", "training_file": "file-1"} | fields)


@pytest.fixture
def service(service: FakeService) -> FakeService:
    service.keeps_metadata = False
    return service


@pytest.fixture(params=[Suffix(), SHORT], ids=["three marks", "the key alone"])
def carrier(request) -> Suffix:
    return request.param


@pytest.fixture
def stage(service: FakeService, carrier: Suffix) -> Stage:
    return Stage(service, VirtualDriver(service), Account(carrier=carrier))


@pytest.fixture
def roomy(service: FakeService) -> Stage:
    """A service whose suffix has room for three marks."""
    return Stage(service, VirtualDriver(service), Account(carrier=Suffix()))


@pytest.fixture
def short(service: FakeService) -> Stage:
    """A service whose suffix has room for the key alone."""
    return Stage(service, VirtualDriver(service), Account(carrier=SHORT))


# --- written ---


@pytest.mark.parametrize(("carrier", "digits"), [(Suffix(), 32), (SHORT, 16)], indirect=["carrier"])
def test_the_mark_stands_after_the_users_own_suffix(stage, digits):
    stage.submit(spec=spec(suffix="release"))
    own, hyphen, mark = stage.service.jobs[0]["suffix"].rpartition("-")
    assert (own, hyphen, len(mark)) == ("release", "-", digits)


def test_without_a_suffix_of_the_users_own_the_mark_is_all_of_it(short):
    job = short.submit()
    assert short.service.jobs[0]["suffix"] == job.metadata[KEY][:16]


def test_the_marks_stand_one_after_the_other(roomy):
    job = roomy.submit(mark="nightly run")
    suffix = roomy.service.jobs[0]["suffix"]
    assert suffix[:12] == job.metadata[KEY][:12]
    assert suffix[12:22] == job.metadata[CONTENT][:10]
    roomy.submit(mark="another run", key="another")
    assert roomy.service.jobs[1]["suffix"][12:22] == suffix[12:22]
    assert roomy.service.jobs[1]["suffix"][22:] != suffix[22:]


def test_the_metadata_has_the_marks_as_well(stage):
    """A service that keeps it shows them in full."""
    stage.service.keeps_metadata = True
    stage.submit()
    assert stage.service.jobs[0]["metadata"].keys() >= {KEY, CONTENT}


def test_a_service_without_metadata_is_sent_none(stage):
    stage.account = replace(stage.account, offers=Offers(metadata=False))
    stage.submit()
    (create,) = stage.service.requests("POST", ".*/jobs")
    assert "metadata" not in create.json
    assert create.json["suffix"]


@pytest.mark.parametrize(("carrier", "room"), [(Suffix(), 31), (SHORT, 23)], indirect=["carrier"])
@pytest.mark.parametrize("field", ["suffix", "extra_body"])
def test_a_suffix_that_leaves_no_room_is_refused_before_anything_is_sent(stage, field, room):
    def given(length):
        return spec(**{field: "x" * length if field == "suffix" else {"suffix": "x" * length}})

    with pytest.raises(InvalidSpec, match=f"{room + 1} characters leave no room") as caught:
        stage.submit(spec=given(room + 1))
    assert caught.value.field == "suffix"
    assert f"at most {room}" in str(caught.value)
    assert stage.driver.trail == []
    stage.submit(spec=given(room))
    assert stage.service.jobs[0]["suffix"].startswith("x" * room + "-")
    assert len(stage.service.jobs[0]["suffix"]) == stage.account.carrier.room


def test_the_mark_is_no_part_of_the_content(stage):
    elsewhere = FakeService(files=stage.service.files)
    there = Stage(elsewhere, VirtualDriver(elsewhere)).submit(spec=spec(suffix="release"))
    here = stage.submit(spec=spec(suffix="release"))
    assert here.metadata[KEY] == there.metadata[KEY]
    assert here.metadata[CONTENT] == there.metadata[CONTENT]


# --- read ---


def test_a_job_shows_the_users_own_suffix_without_the_mark(stage):
    job = stage.submit(spec=spec(suffix="two-words"))
    stage.submit()
    assert job.suffix == "two-words"
    read = stage.driver.run(flows.request(stage.account, calls.jobs.retrieve(job.id)))
    assert read.suffix == "two-words"
    page = stage.driver.run(flows.request(stage.account, calls.jobs.listing()))
    assert [job.suffix for job in page.data] == [None, "two-words"]
    assert {read.metadata[KEY][:10], page.data[1].metadata[KEY][:10]} == {job.metadata[KEY][:10]}


@pytest.mark.parametrize("suffix", [None, "", "release", "f" * 40, "0123456789abcdef0", "x" + "0" * 32, 7])
def test_a_suffix_of_somebody_else_is_left_alone(stage, suffix):
    stage.service.add_job(id="ftjob-theirs", suffix=suffix)
    read = stage.driver.run(flows.request(stage.account, calls.jobs.retrieve("ftjob-theirs")))
    assert read.suffix == (suffix if isinstance(suffix, str) else None)
    assert read.metadata == {}


def test_other_replies_than_jobs_are_left_alone(stage):
    files = stage.driver.run(flows.request(stage.account, calls.files.listing()))
    assert [file.id for file in files.data] == ["file-1"]


@pytest.mark.parametrize("where", ["user_provided_suffix", "fine_tuned_model"])
def test_the_mark_is_found_where_else_services_show_it(stage, where):
    first = stage.submit()
    raw = stage.service.job(first.id)
    mark = raw.pop("suffix")
    raw |= {where: mark if where == "user_provided_suffix" else f"org/base-{mark}-1f2e3d4c"}
    stage.account = Account(carrier=stage.account.carrier)
    assert stage.submit().id == first.id


def test_a_job_that_goes_on_from_a_tuned_model_does_not_have_the_mark_in_that_models_name(stage):
    first = stage.submit()
    mark = stage.service.job(first.id)["suffix"]
    model = f"org/base-{mark}-1f2e3d4c"
    stage.service.add_job(id="ftjob-2nd", model=model, fine_tuned_model=f"{model}-0a1b2c3d", status="succeeded")
    assert stage.submit().id == first.id
    assert KEY not in (as_read(stage, "ftjob-2nd").metadata or {})


# --- found again ---


def test_a_retry_in_another_process_adopts_the_job(stage):
    first = stage.submit(spec=spec(suffix="release"))
    stage.account = Account(carrier=stage.account.carrier)
    assert stage.submit(spec=spec(suffix="release")).id == first.id
    assert stage.heard(progress.KeyNotKept) == []


def test_a_look_reads_the_list_without_asking_for_metadata(stage):
    stage.submit()
    assert all(dict(request.query).keys() == {"limit"} for request in stage.service.requests("GET", ".*/jobs"))


def test_another_key_gets_a_job_of_its_own(stage):
    assert stage.submit(key="monday").id != stage.submit(key="tuesday").id


def test_the_same_content_is_found_whoever_made_it_where_there_is_room_for_the_content(roomy):
    first = roomy.submit(key="monday")
    adopted = roomy.submit(key="tuesday", reuse="content")
    assert adopted.id == first.id
    assert adopted.metadata[CONTENT] == first.metadata[CONTENT]


def test_with_the_key_alone_content_finds_what_was_made_for_the_content(short):
    theirs = short.submit(key="monday")
    first = short.submit(key="tuesday", reuse="content")
    assert first.id != theirs.id
    assert short.submit(key="wednesday", reuse="content").id == first.id
    assert short.submit(key=None).id == first.id


def test_a_crash_at_any_effect_leaves_one_job(stage):
    for effect in range(1, 100):
        stage.account = Account(carrier=stage.account.carrier)
        try:
            stage.submit(key=f"task {effect}", dies_at=effect)
        except Crashed:
            stage.account = Account(carrier=stage.account.carrier)
            survivor = stage.submit(key=f"task {effect}")
            mine = [job for job in stage.service.alive if job["suffix"] == stage.service.job(survivor.id)["suffix"]]
            assert [job["id"] for job in mine] == [survivor.id]
        else:
            assert effect > 10  # all effects were tried
            return
    pytest.fail("the flow never came to its end")


def test_a_service_that_shows_no_suffix_is_reported(stage):
    def silent(request, exchange):
        exchange(request)
        stage.service.jobs[-1].pop("suffix")
        return reply(stage.service.jobs[-1])

    stage.driver.trouble[CREATE] = [silent]
    job = stage.submit()
    (news,) = stage.heard(progress.KeyNotKept)
    assert news.job.id == job.id
    assert "doesn't show the suffix of a job either" in str(news)
    assert stage.submit().id == job.id  # this process knows its id


# --- cancelled ---


def recall(stage, origin):
    return [job.id for job in stage.driver.run(flows.cancel_made_by(stage.account, origin))]


def test_where_there_is_room_for_the_origin_a_requesters_jobs_are_cancelled_by_it(roomy):
    mine = roomy.submit(mark="nightly run")
    theirs = roomy.submit(mark="another run", key="another")
    assert recall(roomy, "nightly run") == [mine.id]
    assert [job["id"] for job in roomy.service.alive] == [theirs.id]


def test_where_there_is_none_a_cancel_by_requester_says_what_to_do(short):
    short.submit(mark="nightly run")
    short.driver.trail.clear()
    with pytest.raises(LookupFailed, match="no room for who asked for it") as caught:
        recall(short, "nightly run")
    assert "cancel_marked" in (caught.value.hint or "")
    assert "`spec`" in (caught.value.hint or "")
    assert not caught.value.retryable
    assert short.driver.trail == []


@pytest.mark.parametrize("who", ["nightly", Requester()], ids=["an origin", "nobody in particular"])
def test_with_the_key_alone_a_cancel_needs_a_requester_that_has_a_key(short, who):
    short.submit()
    with pytest.raises(LookupFailed, match="no room for who asked for it"):
        short.driver.run(flows.cancel_made_by(short.account, who, spec()))


@pytest.mark.parametrize("carrier", [Suffix(), SHORT, Marks()], indirect=True)
def test_jobs_with_a_mark_that_was_told_are_cancelled_with_those_of_the_requester(stage):
    stage.service.keeps_metadata = isinstance(stage.account.carrier, Marks)
    job = stage.submit(mark="nightly run")
    (planned,) = stage.heard(progress.CreatePlanned)
    assert planned.origin_kept == (stage.account.carrier != SHORT)
    theirs = stage.submit(key="another", mark="another run")
    shown = as_read(stage, job.id)
    assert flows.has_key(shown, planned.mark)
    assert not flows.has_key(shown, "0" * 32)
    gone = stage.driver.run(flows.cancel_made_by(stage.account, "nightly run", marks=[planned.mark]))
    assert [one.id for one in gone] == [job.id]
    assert [job["id"] for job in stage.service.alive] == [theirs.id]


def test_with_the_key_alone_a_requesters_job_is_cancelled_by_its_specification(short):
    mine = short.submit(key="nightly")
    theirs = short.submit(key="another")
    shared = short.submit(key="nightly", reuse="content")
    gone = short.driver.run(flows.cancel_made_by(short.account, NIGHTLY, spec()))
    assert [job.id for job in gone] == [mine.id]
    assert {job["id"] for job in short.service.alive} == {theirs.id, shared.id}


@pytest.mark.parametrize("carrier", [Suffix(), SHORT, Marks()], indirect=True)
def test_all_jobs_with_a_mark_are_cancelled_also_one_that_shows_late(stage):
    stage.service.keeps_metadata = isinstance(stage.account.carrier, Marks)
    first = stage.submit()
    (planned,) = stage.heard(progress.CreatePlanned)
    theirs = stage.submit(key="another")
    stage.driver.at[stage.driver.now + 5] = lambda: stage.rival(id="ftjob-late")
    gone = stage.driver.run(flows.cancel_marked(stage.account, planned.mark))
    assert {job.id: job.status for job in gone} == {first.id: "cancelled", "ftjob-late": "cancelled"}
    assert [job["id"] for job in stage.service.alive] == [theirs.id]


@pytest.mark.parametrize("carrier", [Suffix(), SHORT, Marks()], indirect=True)
def test_a_mark_is_told_before_its_create_is_sent(stage):
    told = []

    def note(request, exchange):
        told.extend(news.mark for news in stage.heard(progress.CreatePlanned))
        return exchange(request)

    stage.driver.trouble[CREATE] = [note]
    assert told == []
    job = stage.submit()
    (planned,) = stage.heard(progress.CreatePlanned)
    assert told == [planned.mark]
    assert planned.mark in str(planned)
    assert stage.submit().id == job.id
    assert len(stage.heard(progress.CreatePlanned)) == 1  # nothing is planned where a job is adopted


def test_a_reply_without_the_suffix_is_no_matter_where_the_list_shows_it(stage):
    def silent(request, exchange):
        exchange(request)
        return reply({name: value for name, value in stage.service.jobs[-1].items() if name != "suffix"})

    stage.driver.trouble[CREATE] = [silent]
    job = stage.submit()
    assert job.metadata[KEY]
    assert stage.heard(progress.KeyNotKept) == []
    (planned,) = stage.heard(progress.CreatePlanned)
    assert [gone.id for gone in stage.driver.run(flows.cancel_marked(stage.account, planned.mark))] == [job.id]


def as_read(stage, job_id: str) -> Job:
    return stage.driver.run(flows.request(stage.account, calls.jobs.retrieve(job_id)))


def test_a_job_tells_by_its_suffix_whether_a_requester_has_made_it(roomy):
    job = as_read(roomy, roomy.submit(key="monday").id)
    assert flows.made_by(job, Requester(key="monday"))
    assert not flows.made_by(job, Requester(key="tuesday"))


def test_a_job_that_was_submitted_here_tells_it_with_the_key_alone_as_well(short):
    job = short.submit(key="monday")
    assert flows.made_by(job, Requester(key="monday"))
    assert not flows.made_by(job, Requester(key="tuesday"))


def test_news_of_a_job_have_its_whole_marks(stage):
    """A wrapper asks by them whether its requester has made the job that it is told of."""
    stage.submit(key="monday")
    stage.submit(key="monday")
    for news in (*stage.heard(progress.JobCreated), *stage.heard(progress.JobAdopted)):
        assert len(news.job.metadata[KEY]) == len(news.job.metadata[CONTENT]) == 32
        assert flows.made_by(news.job, Requester(key="monday"))


def test_with_the_key_alone_a_stored_mark_tells_it_in_every_process(short):
    job = as_read(short, short.submit(key="monday").id)
    (planned,) = short.heard(progress.CreatePlanned)
    assert not flows.made_by(job, Requester(key="monday"))  # whoever can't be sure doesn't cancel
    assert flows.made_by(job, Requester(key="monday"), mark=planned.mark)
    assert not flows.made_by(job, Requester(key="monday"), mark="0" * 32)
