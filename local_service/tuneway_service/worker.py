"""Train one job: `python -m tuneway_service.worker JOB_DIR [ATTEMPT]`.

A worker reads and writes nothing but the job's folder (see `folder`). It needs no service, network or database, so any
executor can run it. A worker that is started after another one goes on from the last saved state, and reaches the
same weights.

Without ATTEMPT the worker takes the attempt that the order in the folder names. With ATTEMPT it works only while the
order names that attempt: an executor that lost contact with a worker orders another attempt, and the first worker
then stops.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneway.errors import InvalidInput, InvalidSpec
from tuneway_service.folder import JobFolder, Taken, kept_checkpoints, replace
from tuneway_service.journal import Journal, read_all
from tuneway_service.result_table import result_table
from tuneway_service.trainers import CheckpointDue, Step, TrainingRun, make_trainer
from tuneway_service.trainers.ranks import LostRank, Ranks
from tuneway_service.wandb_log import RunLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tuneway_service.trainers import Remark, Trainer, TrainingSession
    from tuneway_service.trainers.base import Grade

TAKEN = 75
LOST = 1
SAVE_SECONDS = 10.0
SAVE_SHARE = 0.02
PROGRESS_SECONDS = 0.5

_REAL = "To train a language model under this name, start the service with --model {wanted}=FOLDER."


class Worker:
    """One attempt at one job."""

    def __init__(self, folder: JobFolder, ranks: Ranks | None = None) -> None:
        self.folder = folder
        self.ranks = ranks or Ranks()
        self.job = json.loads((folder.path / "job.json").read_bytes())
        self.asked = False
        self.journal = Journal(folder.journal if self.ranks.first else Path(os.devnull))
        self.trainer = make_trainer(self.job["trainer"])
        self.began = time.monotonic()
        self.first_step = 0
        self.saved = 0.0
        self.progress_at = -PROGRESS_SECONDS
        self.pause = SAVE_SECONDS

    def run(self) -> dict[str, Any]:
        """Train to the end, or until asked to stop; returns the outcome."""
        # before the model is loaded, which takes time
        self.journal.message(f"Training on {_name(self.trainer)}", mark="training")
        wanted = self.job.get("stands_in_for")
        if wanted:
            text = f"This is not {wanted}: {self.trainer.name!r} only stands in for it, to try a pipeline. {_REAL}"
            self.journal.message(text.format(wanted=wanted), mark="stands-in", level="warn")
        if self.ranks.size > 1:
            text = f"{self.ranks.size} processes train together, one on each device"
            self.journal.message(text, mark=f"gang:{self.ranks.size}")
        training, step = self._training()
        self.first_step = step
        if step:
            self.journal.message(f"Resuming from step {step}", mark=f"from:{step}:{self.job['attempt']}")
        self._tell(training.remarks)
        self.saved = time.monotonic()
        with RunLog(self.job, self.folder.path, self.journal) as run_log:
            for item in training.advance():
                step = item.step
                if isinstance(item, Step):
                    self.journal.metrics(step, item.total_steps, item.metrics, item.groups)
                    self._tell(item.remarks)
                    run_log.step(step, item.metrics)
                    self._progress(training, step)
                else:
                    self._checkpoint(training, item)
                if self._stop_agreed():
                    self._save(training, step)
                    return {"outcome": "stopped", "step": step}
                if time.monotonic() - self.saved > self.pause:
                    self._save(training, step)
        return self._finish(training, step)

    def _stop_agreed(self) -> bool:
        """Whether this worker is asked to stop; all processes of a gang stop after the same step."""
        return self.ranks.any(self.asked or self.folder.stop_asked())

    def _tell(self, remarks: Iterable[Remark]) -> None:
        for remark in remarks:
            self.journal.message(remark.text, mark=remark.mark, level=remark.level)

    def _training(self) -> tuple[TrainingSession, int]:
        run = TrainingRun(
            method=self.job["method"],
            train_path=self.folder.training,
            valid_path=_if_there(self.folder.validation),
            hyperparameters=self.job["hyperparameters"],
            seed=self.job["seed"],
            base=_if_there(self.folder.base),
            grade=self._grade(),
            ranks=self.ranks,
            prepared=self.folder.prepared,
            tell=lambda remark: self._tell([remark]),
        )
        state = self.folder.state()
        # another machine may still see the pointer to an older state
        step = self.ranks.told(state[0] if state else 0)
        if not step:
            return self.trainer.start(run), 0
        training = self._resumed(run, self.folder.states / str(step))
        if training is not None:
            return training, step
        # the same seed gives the same weights, so nothing but time is lost
        self.journal.message(
            f"The saved state of step {step} can't be read: training again from the start",
            mark=f"again:{self.job['attempt']}",
            level="warn",
        )
        return self.trainer.start(run), 0

    def _resumed(self, run: TrainingRun, place: Path) -> TrainingSession | None:
        """The training of a saved state; None if any process of the gang can't read it."""
        training = None
        try:
            training = self.trainer.resume(run, place)
        except LostRank:
            raise
        except Exception:  # noqa: BLE001 - a damaged state may raise anything
            traceback.print_exc()
        return None if self.ranks.any(training is None) else training

    def _grade(self) -> Grade | None:
        if "grader" not in self.job:
            return None
        from tuneway_service.rewards import grader_of

        return grader_of(self.job)

    def _check_wanted(self) -> None:
        """Raise `Taken` if another attempt is ordered."""
        if not self.folder.ordered(self.job["attempt"]):
            raise Taken(self.folder.path.name)

    def _save(self, training: TrainingSession, step: int) -> None:
        self._check_wanted()
        began = time.monotonic()
        self.folder.keep_state(step, training.save)
        self.saved = time.monotonic()
        # saving a large model takes long: it must stay a small share of the training time
        self.pause = max(SAVE_SECONDS, (self.saved - began) / SAVE_SHARE)

    def _checkpoint(self, training: TrainingSession, item: CheckpointDue) -> None:
        self._check_wanted()
        self.folder.checkpoints.mkdir(exist_ok=True)
        self.folder.put(self.folder.checkpoints / str(item.step), training.export)
        self.journal.checkpoint(item.step, item.epoch, item.metrics)
        self._save(training, item.step)
        reported = {record["step"]: record["metrics"] for record in self._reported("checkpoint")}
        kept = kept_checkpoints(reported)
        for other in self.folder.checkpoints.iterdir():
            if other.name.isdigit() and int(other.name) not in kept:
                shutil.rmtree(other, ignore_errors=True)

    def _reported(self, kind: str) -> list[dict[str, Any]]:
        return [record for record in read_all(self.folder.journal) if record.get("kind") == kind]

    def _progress(self, training: TrainingSession, step: int) -> None:
        at = time.monotonic()
        if at - self.progress_at < PROGRESS_SECONDS:
            return
        self.progress_at = at
        done = step - self.first_step
        self.folder.write(
            "progress",
            {
                "at": time.time(),
                "step": step,
                "total_steps": training.total_steps,
                "seconds_per_step": (at - self.began) / done if done > 0 else None,
                "trained_tokens": training.trained_tokens,
            },
        )

    def _finish(self, training: TrainingSession, step: int) -> dict[str, Any]:
        self._check_wanted()
        self.folder.put(self.folder.model, training.export)
        replace(self.folder.results, base64.b64encode(result_table(self.folder.journal).encode()))
        return {
            "outcome": "succeeded",
            "step": step,
            "trained_tokens": training.trained_tokens,
            "seconds": round(time.monotonic() - self.began, 3),
            "cpu_seconds": round(time.process_time(), 3),
        }


