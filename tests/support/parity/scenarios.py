"""The table: what may happen to a fine-tune, and what every way to run it makes of that.

Each scenario is played by the plain client first, and has to end as `expects` says; all other runners have
to do the same, to the byte of what reaches the service, unless `differs` says in a sentence why not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.parity.elsewhere import SERVICES, killed_twice_and_run_twice, stopped_by_its_user, tormented
from support.parity.order import Outcome
from support.parity.plays import (
    bad_data,
    cancelled_by_its_user,
    cancelled_elsewhere,
    evicted,
    few_rows_to_measure_on,
    good_data,
    killed_at,
    learnt_by_heart,
    made_by_another,
    much_data,
    once,
    out_of_time,
    overlapping,
    paused_and_resumed,
    refused,
    support_data,
    twice,
    unfiltered_and_killed,
    with_data_to_measure_on,
)
from support.parity.stage import FILES, JOBS, ONE_JOB, ParityStage, Trains

FORMS = ("steps", "one")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What differs in one runner, and the reason.

    `what` are keys of what was seen: reached, jobs, registered, counted, ended, error, ref.
    """

    what: frozenset[str]
    why: str


def differs(*what: str, why: str) -> Difference:
    """A difference in these things."""
    return Difference(what=frozenset(what), why=why)


@dataclass(frozen=True, kw_only=True)
class ParityScenario:
    """One row.

    Args:
        title: What happens.
        play: Makes it happen, and gives how the (last) run ended.
        expects: What the plain client is seen to do: jobs by status, how many POSTs of each kind, versions,
            and words of the error.
        world: The service: a fake one, or the options of the real one.
        data: Writes the training data, and gives fields of the order.
        order: Further fields of the order.
        differs: By runner, what is different there.
        forms: Which forms of a pipeline play it: "steps" and "one", unless only one of them can.
    """

    title: str
    play: Callable[[ParityStage], Outcome]
    expects: Mapping[str, Any]
    world: Callable[[], Any] = Trains
    data: Callable[[Path], Mapping[str, Any]] = good_data
    order: Mapping[str, Any] = field(default_factory=dict)
    differs: Mapping[str, Difference] = field(default_factory=dict)
    forms: tuple[str, ...] = FORMS


ONE = {"files": 1, "creates": 1, "cancels": 0, "jobs": ["succeeded"], "versions": 1}
NOTHING = {"files": 0, "creates": 0, "cancels": 0, "jobs": [], "versions": 0}
LOCAL: Callable[[], Any] = lambda: {"models": {"gpt-4o-mini": "bytes"}}  # noqa: E731

