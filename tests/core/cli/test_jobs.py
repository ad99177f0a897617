"""`list`, `show`, `events`, `metrics`."""

from __future__ import annotations

import csv
import io

import pytest
from support.console import lines_of

EVIL = "\x1b[2J\x1b]0;owned\x07 fine \u202etxet"


def test_jobs_are_listed_newest_first_with_a_heading(tuneway, service):
    service.add_job(metadata={"tuneway_origin": "nightly"})
    service.add_job(status="succeeded", fine_tuned_model="ft:base:org::1")
    head, *rows = tuneway("list").stdout.splitlines()
    assert head.split() == ["job", "status", "model", "created", "made", "by", "tuned", "model"]
    assert [row.split()[0] for row in rows] == ["ftjob-2", "ftjob-1"]
    assert "nightly" in rows[1]
    assert "ft:base:org::1" in rows[0]


def test_no_cell_is_cut_where_no_terminal_limits_the_width(tuneway, service):
    name = "ft:" + "x" * 300
    service.add_job(fine_tuned_model=name)
    assert name in tuneway("list").stdout.splitlines()[1]


def test_the_list_can_be_narrowed_down(tuneway, service):
    for n in range(30):
        service.add_job(status="failed" if n % 3 else "running", metadata={"team": "a" if n < 15 else "b"})
    assert len(lines_of(tuneway("list", "--json"))) == 20
    assert [job["id"] for job in lines_of(tuneway("list", "-n", 2, "--json"))] == ["ftjob-30", "ftjob-29"]
    running = lines_of(tuneway("list", "--status", "running", "--limit", 100, "--json"))
    assert len(running) == 10
    both = lines_of(tuneway("list", "--status", "running", "--metadata", "team=a", "--json"))
    assert {job["id"] for job in both} == {f"ftjob-{n}" for n in (1, 4, 7, 10, 13)}


def test_an_empty_list_says_so_beside_the_result(tuneway):
    result = tuneway("list", "--status", "running")
    assert "No such jobs." in result.stderr
    assert lines_of(tuneway("list", "--json")) == []
    assert tuneway("list", "--json").stderr == ""


def test_a_pair_that_is_none_is_named(tuneway):
    assert "--metadata name=value" in tuneway("list", "--metadata", "team", code=2).stderr


