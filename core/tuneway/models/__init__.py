"""The objects that services send and receive, the job specification, and the names of metrics."""

from tuneway.models._checked import Checked, Strict
from tuneway.models._graders import (
    Grader,
    LabelModelGrader,
    MultiGrader,
    PythonGrader,
    ScoreModelGrader,
    StringCheckGrader,
    TextSimilarityGrader,
)
from tuneway.models._methods import (
    DPO,
    JSON,
    DPOHyperparameters,
    Hyperparameters,
    Method,
    Reinforcement,
    ReinforcementHyperparameters,
    Supervised,
)
from tuneway.models._metrics import METRICS, Measure, MetricInfo, Role, metric_name, possible_metrics
from tuneway.models._spec import (
    METADATA_PAIRS,
    MOST_INTEGRATIONS,
    JobSpec,
    JobSpecFields,
    Metadata,
    Seed,
    Suffix,
    TrainingFields,
    TrainingSpec,
    WandbIntegration,
    WandbRun,
)
from tuneway.models._status import PHASES, Phase, phase_of
from tuneway.models._wire import (
    Checkpoint,
    Deleted,
    Event,
    File,
    GraderRun,
    GraderValidation,
    Job,
    JobFault,
    MetricRow,
    Model,
    Page,
    Permission,
    Upload,
    UploadPart,
    WireModel,
    page_of,
)


def prepare() -> None:
    """Build the models of replies now. With the first reply, this would block the event loop for 20 ms."""
    for model in (page_of(Job), page_of(Event), page_of(File), page_of(Checkpoint), Upload, UploadPart):
        model.model_rebuild()


__all__ = [
    "DPO",
    "JSON",
    "METADATA_PAIRS",
    "METRICS",
    "MOST_INTEGRATIONS",
    "PHASES",
    "Checked",
    "Checkpoint",
    "DPOHyperparameters",
    "Deleted",
    "Event",
    "File",
    "Grader",
    "GraderRun",
    "GraderValidation",
    "Hyperparameters",
    "Job",
    "JobFault",
    "JobSpec",
    "JobSpecFields",
    "LabelModelGrader",
    "Measure",
    "Metadata",
    "Method",
    "MetricInfo",
    "MetricRow",
    "Model",
    "MultiGrader",
    "Page",
    "Permission",
    "Phase",
    "PythonGrader",
    "Reinforcement",
    "ReinforcementHyperparameters",
    "Role",
    "ScoreModelGrader",
    "Seed",
    "Strict",
    "StringCheckGrader",
    "Suffix",
    "Supervised",
    "TextSimilarityGrader",
    "TrainingFields",
    "TrainingSpec",
    "Upload",
    "UploadPart",
    "WandbIntegration",
    "WandbRun",
    "WireModel",
    "metric_name",
    "page_of",
    "phase_of",
    "possible_metrics",
    "prepare",
]
