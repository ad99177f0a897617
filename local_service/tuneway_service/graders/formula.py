"""The formula of a multi grader: arithmetic with the names of its graders, and nothing else."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

OPERATORS: Final[dict[type[ast.AST], Callable[..., float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
FUNCTIONS: Final[dict[str, Callable[..., float]]] = {
    "min": min,
    "max": max,
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "log": math.log,
}
LONGEST = 1000


class BadFormula(Exception):
    """The formula isn't arithmetic with the graders' names, or can't be evaluated."""


def parse(text: str) -> ast.expr:
    """The formula as a tree; raises `BadFormula`."""
    if len(text) > LONGEST:
        raise BadFormula("the formula is too long")
    try:
        return ast.parse(text.replace("^", "**").strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise BadFormula(f"the formula can't be parsed: {text[:100]!r}") from None


def names(text: str) -> set[str]:
    """The names that a formula uses; raises `BadFormula` for anything but arithmetic."""
    found: set[str] = set()
    _work_out(parse(text), _Collecting(found))
    return found


def work_out(text: str, values: Mapping[str, float]) -> float:
    """The formula's value; raises `BadFormula`."""
    try:
        return float(_work_out(parse(text), values))
    except (ArithmeticError, ValueError, TypeError) as error:
        raise BadFormula(f"the formula can't be evaluated: {error}") from None


class _Collecting(dict[str, float]):
    """A placeholder for values that collects the names."""

    def __init__(self, found: set[str]) -> None:
        super().__init__()
        self.found = found

    def __missing__(self, name: str) -> float:
        self.found.add(name)
        return math.nan


def _work_out(node: ast.AST, values: Mapping[str, float]) -> Any:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.Name(id=name):
            try:
                return values[name]
            except KeyError:
                raise BadFormula(f"the formula names {name!r}, which is not one of the graders") from None
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_work_out(left, values), _work_out(right, values))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_work_out(operand, values))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
            return _call(FUNCTIONS[name], [_work_out(arg, values) for arg in args], values)
    raise BadFormula("the formula may use numbers, graders' names, + - * / ^ and " + ", ".join(FUNCTIONS))


def _call(function: Callable[..., float], arguments: list[Any], values: Mapping[str, float]) -> float:
    # the placeholder value is NaN, which floor and ceil don't take
    return math.nan if isinstance(values, _Collecting) else function(*arguments)
