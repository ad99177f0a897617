"""From a job, as services tell it, to a record."""

from __future__ import annotations

import subprocess
from datetime import UTC, date, datetime

import pytest

from tuneway.errors import InvalidSpec, JobCancelled, JobError, JobFailed
from tuneway.models import Checkpoint, Event, File, Job, JobSpec, MetricRow, Model
from tuneway.registry import Cost, DataFile, GitState, Origin, build_record, choose_checkpoint, git_state

TRAIN, VALID = "a" * 64, "b" * 64


def job(**changes):
    facts = {
        "id": "ftjob-1",
        "status": "succeeded",
        "model": "gpt-4o-mini-2024-07-18",
        "fine_tuned_model": "ft:gpt-4o-mini:acme::1",
        "training_file": "file-train",
        "validation_file": "file-valid",
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3, "batch_size": None}}},
        "seed": 42,
        "trained_tokens": 9000,
        "created_at": 1795000000,
        "finished_at": 1795000600,
        "metadata": {"tuneway_origin": "airflow router/train", "tuneway_key": "k", "mine": "secret"},
    }
    return Job(**(facts | changes))


def checkpoint(step, /, **metrics):
    return Checkpoint(
        id=f"ftckpt-{step}", step_number=step, fine_tuned_model_checkpoint=f"ft:x:ckpt-step-{step}", metrics=metrics
    )


CHECKPOINTS = [
    checkpoint(30, step=30, train_loss=0.1, full_valid_loss=0.6),
    checkpoint(10, step=10, train_loss=0.5, full_valid_loss=0.7),
    checkpoint(20, step=20, train_loss=0.3, full_valid_loss=0.5),
]


def test_a_record_holds_everything_that_is_known():
    record = build_record(
        job(trainer="bytes"),
        name="router",
        checkpoints=CHECKPOINTS,
        files=[
            File(id="file-train", filename=f"train.sha256-{TRAIN}.jsonl", bytes=1000),
            File(id="file-valid", filename=f"valid.sha256-{VALID}.jsonl"),
        ],
        data=[{"sha256": TRAIN, "rows": 80, "tokens": 3000, "validation": {"sha256": None, "rows": 5}}],
        spec=JobSpec(
            model="gpt-4o-mini", training_file="file-train", method={"type": "supervised", "n_epochs": "auto"}
        ),
        base_model=Model(id="gpt-4o-mini-2024-07-18", shutdown_date="2027-01-14"),
        cost=Cost(amount=0.03, price_date=date(2026, 6, 30)),
        git=GitState(commit="c0ffee", dirty=True),
        service_url="https://ann:hunter2@api.example/v1?key=1",
        now=datetime(2026, 11, 20, tzinfo=UTC),
    )
    assert record.model_id == "ft:gpt-4o-mini:acme::1"
    assert (record.checkpoint, record.checkpoint_choice) == ("ftckpt-30", "last")
    assert [(one.step, one.metrics["full_valid_loss"]) for one in record.checkpoints] == [
        (10, 0.7),
        (20, 0.5),
        (30, 0.6),
    ]
    assert (record.base_model, record.shutdown_date) == ("gpt-4o-mini-2024-07-18", date(2027, 1, 14))
    assert record.training == DataFile(
        id="file-train", filename=f"train.sha256-{TRAIN}.jsonl", sha256=TRAIN, bytes=1000, rows=80, tokens=3000
    )
    assert record.validation
    assert (record.validation.sha256, record.validation.rows) == (VALID, None)
    assert (record.method, record.requested, record.resolved) == ("supervised", {"n_epochs": "auto"}, {"n_epochs": 3})
    assert (record.seed, record.trained_tokens, record.trainer) == (42, 9000, "bytes")
    assert record.metrics == {"train_loss": 0.1, "full_valid_loss": 0.6}
    assert record.origin == Origin(text="airflow router/train")
    assert record.service_url == "https://api.example/v1"
    assert record.job_created_at == datetime.fromtimestamp(1795000000, UTC)
    assert record.written_by
    assert record.written_by.startswith("tuneway ")
    stored = record.to_json()
    assert "secret" not in stored
    assert "hunter2" not in stored
    assert len(stored) < 4000


def test_a_bare_job_is_enough():
    bare = Job(id="ftjob-1", status="succeeded", fine_tuned_model="ft:1")
    record = build_record(bare, name="router")
    assert (record.model_id, record.checkpoint, record.training, record.metrics) == ("ft:1", None, None, {})


def test_the_best_checkpoint_has_the_lowest_loss_and_its_own_metrics():
    rows = [MetricRow(step=step, train_loss=1 / step) for step in (1, 19, 20, 30)]
    record = build_record(job(), name="router", checkpoint="best", checkpoints=CHECKPOINTS, rows=rows)
    assert (record.model_id, record.checkpoint) == ("ft:x:ckpt-step-20", "ftckpt-20")
    assert record.metrics == {"train_loss": 0.3, "full_valid_loss": 0.5}


def test_metrics_come_from_the_rows_where_there_are_no_checkpoints():
    rows = [MetricRow(step=2, train_loss=0.2), MetricRow(step=1, train_loss=0.9, valid_loss=0.8)]
    event = Event(id="e", type="metrics", data={"step": 2, "train_mean_token_accuracy": 0.7, "total_steps": 2})
    assert build_record(job(), name="router", rows=[*rows, event]).metrics == {
        "train_loss": 0.2,
        "valid_loss": 0.8,
        "train_mean_token_accuracy": 0.7,
    }


