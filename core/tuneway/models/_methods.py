"""How to train: the methods and their hyperparameters."""

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias, TypedDict, Unpack

from pydantic import ConfigDict, Field, model_serializer, model_validator

from tuneway.models._checked import Checked, Place, Strict
from tuneway.models._graders import Grader

Auto = Literal["auto"]
JSON: TypeAlias = Mapping[str, Any]


class Hyperparameters(Checked):
    """Knobs of a training; left out or "auto", the service chooses. A service's own knobs pass through."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow", defer_build=True, protected_namespaces=())

    batch_size: Auto | Annotated[int, Field(ge=1, le=256)] | None = None
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
    """Knobs of preference training."""

    beta: Auto | Annotated[float, Field(gt=0, le=2)] | None = None


class ReinforcementHyperparameters(Hyperparameters):
    """Knobs of reinforcement training."""

    reasoning_effort: Literal["default", "low", "medium", "high"] | None = None
    compute_multiplier: Auto | Annotated[float, Field(gt=0.00001, le=10)] | None = None
    eval_interval: Auto | Annotated[int, Field(ge=1)] | None = None
    eval_samples: Auto | Annotated[int, Field(ge=1)] | None = None


# inside the methods `type` is a field
_KnobsClass: TypeAlias = type[Hyperparameters]


class _Method(Strict):
    """A method takes its hyperparameters by name, or as the wire nests them."""

    knobs: ClassVar[_KnobsClass] = Hyperparameters

    @model_validator(mode="before")
    @classmethod
    def _flatten(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = dict(data)
        inner = data.pop(cls._kind(), None)
        if isinstance(inner, dict):
            data |= inner
        knobs = {name: data.pop(name) for name in list(data) if name in cls.knobs.model_fields}
        if knobs:
            given = data.get("hyperparameters") or {}
            given = given.model_dump(exclude_unset=True) if isinstance(given, Hyperparameters) else given
            if not isinstance(given, dict):
                raise ValueError("hyperparameters: not a mapping")
            data["hyperparameters"] = given | knobs
        return data

    @classmethod
    def _kind(cls) -> str:
        return str(cls.model_fields["type"].default)

    @classmethod
    def _known(cls) -> list[str]:
        return [*super()._known(), *cls.knobs.model_fields]

    @classmethod
    def _as_written(cls, place: Place, data: Mapping[str, Any]) -> Place:
        """Undo the flattening: knobs may stand beside the type, or where the wire nests them."""
        inner = data.get(cls._kind())
        above: Place = (cls._kind(),) if isinstance(inner, dict) else ()
        flat = place[:1] == ("hyperparameters",) and place[1:2] and place[1] in (inner or data)
        return above + (place[1:] if flat else place)

    @model_serializer(mode="wrap")
    def _nest(self, dump: Any) -> dict[str, Any]:
        inner = {k: v for k, v in dump(self).items() if k != "type" and v is not None}
        return {"type": self.type, self.type: inner}  # type: ignore[attr-defined]


class _Knobs(TypedDict, total=False):
    """For type checkers: what may be written beside the type, or under `hyperparameters`."""

    batch_size: Auto | int | None
    learning_rate_multiplier: Auto | float | None
    n_epochs: Auto | int | None


class _DPOKnobs(_Knobs, total=False):
    beta: Auto | float | None


class _ReinforcementKnobs(_Knobs, total=False):
    reasoning_effort: Literal["default", "low", "medium", "high"] | None
    compute_multiplier: Auto | float | None
    eval_interval: Auto | int | None
    eval_samples: Auto | int | None


class Supervised(_Method):
    """Learn to answer as the examples do: `Supervised(n_epochs=3)`."""

    type: Literal["supervised"] = "supervised"
    hyperparameters: Hyperparameters | None = None

    if TYPE_CHECKING:

        def __init__(self, *, hyperparameters: Hyperparameters | JSON | None = None, **knobs: Unpack[_Knobs]) -> None:
            """Give the knobs by name, or all at once."""


class DPO(_Method):
    """Learn to prefer one answer to another: `DPO(beta=0.1)`."""

    knobs: ClassVar[_KnobsClass] = DPOHyperparameters
    type: Literal["dpo"] = "dpo"
    hyperparameters: DPOHyperparameters | None = None

    if TYPE_CHECKING:

        def __init__(
            self, *, hyperparameters: DPOHyperparameters | JSON | None = None, **knobs: Unpack[_DPOKnobs]
        ) -> None:
            """Give the knobs by name, or all at once."""


class Reinforcement(_Method):
    """Learn from a grader's score."""

    knobs: ClassVar[_KnobsClass] = ReinforcementHyperparameters
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
            **knobs: Unpack[_ReinforcementKnobs],
        ) -> None:
            """Give the knobs by name, or all at once."""


Method: TypeAlias = Annotated[Supervised | DPO | Reinforcement, Field(discriminator="type")]
"""One of the three, told apart by `type`."""