class Helper(Worker):
    """A process of a gang that isn't the first: it trains, and writes no file of the job."""

    def run(self) -> dict[str, Any]:
        """Train to the end, or until all processes agree to stop."""
        training, step = self._training()
        for item in training.advance():
            step = item.step
            if self._stop_agreed():
                return {"outcome": "stopped", "step": step}
        return {"outcome": "succeeded", "step": step, "cpu_seconds": round(time.process_time(), 3)}


def _if_there(path: Path) -> Path | None:
    return path if path.exists() else None


def _name(trainer: Trainer) -> str:
    summary = trainer.describe().get("summary")
    return f"the local trainer {trainer.name!r}" + (f": {summary}" if summary else "")


def failure(error: Exception) -> dict[str, Any]:
    """The outcome of a training that failed, with the code and the message of the job's error."""
    if isinstance(error, InvalidSpec):
        return {"outcome": "failed", "code": "invalid_hyperparameters", "message": str(error), "param": error.field}
    if isinstance(error, InvalidInput):
        return {"outcome": "failed", "code": "invalid_training_file", "message": str(error), "param": "training_file"}
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        text = "The service's disk is full: free some space in its data directory and create the job again."
        return {"outcome": "failed", "code": "disk_full", "message": text}
    if isinstance(error, MemoryError):
        text = str(error) or "The training needs more memory than there is."
        return {"outcome": "failed", "code": "out_of_memory", "message": text}
    text = f"The trainer failed: {type(error).__name__}: {error}"
    return {"outcome": "failed", "code": "server_error", "message": text[:2000]}


def work(folder: JobFolder, join: Callable[[], Ranks] = Ranks) -> dict[str, Any]:
    """Run one attempt and return its outcome.

    Raises nothing but `Taken`, when another attempt is ordered, and in a gang `LostRank`.
    """
    try:
        ranks = join()
        worker = (Worker if ranks.first else Helper)(folder, ranks)
        if ranks.size == 1:  # those of a gang are asked by a file; a signal comes when another of them has ended
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, lambda *_: setattr(worker, "asked", True))
        return worker.run()
    except (Taken, LostRank):
        raise
    except Exception as error:  # noqa: BLE001 - whatever the trainer raises, the job needs an outcome
        traceback.print_exc()
        # what is half written may fill the disk, and the outcome needs room
        if isinstance(error, OSError):
            folder.drop_unfinished()
        return failure(error)


def main(arguments: list[str], act: Callable[[JobFolder], dict[str, Any] | None] = work) -> int:
    """Train the job in a folder, unless it has ended or another worker has the folder.

    `act` returns the outcome; None if there is none, so that the service starts another worker.
    """
    folder = JobFolder(Path(arguments[0]))
    attempt = int(arguments[1]) if len(arguments) > 1 else folder.attempt()
    if attempt is None:
        return TAKEN
    # Ctrl-C in the service's terminal stops the service, which then stops its workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with folder.claim(attempt):
            before = folder.read("outcome")
            if isinstance(before, dict) and before.get("outcome") in ("succeeded", "failed"):
                return 0
            folder.forget_outcome()
            outcome = act(folder)
            if outcome is None:
                return LOST
            folder.write("outcome", {"attempt": attempt} | outcome)
    except Taken:
        return TAKEN
    return 0


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main(sys.argv[1:]))