def test_show_tells_everything_that_there_is(tuneway, service):
    service.add_job(
        status="failed",
        error={"code": "bad_file", "message": "line 3 is no good"},
        method={"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 4, "beta": 0.2}}},
        metadata={"team": "support", "tuneway_key": "k", "tuneway_origin": "nightly"},
        seed=7,
    )
    facts = dict(line.split(": ", 1) for line in tuneway("show", "ftjob-1").stdout.splitlines())
    assert facts["why"] == "line 3 is no good (bad_file)"
    assert (facts["method"], facts["n epochs"], facts["beta"], facts["seed"]) == ("dpo", "4", "0.2", "7")
    assert (facts["made by"], facts["metadata team"]) == ("nightly", "support")
    assert "tuneway_key" not in str(facts)
    assert "tuned model" not in facts


def test_machines_get_the_job_as_the_service_sent_it(tuneway, service):
    service.add_job(own_field={"kept": [1]})
    (job,) = lines_of(tuneway("show", "ftjob-1", "--json"))
    assert job["own_field"] == {"kept": [1]}


def test_events_are_printed_oldest_first_and_the_last_of_them(tuneway, service):
    service.add_job()
    for n in range(1, 8):
        service.add_event("ftjob-1", f"line {n}")
    result = tuneway("events", "ftjob-1", "--limit", 3)
    assert [line.split("  ")[1] for line in result.stdout.splitlines()] == ["line 5", "line 6", "line 7"]
    assert lines_of(tuneway("events", "ftjob-1", "--json"))[0]["message"] == "line 1"


def test_following_events_ends_with_the_job_however_it_ended(tuneway, service):
    service.add_job()
    service.train("ftjob-1", "failed")
    result = tuneway("events", "ftjob-1", "--follow", "--json")
    events = lines_of(result)
    assert len(events) == 21
    assert events[-1]["data"]["step"] == 20


def test_what_a_service_says_can_not_touch_the_terminal(tuneway, service, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    service.add_job(status="failed", error={"code": EVIL, "message": EVIL}, model=EVIL, metadata={EVIL: EVIL})
    service.add_event("ftjob-1", EVIL)
    outputs = [
        tuneway(*words, code=code).output
        for words, code in [
            (("list",), 0), (("show", "ftjob-1"), 0), (("events", "ftjob-1"), 0), (("wait", "ftjob-1"), 4),
        ]
    ]  # fmt: skip
    for output in outputs:
        assert "fine" in output
        assert "\x1b[2J" not in output
        assert "\x1b]" not in output
        assert "\x07" not in output
        assert "\u202e" not in output


@pytest.mark.parametrize("colours", ["", "1"])
def test_markup_in_what_a_service_says_is_text(tuneway, service, colours, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", colours)
    service.add_job(status="failed", error={"message": "[bold]no[/bold] [/nonsense]"}, model="[red]:smile:[/]")
    assert "[red]:smile:[/]" in tuneway("list").stdout
    assert "[bold]no[/bold] [/nonsense]" in tuneway("show", "ftjob-1").stdout
    assert "[bold]no[/bold] [/nonsense]" in tuneway("wait", "ftjob-1", code=4).stderr


def test_metrics_are_complete_where_no_terminal_is(tuneway, trained):
    head, *rows = tuneway("metrics", trained).stdout.splitlines()
    assert head.split()[:2] == ["step", "train_loss"]
    assert len(rows) == 20


def test_metrics_as_csv(tuneway, trained):
    rows = list(csv.DictReader(io.StringIO(tuneway("metrics", trained, "--csv").stdout)))
    assert len(rows) == 20
    assert (rows[9]["step"], rows[9]["train_loss"], rows[9]["valid_loss"]) == ("10", "0.2", "0.25")
    assert rows[8]["valid_loss"] == ""


def test_metrics_for_machines(tuneway, trained):
    rows = lines_of(tuneway("metrics", trained, "--json"))
    assert rows[0] == {"step": 1, "train_loss": 2.0, "train_mean_token_accuracy": 0.5}


def test_metrics_of_a_reinforcement_job_are_shown_and_those_of_single_graders_only_to_programs(
    tuneway, service, trained
):
    (file,) = service.job(trained)["result_files"]
    grader = "scores/graders/python/fits/train_reward_mean"
    service.contents[file] = f"step,train_mean_reward,total_duration,note,{grader}\n1,0.25,8.0,good,-0.5\n".encode()
    head, row = tuneway("metrics", trained).stdout.splitlines()
    assert head.split() == ["step", "train_mean_reward", "total_duration", "note"]
    assert row.split() == ["1", "0.25", "8", "good"]
    assert lines_of(tuneway("metrics", trained, "--json"))[0][grader] == -0.5
    assert tuneway("metrics", trained, "--csv").stdout.splitlines()[1] == "1,0.25,8.0,good,-0.5"


def test_metrics_of_a_running_job_come_from_its_log_under_the_same_names(tuneway, service):
    service.add_job()
    told = {"step": 1, "train_loss": 3.5, "train_mean_token_accuracy": 0.5}
    service.add_event("ftjob-1", "Step 1", type="metrics", data=told | {"total_steps": 9})
    assert lines_of(tuneway("metrics", "ftjob-1", "--json")) == [told]
    service.add_job()
    assert "No metrics yet" in tuneway("metrics", "ftjob-2").stderr


def test_a_terminal_sees_the_curve_and_a_dozen_rows(tuneway, trained, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    text = tuneway("metrics", trained).stdout
    assert "loss   ─ train 0.1" in text
    assert len([line for line in text.splitlines() if line.split()[-1:] == ["–"] or "–" in line]) <= 12
    assert "No accuracy" not in tuneway("metrics", trained, "--metric", "accuracy").stdout
