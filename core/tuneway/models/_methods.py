"""The training methods and their hyperparameters."""

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias, TypedDict, Unpack

from pydantic import ConfigDict, Field, model_serializer, model_validator

from tuneway.models._checked import Checked, Place, Strict
from tuneway.models._graders import Grader

Auto = Literal["auto"]
_KINDS = frozenset({"supervised", "dpo", "reinforcement"})
JSON: TypeAlias = Mapping[str, Any]


class Hyperparameters(Checked):
    """Hyperparameters of a training. For one that is left out or "auto", the service chooses a value.

    A service takes either `learning_rate_multiplier`, a factor of its own rate, or `learning_rate`, the rate itself. A
    service's own hyperparameters are passed on.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow", defer_build=True, protected_namespaces=())

    batch_size: Auto | Annotated[int, Field(ge=1, le=256)] | None = None
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    learning_rate_multiplier: Auto | Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    n_epochs: Auto | Annotated[int, Field(ge=1, le=50)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _catch_misspellings(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for name in data.keys() - cls.model_fields.keys():
                near = difflib.get_close_matches(str(name), cls.model_fields, n=1, cutoff=0.8)
                if near:
                    raise ValueError(f"{name}: no such hyperparameter; did you mean {near[0]!r}?")
        return data


class DPOHyperparameters(Hyperparameters):
    """Hyperparameters of preference training."""

    beta: Auto | Annotated[float, Field(gt=0, le=2)] | None = None


class ReinforcementHyperparameters(Hyperparameters):
    """Hyperparameters of reinforcement training."""

    reasoning_effort: Literal["default", "low", "medium", "high"] | None = None
    compute_multiplier: Auto | Annotated[float, Field(gt=0.00001, le=10)] | None = None
    eval_interval: Auto | Annotated[int, Field(ge=1)] | None = None
    eval_samples: Auto | Annotated[int, Field(ge=1)] | None = None


# an alias, since the methods have a field `type`
_HyperparametersClass: TypeAlias = type[Hyperparameters]


class _Method(Strict):
    """A training method. It takes its hyperparameters by name, or nested as in OpenAI's JSON."""

    parameters: ClassVar[_HyperparametersClass] = Hyperparameters

    @model_validator(mode="before")
    @classmethod
    def _flatten(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        kind = cls._kind()
        # the blocks of the other methods may be there, as null
        data = {name: value for name, value in data.items() if value is not None or name not in _KINDS - {kind}}
        inner = data.pop(kind, None)
        if inner is not None and not isinstance(inner, Mapping):
            raise ValueError(f"{kind}: not a mapping")
        data |= inner or {}
        flat = {name: data.pop(name) for name in list(data) if name in cls.parameters.model_fields}
        if flat:
            given = data.get("hyperparameters") or {}
            given = given.model_dump(exclude_unset=True) if isinstance(given, Hyperparameters) else given
            if not isinstance(given, dict):
                raise ValueError("hyperparameters: not a mapping")
            data["hyperparameters"] = given | flat
        return data

    @classmethod
    def _kind(cls) -> str:
        return str(cls.model_fields["type"].default)

    @classmethod
    def _known(cls) -> list[str]:
        return [*super()._known(), *cls.parameters.model_fields]

    @classmethod
    def _as_written(cls, place: Place, data: Mapping[str, Any]) -> Place:
        """Undo `_flatten`: the user may have given hyperparameters by name, or nested."""
        inner = data.get(cls._kind())
        above: Place = (cls._kind(),) if isinstance(inner, dict) else ()
        flat = place[:1] == ("hyperparameters",) and place[1:2] and place[1] in (inner or data)
        return above + (place[1:] if flat else place)

    @model_serializer(mode="wrap")
    def _nest(self, dump: Any) -> dict[str, Any]:
        inner = {k: v for k, v in dump(self).items() if k != "type" and v is not None}
        return {"type": self.type, self.type: inner}  # type: ignore[attr-defined]


class _HyperparameterFields(TypedDict, total=False):
    """For type checkers: the hyperparameters that a method takes by name."""

    batch_size: Auto | int | None
    learning_rate: float | None
    learning_rate_multiplier: Auto | float | None
    n_epochs: Auto | int | None


class _DPOFields(_HyperparameterFields, total=False):
    beta: Auto | float | None


class _ReinforcementFields(_HyperparameterFields, total=False):
    reasoning_effort: Literal["default", "low", "medium", "high"] | None
    compute_multiplier: Auto | float | None
    eval_interval: Auto | int | None
    eval_samples: Auto | int | None


class Supervised(_Method):
    """Supervised training: learn to answer like the examples. Example: `Supervised(n_epochs=3)`."""

    type: Literal["supervised"] = "supervised"
    hyperparameters: Hyperparameters | None = None

    if TYPE_CHECKING:

        def __init__(
            self, *, hyperparameters: Hyperparameters | JSON | None = None, **named: Unpack[_HyperparameterFields]
        ) -> None:
            """Take the hyperparameters by name, or all at once."""


class DPO(_Method):
    """Preference training: learn to prefer one answer to another. Example: `DPO(beta=0.1)`."""

    parameters: ClassVar[_HyperparametersClass] = DPOHyperparameters
    type: Literal["dpo"] = "dpo"
    hyperparameters: DPOHyperparameters | None = None

    if TYPE_CHECKING:

        def __init__(
            self, *, hyperparameters: DPOHyperparameters | JSON | None = None, **named: Unpack[_DPOFields]
        ) -> None:
            """Take the hyperparameters by name, or all at once."""


class Reinforcement(_Method):
    """Reinforcement training: learn from the scores of a grader."""

    parameters: ClassVar[_HyperparametersClass] = ReinforcementHyperparameters
    type: Literal["reinforcement"] = "reinforcement"
    grader: Grader
    hyperparameters: ReinforcementHyperparameters | None = None
    response_format: dict[str, Any] | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            grader: Grader | JSON,
            hyperparameters: ReinforcementHyperparameters | JSON | None = None,
            response_format: JSON | None = None,
            **named: Unpack[_ReinforcementFields],
        ) -> None:
            """Take the hyperparameters by name, or all at once."""


Method: TypeAlias = Annotated[Supervised | DPO | Reinforcement, Field(discriminator="type")]
"""One of the three methods, distinguished by `type`."""
