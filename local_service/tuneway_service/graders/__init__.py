"""Graders: what scores an answer. Knows no HTTP: a route and a trainer use it alike."""

from tuneway_service.graders.grading import Grading, Inner, Limits, grade, parts, problems
from tuneway_service.graders.templates import ModelSample

__all__ = ["Grading", "Inner", "Limits", "ModelSample", "grade", "parts", "problems"]
