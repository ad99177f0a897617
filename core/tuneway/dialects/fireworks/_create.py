"""The bodies with which Fireworks' jobs are created, and what can't be said in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuneway._escape import excerpt
from tuneway.dialects.fireworks._resources import DPO_JOBS, SUPERVISED_JOBS, Resources, last_segment
from tuneway.errors import InvalidSpec
from tuneway.flows import CONTENT, KEY, ORIGIN, Offers, marks_in_name
from tuneway.models import TrainingSpec

NAME = "fireworks"
LONGEST_SUFFIX = 40
"""The rest of the 63 characters of a model's id keeps models with the same suffix apart."""

_SUFFIX = re.compile(r"[a-z][a-z0-9-]*")
_UNDERSCORE = re.compile(r"_([a-z0-9])")
_HYPERPARAMETERS = {"n_epochs": "epochs", "batch_size": "batchSizeSamples"}
_KNOWN = frozenset(
    {"model", "training_file", "validation_file", "method", "hyperparameters", "suffix", "seed", "metadata"}
    | {"integrations"}
)
_LARGEST_BETA = 0.5


@dataclass(frozen=True, kw_only=True)
class FireworksOffers(Offers):
    """What Fireworks offers, and what can't be said in its format."""

    def check(self, training: TrainingSpec, *, service: str) -> None:
        """Refuse what the service doesn't offer."""
        super().check(training, service=service)
        body = training.training_to_wire()
        if getattr(training, "validation_file", None) or getattr(training, "validation_data", None) is not None:
            body["validation_file"] = "given"
        create(Resources("any"), body, None)


OFFERS = FireworksOffers(
    methods=frozenset({"supervised", "dpo"}),
    pause=False,
    events=False,
    checkpoints=False,
    metadata=False,
    seed=False,
    integrations=frozenset(),
    suffix=LONGEST_SUFFIX,
    rate="absolute",
    chat="after deploying",
)


def create(resources: Resources, body: Mapping[str, Any], job_id: str | None) -> tuple[str, dict[str, Any]]:
    """Give the collection and the body of a create, for one in OpenAI's terms.

    Raises:
        InvalidSpec: Fireworks' format has no place for a field.
    """
    kind, parameters = _method(body)
    training = _settings(parameters) | _model(body, job_id)
    sent: dict[str, Any] = {"dataset": resources.dataset(str(body.get("training_file", "")))}
    origin = _mapping(body.get("metadata")).get(ORIGIN)
    if origin:
        sent["displayName"] = origin
    if kind == "dpo":
        collection = DPO_JOBS
        sent |= {"lossConfig": _loss(training), "trainingConfig": training}
        if body.get("validation_file"):
            raise _refused("validation_file", "takes no validation data for dpo", "Leave it out.")
    else:
        # without it some accounts are refused, for a carve-out that they didn't ask for
        collection = SUPERVISED_JOBS
        sent |= {**training, "evalAutoCarveout": False}
        if body.get("validation_file"):
            sent["evaluationDataset"] = resources.dataset(str(body["validation_file"]))
    return collection, _with_own(sent, {name: body[name] for name in body.keys() - _KNOWN}, model=body["model"])


def _method(body: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The method and its hyperparameters."""
    method = _mapping(body.get("method"))
    kind = str(method.get("type", "supervised"))
    block = _mapping(method.get(kind))
    nested, beside = _mapping(block.get("hyperparameters")), _mapping(body.get("hyperparameters"))
    if nested and beside:
        raise _refused("hyperparameters", "takes one set of hyperparameters, and there are two", "Give one of them.")
    more = sorted(block.keys() - {"hyperparameters"})
    if more:
        raise _refused("method", f"takes only the hyperparameters of a method, and no {excerpt(more[0])}", None)
    return kind, nested or beside


def _settings(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters under Fireworks' names. What is left to the service ("auto") is left out."""
    settings: dict[str, Any] = {}
    for name, value in parameters.items():
        if value in (None, "auto"):
            continue
        theirs = _HYPERPARAMETERS.get(name, _camel(name))
        if theirs in settings:
            raise _refused(name, f"takes one {theirs}, and there are two", "Give one of them.")
        settings[theirs] = value
    return settings


def _model(body: Mapping[str, Any], job_id: str | None) -> dict[str, Any]:
    """The base model, and the id of the model that comes of it. Without a suffix that is the job's id."""
    model, suffix = Resources.model(str(body["model"])), body.get("suffix")
    if suffix is None:
        return {"baseModel": model}
    if not _SUFFIX.fullmatch(suffix) or suffix.endswith("-"):
        raise _refused("suffix", "takes small letters, digits and hyphens", "It becomes the beginning of an id.")
    marks, name = marks_in_name(job_id or ""), last_segment(job_id or "")
    tail = f"-{marks[KEY][:8]}-{marks[CONTENT][:8]}-{name.rpartition('-')[2]}" if marks else ""
    return {"baseModel": model, "outputModel": f"{suffix}{tail}"}


def _loss(training: dict[str, Any]) -> dict[str, Any]:
    """What a preference job optimises. Without a method, Fireworks doesn't mean DPO."""
    beta = training.pop("beta", None)
    if beta is None:
        return {"method": "DPO"}
    if beta >= _LARGEST_BETA:
        raise _refused("beta", f"takes a beta below {_LARGEST_BETA}, and not {excerpt(beta)}", None)
    return {"method": "DPO", "dpo": {"beta": beta}}


def _with_own(sent: dict[str, Any], own: Mapping[str, Any], *, model: str) -> dict[str, Any]:
    """Add the fields of `extra_body`, also inside of the blocks that a body has already."""
    if "displayName" in own:
        raise _refused("displayName", "shows there who asked for the job", "Leave it out; `suffix` names the model.")
    start = {**own, **_mapping(own.get("trainingConfig"))}.get("warmStartFrom")
    if start is not None:
        if start != model:
            raise _refused("warmStartFrom", "starts from one model", "Give the same name as `model`.")
        _mapping(sent.get("trainingConfig", sent)).pop("baseModel")
    for name, value in own.items():
        inner = sent.get(name)
        sent[name] = {**inner, **value} if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return sent


def _camel(name: str) -> str:
    return _UNDERSCORE.sub(lambda found: found[1].upper(), name)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _refused(field: str, why: str, hint: str | None) -> InvalidSpec:
    return InvalidSpec(f"{field}: {NAME} {why}", field=field, hint=hint)
