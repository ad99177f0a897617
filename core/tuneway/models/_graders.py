"""Graders, which score samples in reinforcement fine-tuning."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from tuneway.models._checked import Checked


class _Grader(Checked):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow", defer_build=True, protected_namespaces=())

    name: str = Field(min_length=1)


class StringCheckGrader(_Grader):
    """Compares two strings."""

    type: Literal["string_check"] = "string_check"
    input: str
    reference: str
    operation: Literal["eq", "ne", "like", "ilike"]


class TextSimilarityGrader(_Grader):
    """Scores how similar two texts are."""

    type: Literal["text_similarity"] = "text_similarity"
    input: str
    reference: str
    evaluation_metric: Literal[
        "cosine", "fuzzy_match", "bleu", "gleu", "meteor",
        "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l",
    ]  # fmt: skip


class PythonGrader(_Grader):
    """Scores with Python code, which the service runs."""

    type: Literal["python"] = "python"
    source: str = Field(min_length=1)
    image_tag: str | None = None


class ScoreModelGrader(_Grader):
    """Scores with a model that gives a number."""

    type: Literal["score_model"] = "score_model"
    model: str = Field(min_length=1)
    input: list[dict[str, Any]] = Field(min_length=1)
    range: tuple[float, float] | None = None
    sampling_params: dict[str, Any] | None = None


class LabelModelGrader(_Grader):
    """Scores with a model that gives a label; allowed only in a multi grader."""

    type: Literal["label_model"] = "label_model"
    model: str = Field(min_length=1)
    input: list[dict[str, Any]] = Field(min_length=1)
    labels: list[str] = Field(min_length=1)
    passing_labels: list[str] = Field(min_length=1)


InnerGrader = Annotated[
    StringCheckGrader | TextSimilarityGrader | PythonGrader | ScoreModelGrader | LabelModelGrader,
    Field(discriminator="type"),
]


class MultiGrader(_Grader):
    """Combines several graders by a formula with their names."""

    type: Literal["multi"] = "multi"
    graders: dict[str, InnerGrader] = Field(min_length=1)
    calculate_output: str = Field(min_length=1)


Grader = Annotated[
    StringCheckGrader | TextSimilarityGrader | PythonGrader | ScoreModelGrader | MultiGrader,
    Field(discriminator="type"),
]
"""Any grader that a reinforcement job accepts."""
