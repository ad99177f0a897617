"""The formula of a multi grader: arithmetic with the names of its graders, and nothing else."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from tuneway_service.graders.result import GradingError

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
ARGUMENTS: Final = {"min": range(2, LONGEST), "max": range(2, LONGEST), "log": (1, 2)}
"""How many arguments a function takes; the others take one."""
DEEPEST = 200
WRONG = "the formula may use numbers, graders' names, + - * / ^ and " + ", ".join(FUNCTIONS)


class BadFormula(GradingError):
    """The formula isn't arithmetic with the graders' names, or can't be evaluated."""

    flag = "formula_parse_error"


def parse(text: str) -> ast.expr:
    """The formula as a tree; raises `BadFormula` for anything but arithmetic."""
    if len(text) > LONGEST:
        raise BadFormula(f"the formula is longer than {LONGEST} characters")
    try:
        tree = ast.parse(text.replace("^", "**").strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise BadFormula(f"the formula can't be parsed: {text[:100]!r}") from None
    level = [tree]
    for _ in range(DEEPEST):
        level = [inner for node in level for inner in _operands(node)]
    if level:
        raise BadFormula(f"the formula is nested deeper than {DEEPEST} levels")
    return tree


def names(text: str) -> set[str]:
    """The names that a formula uses; raises `BadFormula` if it can't be evaluated, whatever they stand for."""
    return _names(parse(text))


def work_out(text: str, values: Mapping[str, float]) -> float:
    """The formula's value; raises `BadFormula`."""
    try:
        return float(_work_out(parse(text), values))
    except (ArithmeticError, ValueError, TypeError) as error:
        raise _impossible(error) from None


def _impossible(error: Exception) -> BadFormula:
    return BadFormula(f"the formula can't be evaluated: {error}")


def _names(node: ast.expr) -> set[str]:
    """The names in a tree; raises `BadFormula` if a part of it without names can't be evaluated."""
    if isinstance(node, ast.Name):
        return {node.id}
    found: set[str] = set().union(*map(_names, _operands(node)))
    if not found:
        try:
            _work_out(node, {})
        except (ArithmeticError, ValueError, TypeError) as error:
            raise _impossible(error) from None
    return found


def _operands(node: ast.expr) -> Iterator[ast.expr]:
    """The parts of one step of arithmetic; raises `BadFormula` for any other expression."""
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            pass
        case ast.Name():
            pass
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            yield from (left, right)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
            yield operand
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
            if len(args) not in ARGUMENTS.get(name, (1,)):
                raise BadFormula(f"{name} has another number of arguments")
            yield from args
        case _:
            raise BadFormula(WRONG)


def _work_out(node: ast.expr, values: Mapping[str, float]) -> float:
    """The value of a tree that `parse` has checked. Whole numbers become floats: theirs don't grow without a limit."""
    operands = [_work_out(inner, values) for inner in _operands(node)]
    match node:
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.Name(id=name):
            if name not in values:
                raise BadFormula(f"the formula names {name!r}, which is not one of the graders")
            return values[name]
        case ast.BinOp(op=op) | ast.UnaryOp(op=op):
            return OPERATORS[type(op)](*operands)
        case ast.Call(func=ast.Name(id=name)):
            return float(FUNCTIONS[name](*operands))
    raise BadFormula(WRONG)
