"""Inputs from the types of the `openai` package: those that fit a type, and those one step beside them.

A type becomes a JSON schema. A test adds to it what the types don't say, such as the limits of a number.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from typing import Any, get_type_hints

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter
from typing_extensions import TypedDict

Schema = dict[str, Any]
FEW = 3  # entries of a list or an object, unless a schema says more
NOTHING: Schema = {"type": "object", "properties": {}, "additionalProperties": False}


def schema_of(kind: Any, *, without: tuple[str, ...] = ()) -> Schema:
    """The JSON schema of a type, without references; objects with named fields have no others."""
    if without:
        fields = {name: hint for name, hint in get_type_hints(kind, include_extras=True).items() if name not in without}
        kind = TypedDict(kind.__name__, fields, total=False)  # type: ignore[no-redef,operator]
    whole = TypeAdapter(kind).json_schema()
    return _closed(_whole(whole, whole.get("$defs", {})))


def _whole(part: Any, named: Mapping[str, Any]) -> Any:
    if isinstance(part, list):
        return [_whole(inner, named) for inner in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return _whole(named[part["$ref"].rsplit("/", 1)[1]], named)
    words = ("$defs", "title", "description", "discriminator", "default")
    return {name: _whole(inner, named) for name, inner in part.items() if name not in words or not _is_word(inner)}


def _is_word(value: Any) -> bool:
    """Whether it is a keyword's value and not the schema of a field of that name."""
    return not (isinstance(value, dict) and ("type" in value or "anyOf" in value or "const" in value))


def _closed(part: Any) -> Any:
    if isinstance(part, list):
        return [_closed(inner) for inner in part]
    if not isinstance(part, dict):
        return part
    part = {name: _closed(inner) for name, inner in part.items()}
    if isinstance(part.get("properties"), dict) and part.get("type") == "object":
        part.setdefault("additionalProperties", False)
    return part


def with_more(schema: Schema, more: Mapping[str, Schema]) -> Schema:
    """The schema with keywords added at places such as "expires_after.seconds" or "integrations[].type".

    What has a type, a constant or a choice of its own replaces what is there.
    """
    schema = copy.deepcopy(schema)
    for place, words in more.items():
        found = list(_at(schema, [name for name in place.replace("[]", ".[]").split(".") if name]))
        assert found, f"{place} is no place in the schema"
        for part in found:
            if words.keys() & {"type", "const", "enum", "anyOf", "not"}:
                part.clear()
            part.update(words)
    return schema


def _at(part: Schema, place: list[str]) -> Iterator[Schema]:
    if not place:
        yield part
        return
    for branch in part.get("anyOf", ()):
        yield from _at(branch, place)
    if place[0] == "[]":
        if "items" in part:
            yield from _at(part["items"], place[1:])
    elif place[0] in part.get("properties", {}):
        yield from _at(part["properties"][place[0]], place[1:])


def or_null(part: Any) -> Any:
    """The schema in which every optional field may be null too."""
    if isinstance(part, list):
        return [or_null(inner) for inner in part]
    if not isinstance(part, dict):
        return part
    part = {name: or_null(inner) for name, inner in part.items()}
    if isinstance(fields := part.get("properties"), dict):
        needed = part.get("required", ())
        part["properties"] = {
            name: inner if name in needed else {"anyOf": [inner, {"type": "null"}]} for name, inner in fields.items()
        }
    return part


def fits(schema: Schema, value: Any) -> bool:
    """Whether a value fits a schema."""
    return Draft202012Validator(schema).is_valid(value)


# --- What fits ---

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=FEW) | st.dictionaries(st.text(max_size=8), inner, max_size=FEW),
    max_leaves=6,
)  # fmt: skip


def values(schema: Schema) -> SearchStrategy[Any]:
    """The values that fit a schema."""
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        rest = {name: word for name, word in schema.items() if name != "anyOf"}
        return st.one_of([values(branch | rest) for branch in schema["anyOf"]])
    make = _MAKERS.get(schema.get("type", ""))
    return ANYTHING if make is None else make(schema)


