"""Real signatures in the reference: an extension of griffe, which reads the code for those pages.

What a user may write isn't always what stands in the code's signature:

* `**fields: Unpack[RecipeFields]` stands for the fields of that `TypedDict`: they are shown as arguments.
* A model of pydantic takes its fields: they are shown as arguments.
* An operator of Airflow hands `**kwargs` to its base classes, and `@with_fields(…)` adds fields of a recipe: the
  arguments of both are shown. Those of Airflow's own `BaseOperator` aren't.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import griffe

FIELDS = ("tuneway.recipe.RecipeFields", "tuneway.models.JobSpecFields", "tuneway.registry.RegistrationFields")
"""Where `@with_fields` has its fields from."""

MODELS = ("Checked", "Kept", "ModelRecord")
"""The models of pydantic whose constructors only pass fields on."""


class Signatures(griffe.Extension):  # type: ignore[misc,unused-ignore]  # the documentation's extra may be absent
    """See the module."""

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **_: Any) -> None:
        """Complete the signatures of one package, once all of it is read."""
        modules = loader.modules_collection
        members = [one for module in _modules(pkg) for one in module.members.values() if not one.is_alias]
        for one in members:
            for function in _functions(one):
                _show_fields(function, one if function.name == "__init__" else function, modules)
        for one in members:
            if isinstance(one, griffe.Class) and pkg.name == "airflow_tuneway":
                _show_bases(one)
            if isinstance(one, griffe.Class) and any(base.name in MODELS for base in one.mro()):
                _show_model(one)


def _modules(module: griffe.Module) -> Iterator[griffe.Module]:
    yield module
    for inner in module.modules.values():
        if not inner.is_alias:
            yield from _modules(inner)


def _functions(member: griffe.Object) -> list[griffe.Function]:
    """The function itself, or the functions of a class."""
    inner = member.members.values() if isinstance(member, griffe.Class) else [member]
    shown = [one for one in inner if isinstance(one, griffe.Function)]
    return [*shown, *(overload for one in shown for overload in one.overloads or ())]


# --- Fields of a TypedDict. ---


@dataclass(frozen=True)
class Field:
    """One field: what a signature and a docstring say of it."""

    name: str
    kind: Any
    required: bool
    text: str

    def parameter(self, default: str = "...", *, required: bool | None = None) -> griffe.Parameter:
        """The field in a signature."""
        needed = self.required if required is None else required
        keyword = griffe.ParameterKind.keyword_only
        return griffe.Parameter(self.name, annotation=self.kind, kind=keyword, default=None if needed else default)

    def told(self, parameter: griffe.Parameter) -> griffe.DocstringParameter:
        """The field in a docstring."""
        return griffe.DocstringParameter(
            self.name, description=self.text, annotation=self.kind, value=parameter.default
        )


def _show_fields(function: griffe.Function, told: griffe.Object, modules: griffe.ModulesCollection) -> None:
    """Show the fields of a `TypedDict` as arguments; their texts are added to a docstring."""
    last = [one for one in function.parameters if one.kind is griffe.ParameterKind.var_keyword]
    if not last:
        return
    annotation = last[0].annotation
    if isinstance(annotation, griffe.ExprSubscript) and annotation.canonical_name == "Unpack":
        fields = list(_fields_of(modules[annotation.slice.canonical_path]))
        shown = [field.parameter() for field in fields]
        kept = [one for one in function.parameters if one is not last[0]]
    else:
        fields, shown = _added(function, modules)
        kept = list(function.parameters)
    if not fields:
        return
    function.parameters = griffe.Parameters(*_in_order([*kept, *shown]))
    if told is not function:
        function.docstring = None  # the class's tells it all
    if told.docstring is not None:
        known = {name: one for name, one in _arguments(told) if name != last[0].name}
        texts = {field.name: field.told(one) for field, one in zip(fields, shown, strict=True)}
        merged = texts | known
        _tell(told.docstring, {one.name: merged[one.name] for one in function.parameters if one.name in merged})


def _fields_of(typed: Any) -> Iterator[Field]:
    """Each field of a `TypedDict` and of its bases."""
    typed = typed.final_target if typed.is_alias else typed
    for base in typed.bases:
        if isinstance(base, griffe.ExprName) and base.canonical_name != "TypedDict":
            yield from _fields_of(typed.modules_collection[base.canonical_path])
    attributes = griffe.DocstringSectionKind.attributes
    sections = typed.docstring.parsed if typed.docstring else []
    texts = {one.name: one.description for section in sections if section.kind is attributes for one in section.value}
    for name, field in typed.members.items():
        if field.is_attribute:
            kind = field.annotation
            required = isinstance(kind, griffe.ExprSubscript) and kind.canonical_name == "Required"
            yield Field(name, kind.slice if required else kind, required, texts.get(name, ""))


def _added(function: griffe.Function, modules: griffe.ModulesCollection) -> tuple[list[Field], list[griffe.Parameter]]:
    """The fields that `@with_fields(*NAMES, required=…)` adds to a constructor."""
    for decorator in function.decorators:
        call = decorator.value
        if isinstance(call, griffe.ExprCall) and call.canonical_name == "with_fields":
            named = [one for one in call.arguments if not isinstance(one, griffe.ExprKeyword)]
            required = [one.value for one in call.arguments if isinstance(one, griffe.ExprKeyword)]
            needed = [name for one in required for name in _strings(one, function.module)]
            known = {field.name: field for path in FIELDS for field in _fields_of(modules[path])}
            fields = [known[name] for one in named for name in _strings(one, function.module)]
            return fields, [field.parameter("None", required=field.name in needed) for field in fields]
    return [], []


def _strings(value: Any, module: Any) -> Iterator[str]:
    """The strings in an expression: in tuples, and in the tuples that names stand for."""
    if isinstance(value, str):
        yield ast.literal_eval(value)
    elif isinstance(value, griffe.ExprVarPositional):
        yield from _strings(value.value, module)
    elif isinstance(value, griffe.ExprTuple):
        for one in value.elements:
            yield from _strings(one, module)
    elif isinstance(value, griffe.ExprName):
        constant = module.modules_collection[value.canonical_path]
        constant = constant.final_target if constant.is_alias else constant
        yield from _strings(constant.value, constant.module)


# --- Models of pydantic. ---


def _show_model(model: griffe.Class) -> None:
    """Show the fields of a model as arguments, unless a constructor that is written out shows them."""
    family = [model, *model.mro()]
    inits = (base for base in family if "__init__" in base.members and base.members["__init__"].lineno)
    written = next(inits, None)
    if written is not None and written.name not in MODELS:
        return
    fields: dict[str, griffe.Parameter] = {}
    for base in reversed(family):
        for name, field in base.members.items():
            if field.is_attribute and field.annotation is not None and not _is_constant(name, field):
                keyword = griffe.ParameterKind.keyword_only
                fields[name] = griffe.Parameter(
                    name, annotation=field.annotation, kind=keyword, default=_default(field.value)
                )
    model.set_member(
        "__init__", griffe.Function("__init__", parameters=griffe.Parameters(*_in_order([*fields.values()])))
    )


def _is_constant(name: str, field: Any) -> bool:
    return name.startswith("_") or "property" in field.labels or "instance-attribute" not in field.labels


def _default(value: Any) -> Any:
    """The default of a field; None where the field is required."""
    if not (isinstance(value, griffe.ExprCall) and value.canonical_name == "Field"):
        return value
    given = {one.name: one.value for one in value.arguments if isinstance(one, griffe.ExprKeyword)}
    return given.get("default", "..." if "default_factory" in given else None)


# --- Operators of Airflow. ---


def _show_bases(operator: griffe.Class) -> None:
    """Add the arguments of the bases to an operator that hands `**kwargs` to them."""
    parameters: dict[str, griffe.Parameter] = {}
    told: dict[str, griffe.DocstringParameter] = {}
    for base in [operator, *operator.mro()]:
        init = base.members.get("__init__")
        told = dict(_arguments(base)) | told
        if isinstance(init, griffe.Function):
            parameters |= {one.name: one for one in init.parameters if one.name not in parameters}
            if not any(one.kind is griffe.ParameterKind.var_keyword for one in init.parameters):
                break
    if parameters:
        shown = griffe.Parameters(*_in_order(list(parameters.values())))
        operator.set_member("__init__", griffe.Function("__init__", parameters=shown))
        if operator.docstring is not None:
            _tell(operator.docstring, {one.name: told[one.name] for one in shown if one.name in told})


def _in_order(parameters: list[griffe.Parameter]) -> list[griffe.Parameter]:
    """What is required first, `**kwargs` last."""
    keywords = griffe.ParameterKind.var_keyword
    return sorted(parameters, key=lambda one: (one.kind is keywords, _is_keyword(one), not one.required))


def _is_keyword(parameter: griffe.Parameter) -> bool:
    return parameter.kind is griffe.ParameterKind.keyword_only


# --- Docstrings. ---


def _arguments(told: Any) -> Iterator[tuple[str, griffe.DocstringParameter]]:
    """What a docstring says of the arguments."""
    for section in told.docstring.parsed if told.docstring else []:
        if section.kind is griffe.DocstringSectionKind.parameters:
            yield from ((one.name, one) for one in section.value)


def _tell(docstring: griffe.Docstring, arguments: dict[str, griffe.DocstringParameter]) -> None:
    """Let a docstring tell of these arguments, and of no others."""
    sections = docstring.parsed
    kinds = [section.kind for section in sections]
    told = griffe.DocstringSectionParameters(list(arguments.values()))
    if told.kind in kinds:
        sections[kinds.index(told.kind)] = told
    elif arguments:
        sections.insert(1, told)  # below the text
