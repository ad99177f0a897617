"""Graders score answers. They know nothing of HTTP: a route and a trainer use them in the same way."""

from tuneway_service.graders.checks import problems
from tuneway_service.graders.grading import Inner, Limits, grade, parts
from tuneway_service.graders.result import Grading, Part, Tokens
from tuneway_service.graders.templates import ModelSample

__all__ = ["Grading", "Inner", "Limits", "ModelSample", "Part", "Tokens", "grade", "parts", "problems"]