def plain(schema: Schema) -> Any:
    """One value that fits: of an object what is needed, and nothing else."""
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return plain(schema["anyOf"][0])
    match schema.get("type"):
        case "object":
            return {name: plain(schema["properties"][name]) for name in schema.get("required", ())}
        case "array":
            return [plain(schema["items"])] * schema.get("minItems", 0)
        case "string":
            return "a"
        case "integer" | "number":
            return max(1, schema.get("minimum", 1))
    return None


def _objects(schema: Schema) -> SearchStrategy[Any]:
    fields, needed = schema.get("properties", {}), schema.get("required", ())
    named = st.fixed_dictionaries(
        {name: values(fields[name]) for name in needed},
        optional={name: values(part) for name, part in fields.items() if name not in needed and "not" not in part},
    )
    others = schema.get("additionalProperties", True)
    if others is False:
        return named
    keys = st.text(max_size=schema.get("propertyNames", {}).get("maxLength", 8)).filter(lambda key: key not in fields)
    free = st.dictionaries(keys, values({} if others is True else others), max_size=schema.get("maxProperties", FEW))
    return st.builds(lambda first, second: first | second, free, named)


def _lists(schema: Schema) -> SearchStrategy[Any]:
    least = schema.get("minItems", 0)
    most = min(schema.get("maxItems", FEW), least + FEW)
    return st.lists(values(schema.get("items", {})), min_size=least, max_size=most)


def _texts(schema: Schema) -> SearchStrategy[Any]:
    if "pattern" in schema:
        return st.from_regex(schema["pattern"], fullmatch=True)
    return st.text(min_size=schema.get("minLength", 0), max_size=min(schema.get("maxLength", 40), 70))


def _numbers(schema: Schema) -> SearchStrategy[Any]:
    low, high = schema.get("exclusiveMinimum", schema.get("minimum")), schema.get("maximum")
    beyond = "exclusiveMinimum" in schema
    return st.floats(low, high, allow_nan=False, allow_infinity=False, exclude_min=beyond and low is not None)


_MAKERS: dict[str, Callable[[Schema], SearchStrategy[Any]]] = {
    "object": _objects,
    "array": _lists,
    "string": _texts,
    "integer": lambda schema: st.integers(schema.get("minimum", -(2**40)), schema.get("maximum", 2**40)),
    "number": _numbers,
    "boolean": lambda _: st.booleans(),
    "null": lambda _: st.none(),
}


# --- One step beside ---

DEEP: Any = json.loads("[" * 200 + "]" * 200)
ODD = [
    None, True, False, 0, -1, 1, 7, 0.5, 2**31, -(2**63), 10**30, 1e308, 5e-324,
    "", "AAA", "auto", "7", "null", "\x00", "\x1b[31m\r\n", "\u202e\u2066", "e\u0301" * 50, "\U0001f600", "{{item.x}}",
    "../../etc/passwd", "x" * 5000,
    [], [None], ["AAA"], [[]], ["x"] * 3000, {}, {"": ""}, {"a": 1}, {"type": "AAA"}, DEEP,
]  # fmt: skip


@st.composite
def beside(draw: st.DrawFn, fitting: SearchStrategy[Any]) -> Any:
    """A value that fits, changed at one place: another type, missing, more, out of range, deep, huge, odd characters.

    One in ten is as it was.
    """
    value = copy.deepcopy(draw(fitting))
    if draw(st.integers(1, 10)) == 1:
        return value
    places = list(_places(value))
    place = draw(st.sampled_from(places))
    if not place:
        return draw(st.sampled_from(ODD)) if not isinstance(value, dict) else _added(draw, value)
    *way, last = place
    holder = reduce(lambda part, step: part[step], way, value)
    inner = holder[last]
    step = draw(st.sampled_from(["odd", "odd", "odd", "missing", "more"]))
    if step == "missing":
        del holder[last]
    elif step == "more" and isinstance(inner, dict):
        holder[last] = _added(draw, inner)
    elif step == "more" and isinstance(inner, list) and inner:
        holder[last] = inner * draw(st.sampled_from([2, 40]))
    else:
        holder[last] = draw(st.sampled_from(ODD))
    return value


def _added(draw: st.DrawFn, value: dict[str, Any]) -> dict[str, Any]:
    name = draw(st.sampled_from(["colour", "", "type", "\x00", "x" * 600, "__class__"]))
    return value | {name: draw(st.sampled_from(ODD))}


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    if isinstance(value, dict | list):
        for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places(inner, (*place, step))
