"""The body of Together's create, from OpenAI's. The service has no defaults: every field is sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tuneway._escape import excerpt
from tuneway.errors import InvalidSpec

PLAIN: Mapping[str, Any] = {
    "n_epochs": 1,
    "learning_rate": 1e-5,
    "warmup_ratio": 0.0,
    "max_grad_norm": 1.0,
    "weight_decay": 0.0,
    "packing": True,
    "n_checkpoints": 1,
    "early_stopping_enabled": False,
}
"""Hyperparameters that have the same name in the body, with the values that the service's own SDK sends."""

OPTIONAL = (
    "max_seq_length",
    "gradient_accumulation_steps",
    "early_stopping_patience",
    "early_stopping_min_delta",
    "early_stopping_warmup_evals",
)
"""Those that are sent only if they are given."""

SCHEDULER = ("lr_scheduler_type", "min_lr_ratio", "scheduler_num_cycles")
LORA = ("lora", "lora_r", "lora_alpha", "lora_dropout", "lora_trainable_modules")
SHARED = frozenset({*PLAIN, *OPTIONAL, *SCHEDULER, *LORA, "batch_size", "n_evals", "train_vision"})
OWN = {
    "supervised": frozenset({"train_on_inputs"}),
    "dpo": frozenset({"beta", "dpo_normalize_logratios_by_length", "rpo_alpha", "simpo_gamma"}),
}
"""Hyperparameters of one method only."""

WANDB_HINT = "Set WANDB_API_KEY, or the service option wandb_api_key. Together sends the metrics in your name."

WANDB = {
    "project": "wandb_project_name",
    "name": "wandb_name",
    "entity": "wandb_entity",
    "base_url": "wandb_base_url",
}
"""The fields of an integration with Weights & Biases, and their names in the body."""

TYPES = ("lora_training", "full_training")
"""The limits of the two types of training. A model may have one type alone; the limits of the other are None then."""

LARGEST = ("max_batch_size", "max_batch_size_dpo")
"""The limits that are the largest batches, of supervised training and of DPO."""

TRANSLATED = frozenset(
    {
        *("model", "training_file", "validation_file", "method", "hyperparameters"),
        *("suffix", "seed", "integrations"),
    }
)
"""The fields of OpenAI's body. Others are the service's own, and are sent as they are."""