@pytest.mark.parametrize(
    ("checkpoints", "best"),
    [
        ([checkpoint(1, valid_loss=0.2), checkpoint(2, valid_loss=0.3)], 1),
        ([checkpoint(1, full_valid_loss=0.5, valid_loss=0.1), checkpoint(2, full_valid_loss=0.4, valid_loss=0.9)], 2),
        ([checkpoint(1, full_valid_loss=0.5), checkpoint(2, valid_loss=0.1)], 1),
        ([checkpoint(1, full_valid_loss=float("nan")), checkpoint(2, full_valid_loss=9.0)], 2),
        ([checkpoint(1, full_valid_loss=0.5), checkpoint(2, full_valid_loss=0.5)], 2),
        ([checkpoint(1, full_valid_mean_reward=0.5), checkpoint(2, full_valid_mean_reward=0.4)], 1),
    ],
)
def test_best_is_decided_by_the_best_metric_there_is(checkpoints, best):
    chosen = choose_checkpoint(checkpoints, "best")
    assert chosen
    assert chosen.step_number == best


@pytest.mark.parametrize(
    ("checkpoints", "says"),
    [([], "has no checkpoints"), ([checkpoint(1, train_loss=0.1)], "no checkpoint has a validation metric")],
)
def test_without_validation_none_is_best(checkpoints, says):
    with pytest.raises(InvalidSpec, match=says):
        choose_checkpoint(checkpoints, "best")


def test_last_is_the_last_step_and_may_be_none():
    last = choose_checkpoint(CHECKPOINTS)
    assert last
    assert last.id == "ftckpt-30"
    assert choose_checkpoint([]) is None
    with pytest.raises(InvalidSpec, match="one of last, best"):
        choose_checkpoint([], "first")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"status": "failed", "error": {"message": "bad data"}}, JobFailed, "bad data"),
        ({"status": "failed", "error": {}}, JobFailed, "no reason given"),
        ({"status": "cancelled"}, JobCancelled, "was cancelled"),
        ({"status": "running"}, JobError, "is running"),
        ({"status": "brewing"}, JobError, "is brewing"),
        ({"fine_tuned_model": None}, JobError, "names no model"),
    ],
)
def test_a_job_without_a_model_is_not_registered(changes, kind, says):
    with pytest.raises(kind, match=says) as caught:
        build_record(job(**changes), name="router")
    assert caught.value.job_id == "ftjob-1"


def test_a_job_that_names_no_model_may_have_a_checkpoint_that_does():
    record = build_record(job(fine_tuned_model=None), name="router", checkpoints=CHECKPOINTS)
    assert record.model_id == "ft:x:ckpt-step-30"


@pytest.mark.parametrize("filename", [None, "train.jsonl", "train.sha256-abc.jsonl"])
def test_a_file_without_a_hash_in_its_name_has_an_unknown_hash(filename):
    record = build_record(job(), name="router", files=[File(id="file-train", filename=filename)])
    assert record.training
    assert record.training.sha256 is None


def test_graders_are_told_apart_by_a_hash():
    def with_grader(text):
        grader = {"type": "string_check", "reference": text}
        method = {"type": "reinforcement", "reinforcement": {"grader": grader, "hyperparameters": {"n_epochs": 1}}}
        return build_record(job(method=method), name="router")

    one, same, other = (with_grader(text) for text in "aab")
    assert one.grader_sha256 == same.grader_sha256 != other.grader_sha256
    assert one.resolved == {"n_epochs": 1}


def test_old_jobs_keep_their_hyperparameters_elsewhere():
    record = build_record(job(method=None, hyperparameters={"n_epochs": 4}), name="router")
    assert (record.method, record.resolved) == (None, {"n_epochs": 4})


@pytest.mark.parametrize("shutdown", ["", "soon", None])
def test_an_unreadable_shutdown_date_is_none(shutdown):
    model = Model(id="base", shutdown_date=shutdown)
    assert build_record(job(), name="router", base_model=model).shutdown_date is None


def test_what_a_step_has_handed_on_counts_as_a_report():
    counted = {"sha256": TRAIN, "rows": 80, "tokens": 3000, "validation": {"sha256": VALID, "rows": 9, "tokens": 300}}
    files = [
        File(id="file-train", filename=f"train.sha256-{TRAIN}.jsonl"),
        File(id="file-valid", filename=f"valid.sha256-{VALID}.jsonl"),
    ]

    record = build_record(job(), name="router", files=files, data=[counted])

    assert (record.training.rows, record.training.tokens) == (80, 3000)
    assert (record.validation.rows, record.validation.tokens) == (9, 300)


def test_git_tells_commit_and_changes(tmp_path, monkeypatch):
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "ann@example.org")

    def git(*arguments):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True)

    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) is None
    git("init", "-q")
    assert git_state(tmp_path) is None
    (tmp_path / "dag.py").write_text("1")
    git("add", "dag.py")
    git("commit", "-q", "-m", "one", "--no-verify")
    clean = git_state(tmp_path)
    assert clean
    assert len(clean.commit) == 40
    assert not clean.dirty
    (tmp_path / "notes.txt").write_text("untracked")
    assert git_state(tmp_path) == clean
    (tmp_path / "dag.py").write_text("2")
    assert git_state(str(tmp_path)) == GitState(commit=clean.commit, dirty=True)


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) is None
    assert git_state(tmp_path / "nowhere") is None
