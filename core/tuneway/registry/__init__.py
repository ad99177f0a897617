"""The model registry: versions of models with their lineage, aliases, and the history of both."""

from tuneway.registry._places import check_uri, default_uri, open_registry, own_file_warning
from tuneway.registry._questions import Question, questions_in
from tuneway.registry.build import build_record, choose_checkpoint, git_state
from tuneway.registry.evaluate import Evaluation, Sample, Score, evaluate
from tuneway.registry.gates import Gate, GateLike, NoWorseThanChampion
from tuneway.registry.records import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    Action,
    AuditEvent,
    CheckpointRecord,
    Cost,
    DataFile,
    GitState,
    Lineage,
    ModelRecord,
    ModelVersion,
    Origin,
    Status,
    Verdict,
)
from tuneway.registry.registration import RegistrationFields, check_registration
from tuneway.registry.store import Registry

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "PREVIOUS",
    "Action",
    "AuditEvent",
    "CheckpointRecord",
    "Cost",
    "DataFile",
    "Evaluation",
    "Gate",
    "GateLike",
    "GitState",
    "Lineage",
    "ModelRecord",
    "ModelVersion",
    "NoWorseThanChampion",
    "Origin",
    "Question",
    "RegistrationFields",
    "Registry",
    "Sample",
    "Score",
    "Status",
    "Verdict",
    "build_record",
    "check_registration",
    "check_uri",
    "choose_checkpoint",
    "default_uri",
    "evaluate",
    "git_state",
    "open_registry",
    "own_file_warning",
    "questions_in",
]