TABLE = {
    "success": ParityScenario(
        title="success, really trained",
        play=once,
        world=LOCAL,
        data=support_data,
        order={"n_epochs": 2},
        expects=ONE | {"files": 2},
    ),
    "best": ParityScenario(
        title="the best checkpoint, really trained",
        play=once,
        world=LOCAL,
        data=learnt_by_heart,
        order={"n_epochs": 8, "checkpoint": "best"},
        expects=ONE | {"files": 2},
    ),
    "paused": ParityScenario(
        title="paused and resumed by hand, really trained",
        play=paused_and_resumed,
        world=LOCAL,
        data=much_data,
        order={"n_epochs": 6},
        expects=ONE,
    ),
    "cancel": ParityScenario(
        title="its user cancels the run",
        play=cancelled_by_its_user,
        world=lambda: {"faults": "stuck=1"},
        order={"stoppable": True},
        expects=ONE | {"cancels": 1, "jobs": ["cancelled"], "versions": 0, "error": "was cancelled"},
        differs={
            "command line": differs(
                "error",
                why="Ctrl-C ends the command at once: it says what it has done, and waits no more.",
            ),
            "Airflow": differs("error", why="The error says that the task was ended; the log what became of the job."),
            "Prefect": differs(
                "ended", "error", why="The worker ends the run's process; the hook's log says what became of the job."
            ),
            "Dagster": differs(
                "ended",
                "error",
                why="The run ends as canceled; its log says what became of the job.",
            ),
        },
    ),
    "cancelled": ParityScenario(
        title="somebody cancels the job",
        play=cancelled_elsewhere,
        world=lambda: Trains(will_end=None),
        expects=ONE | {"jobs": ["cancelled"], "versions": 0, "error": "was cancelled"},
    ),
    "few": ParityScenario(
        title="five rows of validation data",
        play=once,
        data=few_rows_to_measure_on,
        expects=ONE | {"files": 2},
    ),
    "impossible": ParityScenario(
        title="a gate on a metric that can't be measured: no validation data",
        play=once,
        order={"gate": ("full_valid_loss", 1.0)},  # the step that creates the job knows no gate
        expects=NOTHING | {"error": "there is no validation data"},
        forms=("one",),
    ),
    "overlap": ParityScenario(
        title="training and validation data overlap",
        play=once,
        data=overlapping,
        expects=NOTHING | {"error": "row.overlap"},
    ),
    "invalid": ParityScenario(
        title="bad data",
        play=once,
        data=bad_data,
        expects=NOTHING | {"error": "train.jsonl:2:"},
    ),
    "failed": ParityScenario(
        title="the job fails",
        play=once,
        world=lambda: Trains(will_end="failed"),
        expects=ONE | {"jobs": ["failed"], "versions": 0, "error": "line 3 is no good"},
    ),
    "evicted": ParityScenario(title="the worker is evicted (SIGTERM), the run goes on", play=evicted, expects=ONE),
    "killed uploading": ParityScenario(
        title="SIGKILL in the upload, then a retry",
        play=killed_at("POST", FILES, acts=True),
        expects=ONE,
    ),
    "killed before create": ParityScenario(
        title="SIGKILL before the create is taken in, then a retry",
        play=killed_at("POST", JOBS, acts=False),
        expects=ONE | {"creates": 2},
    ),
    "killed in create": ParityScenario(
        title="SIGKILL between the create and its reply, then a retry",
        play=killed_at("POST", JOBS, acts=True),
        expects=ONE,
    ),
    "killed after create": ParityScenario(
        title="SIGKILL after the create, then a retry",
        play=killed_at("GET", JOBS, acts=True, after=1),
        expects=ONE,
    ),
    "killed waiting": ParityScenario(
        title="SIGKILL in the wait, then a retry",
        play=killed_at("GET", ONE_JOB, acts=True, after=1),
        expects=ONE,
    ),
    "killed registering": ParityScenario(
        title="SIGKILL while registering, then a retry",
        play=killed_at("GET", ONE_JOB + "/checkpoints", acts=True),
        expects=ONE,
    ),
    "time-out": ParityScenario(
        title="the time is up",
        play=out_of_time,
        expects=ONE | {"jobs": ["validating_files"], "versions": 0, "error": "before the deadline"},
        differs={
            "Prefect": differs(
                "ended",
                why="A task's deadline holds over all its tries, so Prefect makes no other; a run once more waits on.",
            )
        },
    ),
    "the same run again": ParityScenario(title="the same run again, reuse=run", play=twice(), expects=ONE),
    "another run": ParityScenario(
        title="another run, reuse=run",
        play=twice(run=2),
        expects=ONE | {"creates": 2, "jobs": ["succeeded"] * 2, "versions": 2},
    ),
    "another run, content": ParityScenario(
        title="another run, reuse=content",
        play=twice(run=2),
        order={"reuse": "content"},
        expects=ONE,
    ),
    "another's, content": ParityScenario(
        title="another tool has made the same, reuse=content",
        play=made_by_another,
        order={"reuse": "content"},
        expects=ONE,
    ),
    "another run, never": ParityScenario(
        title="another run, reuse=never",
        play=twice(run=2),
        order={"reuse": "never"},
        expects=ONE | {"creates": 2, "jobs": ["succeeded"] * 2, "versions": 2},
    ),
    "not available": ParityScenario(
        title="403 training_not_available",
        play=refused({"message": "Training is closed for your organisation.", "code": "training_not_available"}, 403),
        expects=ONE | {"jobs": [], "versions": 0, "error": "Point base_url at another service"},
    ),
    "daily limit": ParityScenario(
        title="429 daily_rate_limit_exceeded",
        play=refused(
            {"message": "You have reached your daily limit.", "code": "daily_rate_limit_exceeded"},
            429,
            retry_after="5000",
        ),
        expects=ONE | {"jobs": [], "versions": 0, "error": "try again tomorrow"},
    ),
    "unfiltered": ParityScenario(
        title="SIGKILL in the create, where the service ignores the metadata filter, then a retry",
        play=unfiltered_and_killed,
        world=lambda: Trains(filters_metadata=False),
        expects=ONE | {"jobs": ["succeeded"] * 151},
    ),
    "gate": ParityScenario(
        title="a gate refuses the alias",
        play=once,
        data=with_data_to_measure_on,
        order={"gate": ("full_valid_loss", 0.01)},
        expects=ONE | {"files": 2, "error": "full_valid_loss"},
        differs={
            "Dagster": differs(
                "error", why="A gate is a check on the asset: the failure names the check, and the check says why."
            )
        },
    ),
}

for dialect, service in SERVICES.items():
    there = {"dialect": dialect, "metadata": {}, **service.order}
    TABLE |= {
        f"{dialect}, faults": ParityScenario(
            title=f"{service.name}: 429, 503, replies that are late, lost or cut, all in one run",
            play=tormented,
            world=service.world,
            order=there,
            expects=ONE | {"files": service.uploads, "creates": 3},
        ),
        f"{dialect}, killed": ParityScenario(
            title=f"{service.name}: SIGKILL in the create, then in the wait, then two retries",
            play=killed_twice_and_run_twice,
            world=service.world,
            order=there,
            expects=ONE,
        ),
    }
TABLE["together, cancel"] = ParityScenario(
    title="Together, where a job doesn't show who asked for it: its user cancels the run",
    play=stopped_by_its_user,
    world=lambda: SERVICES["together"].world(will_end=None),
    order={"dialect": "together", "metadata": {}, **SERVICES["together"].order, "stoppable": True},
    expects=ONE | {"cancels": 1, "jobs": ["cancelled"], "versions": 0},
)
