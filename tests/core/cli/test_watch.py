"""What is made of news: where a job stands, how long it may take, and which lines a log gets."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tuneway import progress
from tuneway.cli._view import View
from tuneway.cli._watch import Watch
from tuneway.cli._wording import Lines
from tuneway.errors import RequestTimeout
from tuneway.models import Event, File, Job

START = 1_000_000.0


def job(**fields):
    return Job(**({"id": "ftjob-1", "status": "running", "created_at": START} | fields))


def step(number, *, at=0.0, total=100, **metrics):
    data = {"step": number, "total_steps": total, "train_loss": 1 / number} | metrics
    event = Event(id=f"e{number}", type="metrics", message=f"Step {number}", created_at=START + at, data=data)
    return progress.Logged("ftjob-1", event, "token")


def said(message, level="info"):
    return progress.Logged("ftjob-1", Event(id=message, message=message, level=level), "token")


def watching(*news):
    watch = Watch()
    for one in news:
        watch.hear(one)
    return watch


def test_what_remains_is_the_services_own_estimate():
    watch = watching(progress.JobChanged(job(estimated_finish=START + 90), None), step(1), step(2, at=1))
    assert watch.remaining(START + 30) == 60
    assert watch.remaining(START + 100) == 0


def test_without_an_estimate_the_pace_of_the_steps_tells():
    watch = watching(progress.JobChanged(job(), None), step(10, at=10), step(30, at=20))
    assert watch.remaining(START + 20) == pytest.approx(35)
    assert watch.remaining(START + 25) == pytest.approx(30)
    assert watch.share == 0.3


@pytest.mark.parametrize("news", [[], [step(1)], [step(1), step(2)], [step(2, at=1), step(1, at=2)]])
def test_what_can_not_be_told_is_not_told(news):
    assert watching(progress.JobChanged(job(), None), *news).remaining(START) is None


def test_a_job_that_has_ended_takes_no_longer():
    ended = job(status="succeeded", finished_at=START + 50, estimated_finish=START + 500)
    watch = watching(progress.JobChanged(ended, None))
    assert watch.remaining(START + 60) is None
    assert watch.elapsed(START + 60) == 50


def test_reinforcement_is_measured_by_rewards():
    watch = watching(step(1, train_loss=None, train_mean_reward=0.2, full_valid_mean_reward=0.3))
    assert (watch.measure, watch.train, watch.valid) == ("reward", [0.2], [0.3])


def test_trouble_is_told_until_it_is_over():
    failed = progress.PollFailed("ftjob-1", RequestTimeout("too slow"), 1, 8)
    watch = watching(failed)
    assert "too slow" in watch.trouble
    watch.hear(said("all is well"))
    assert watch.trouble == ""


def test_a_log_gets_a_line_for_each_tenth_of_the_steps():
    lines = Lines()
    told = [line for number in range(1, 101) if (line := lines.hear(step(number)))]
    assert [text.split(" ")[0] for _, text in told] == ["1", *(str(number) for number in range(10, 101, 10))]


def test_a_log_gets_a_status_once_however_often_its_estimate_changes():
    lines = Lines()
    changes = [progress.JobChanged(job(estimated_finish=START + n), None) for n in range(5)]
    assert len([line for change in changes if (line := lines.hear(change))]) == 1


def test_warnings_and_errors_of_a_job_stand_out():
    lines = Lines()
    assert lines.hear(said("careful", "warn")) == ("warning", "careful")
    assert lines.hear(said("broken", "error")) == ("error", "broken")
    assert lines.hear(said("going on")) == ("log", "going on")


def printed(view, width):
    paper = io.StringIO()
    Console(file=paper, width=width, color_system=None).print(view)
    return paper.getvalue()


def drawn(*news, now=START, cost=None, width=90):
    view = View(lambda: now)
    view.begin("waiting", "ftjob-1", cost=cost)
    for one in news:
        view.hear(one)
    text = printed(view, width)
    assert all(len(line.rstrip()) <= width - 4 for line in text.splitlines())
    return text


def test_a_view_shows_everything_that_matters_at_a_glance():
    change = progress.JobChanged(job(estimated_finish=START + 120), None)
    text = drawn(
        change, *(step(n, full_valid_loss=0.5) for n in range(1, 26)), said("checkpoint"), now=START + 41, cost=0.28
    )
    for part in ("running", "step 25 of 100", "loss 0.04", "validation 0.5", "41 s so far", "about 1 min 19 s left",
                 "about $0.28", "checkpoint"):  # fmt: skip
        assert part in text


def test_a_view_of_a_file_shows_how_far_it_is():
    assert "5.0 MB of 20.0 MB" in drawn(progress.Checking(5_000_000, 20_000_000, 10))
    text = drawn(progress.Sent(20_000_000, 20_000_000))
    assert "uploading" in text
    assert "━" * 32 in text


def test_a_view_of_an_evaluation_shows_how_many_answers_there_are():
    text = drawn(progress.Answered(12, 12))
    assert "12 of 12 answers" in text
    assert "━" * 32 in text


def test_a_view_of_trouble_before_there_is_a_job_says_so():
    assert "attempt 1 failed" in drawn(progress.Retrying(RequestTimeout("too slow"), 2.0, 1))


def test_a_narrow_terminal_cuts_lines_instead_of_breaking_them():
    text = drawn(progress.JobChanged(job(), None), step(5), said("x" * 500), width=40)
    assert "…" in text


def test_a_view_with_nothing_to_show_is_empty():
    view = View(lambda: START)
    assert printed(view, 80) == ""


def test_lasting_news_name_what_they_are_about():
    lines = Lines()
    file = File(id="file-1", bytes=1_500_000, filename="train.jsonl")
    assert lines.hear(progress.FileUploaded(file)) == ("uploaded", "file-1, 1.5 MB")
    assert "nothing was sent" in str(lines.hear(progress.FileReused(file)))
    assert lines.hear(progress.JobCreated(job(model="base"))) == ("created", "ftjob-1 from base")
    assert "nothing new is paid" in str(lines.hear(progress.JobAdopted(job())))
    assert lines.hear(progress.RivalCancelled("ftjob-2", "ftjob-1"))[0] == "note"
    assert "ftjob-1 has no mark" in str(lines.hear(progress.JobRecognised(job())))