def problems(given: Mapping[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    """The fields of a training, in OpenAI's terms, that can't be translated: the field, why, and what to do."""
    kind, hyperparameters = method_of(given)
    block = (given.get("method") or {}).get(kind) or {}
    for name in sorted(block.keys() - {"hyperparameters"}):
        yield "method", f"takes only the hyperparameters of a method, and no {excerpt(name)}", "Leave it out."
    if block.get("hyperparameters") and given.get("hyperparameters"):
        yield "hyperparameters", "takes one set of hyperparameters, and there are two", "Give those of the method."
    known = SHARED | OWN.get(kind, frozenset())
    for name in sorted(hyperparameters.keys() - known - {"learning_rate_multiplier"}):
        yield name, f"takes no hyperparameter {excerpt(name)}", f"It takes {', '.join(sorted(known))}."
    yield from _contradictions(hyperparameters)
    integrations = given.get("integrations") or ()
    if len(integrations) > 1:
        yield "integrations", "takes one integration", "Leave out the others."
    pairs = [item for one in integrations for item in one["wandb"].items()]
    for name in sorted({name for name, value in pairs if name not in WANDB and value not in (None, [])}):
        yield "integrations", f"takes no {excerpt(name)} for Weights & Biases", f"It takes {', '.join(WANDB)}."


def _contradictions(asked: Mapping[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    """Hyperparameters that another one leaves without a place in the body."""
    if asked.get("lora") is False:
        for name in (name for name in LORA if name != "lora" and name in asked):
            yield name, f"takes no {name} with lora=False", "Leave out one of them."
    if "scheduler_num_cycles" in asked and asked.get("lr_scheduler_type", "cosine") != "cosine":
        yield "scheduler_num_cycles", "has cycles in the scheduler cosine alone", "Leave it out."
    if asked.get("dpo_normalize_logratios_by_length") is False and (asked.get("simpo_gamma") or 0) > 0:
        name = "dpo_normalize_logratios_by_length"
        yield name, "normalises by length whenever simpo_gamma is given", "Leave out one of them."
    alpha = asked.get("lora_alpha", 1)
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not float(alpha).is_integer():
        yield "lora_alpha", f"takes a whole number, and not {excerpt(alpha)}", None


def method_of(given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The method's name, and its hyperparameters without those that the service is to choose."""
    method = given.get("method") or {}
    kind = method.get("type", "supervised")
    found = (method.get(kind) or {}).get("hyperparameters") or given.get("hyperparameters") or {}
    return kind, {name: value for name, value in found.items() if value not in (None, "auto")}


def base_of(given: Mapping[str, Any]) -> dict[str, str]:
    """What a training starts from: a model, or a job whose model is trained on."""
    model = given["model"]
    return {"from_checkpoint" if model.startswith("ft-") else "model": model}


def limited_by(given: Mapping[str, Any]) -> str:
    """The name whose limits are valid for a training."""
    return str(given["model"]).partition(":")[0] if "from_checkpoint" in base_of(given) else str(given["model"])


def create_body(given: Mapping[str, Any], limits: Mapping[str, Any], *, wandb_key: str | None = None) -> dict[str, Any]:
    """Make the body of a create.

    Args:
        given: OpenAI's body.
        limits: The limits of the model, as the service gives them.
        wandb_key: The key of Weights & Biases.
    """
    kind, asked = method_of(given)
    validation = given.get("validation_file") or ""
    body = base_of(given) | {"training_file": given["training_file"], "validation_file": validation}
    own: dict[str, Any] = {name: asked.get(name, usual) for name, usual in PLAIN.items()}
    own |= {name: asked[name] for name in OPTIONAL if name in asked}
    own["n_evals"] = asked.get("n_evals", 1 if validation else 0)
    own["lr_scheduler"] = _scheduler(asked)
    own["training_method"] = _dpo(asked) if kind == "dpo" else _supervised(asked)
    training_type = _training_type(asked, limits, given["model"], inherited="from_checkpoint" in body)
    if training_type is not None:
        own["training_type"] = training_type
    own["batch_size"] = asked.get("batch_size") or _largest_batch(limits, kind, training_type)
    if limits.get("supports_vision"):
        own["multimodal_params"] = {"train_vision": asked.get("train_vision", False)}
    elif asked.get("train_vision"):
        raise InvalidSpec(
            f"train_vision: {given['model']} sees no images at together", field="train_vision", hint="Leave it out."
        )
    for name, value in (("suffix", given.get("suffix")), ("random_seed", given.get("seed"))):
        if value is not None:
            own[name] = value
    extra = {name: value for name, value in given.items() if name not in TRANSLATED}
    return body | own | _wandb(given, wandb_key) | extra


def price_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """What the service is asked for the price of a job, from the body of its create."""
    names = ("training_file", "validation_file", "model", "from_checkpoint", "n_epochs", "n_evals", "training_method")
    asked = {name: body[name] for name in (*names, "training_type") if body.get(name) not in (None, "")}
    method = dict(body["training_method"])
    if method.get("method") == "dpo":
        method = {"rpo_alpha": 0, "simpo_gamma": 0} | method
    return asked | {"training_method": method}


def _scheduler(asked: Mapping[str, Any]) -> dict[str, Any]:
    kind = asked.get("lr_scheduler_type", "cosine")
    arguments = {"min_lr_ratio": asked.get("min_lr_ratio", 0.0)}
    if kind == "cosine":
        arguments["num_cycles"] = asked.get("scheduler_num_cycles", 0.5)
    return {"lr_scheduler_type": kind, "lr_scheduler_args": arguments}


def _supervised(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {"method": "sft", "train_on_inputs": asked.get("train_on_inputs", "auto")}


def _dpo(asked: Mapping[str, Any]) -> dict[str, Any]:
    """As the SDK does: SimPO uses no reference model, and normalises by length."""
    simpo = (asked.get("simpo_gamma") or 0) > 0
    method = {
        "method": "dpo",
        "dpo_beta": asked.get("beta", 0.1),
        "dpo_normalize_logratios_by_length": simpo or asked.get("dpo_normalize_logratios_by_length", False),
        "dpo_reference_free": simpo,
    }
    return method | {name: asked[name] for name in ("rpo_alpha", "simpo_gamma") if name in asked}


def _training_type(
    asked: Mapping[str, Any], limits: Mapping[str, Any], model: str, *, inherited: bool
) -> dict[str, Any] | None:
    """LoRA unless it is declined. A training that goes on from a job's model inherits its type."""
    if asked.get("lora") is False:
        return {"type": "Full"}
    if inherited and not any(name in asked for name in LORA):
        return None
    lora = limits["lora_training"]
    if lora is None:
        raise InvalidSpec(
            f"lora: {model} is trained only in full at together",
            field="lora",
            hint="Give the hyperparameter lora=False.",
        )
    rank = asked.get("lora_r", lora.get("default_rank", 8))
    return {
        "type": "Lora",
        "lora_r": rank,
        "lora_alpha": int(asked.get("lora_alpha", rank * 2)),
        "lora_dropout": asked.get("lora_dropout", 0.0),
        # some models refuse "all-linear", and take the modules that their limits name
        "lora_trainable_modules": asked.get("lora_trainable_modules")
        or ",".join(lora.get("target_modules") or ())
        or "all-linear",
    }


def _largest_batch(limits: Mapping[str, Any], kind: str, training_type: Mapping[str, Any] | None) -> int:
    """What the SDK calls "max", which the API itself has refused."""
    lora, full = (limits[name] for name in TYPES)
    most = full or lora if (training_type or {}).get("type") == "Full" else lora or full
    return int(most[LARGEST[1] if kind == "dpo" else LARGEST[0]])


def _wandb(given: Mapping[str, Any], key: str | None) -> dict[str, Any]:
    for one in given.get("integrations") or ():
        options = {WANDB[name]: value for name, value in one["wandb"].items() if name in WANDB and value is not None}
        return options | {"wandb_key": key}
    return {}
