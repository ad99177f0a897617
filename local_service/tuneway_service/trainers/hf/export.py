"""Export a trained model as a folder for other programs: Transformers, PEFT, vLLM."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

from tuneway.errors import InvalidInput
from tuneway_service.trainers.hf.base import Base, find_base
from tuneway_service.trainers.hf.facts import ADAPTER, PREFIX, model_card, read_facts

if TYPE_CHECKING:
    from pathlib import Path


def find_model(jobs_dir: Path, job_id: str, step: int | None = None) -> Path:
    """The folder of a job's model, or of its checkpoint of a step."""
    folder = jobs_dir / os.path.basename(job_id)  # noqa: PTH119 - keeps a name only, whatever path was typed
    if not folder.is_dir():
        raise InvalidInput(f"there is no job {job_id} in {jobs_dir}", hint="Give the service's --data-dir.")
    place = folder / "model" if step is None else folder / "checkpoints" / str(step)
    if place.is_dir():
        return place
    kept = sorted(int(other.name) for other in folder.glob("checkpoints/*") if other.name.isdigit())
    what = "model" if step is None else f"checkpoint of step {step}"
    raise InvalidInput(
        f"{job_id} has no {what}",
        hint=f"It has checkpoints of steps {', '.join(map(str, kept))}." if kept else "Has the job succeeded?",
    )


def export_model(source: Path, to: Path, *, merged: bool = False) -> str:
    """Write an exported model as a folder of its own; returns a short description of what was written.

    Args:
        source: The result of `find_model`.
        to: A folder that doesn't exist, or is empty.
        merged: Merge an adapter into the weights of its base, so that the folder needs nothing else.
    """
    if not (source / ADAPTER).exists() and (source / "index.json").exists():
        raise InvalidInput(
            "this is not a language model: the trainer 'bytes' made it",
            hint="Tune a language model, with --model NAME=smol.",
        )
    facts = read_facts(source)
    if to.exists() and any(to.iterdir()):
        raise InvalidInput(f"{to} isn't empty", hint="Give a folder that doesn't exist yet.")
    unfinished = to.with_name(f"{to.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    base = find_base(str(facts["trainer"]).removeprefix(PREFIX))
    if not (source / ADAPTER).exists():
        shutil.copytree(source, unfinished)
        written = "all weights"
    elif merged:
        _merge(base, source, unfinished)
        written = "all weights, with the adapter merged"
    else:
        shutil.copytree(source, unfinished)
        _name_base(unfinished / ADAPTER, base)
        written = f"an adapter of {base.folder()}"
    (unfinished / "README.md").write_text(model_card(facts), encoding="utf-8")
    if to.exists():
        to.rmdir()
    unfinished.rename(to)
    return written


def _name_base(config: Path, base: Base) -> None:
    """Set the path of the base model on this machine."""
    content = json.loads(config.read_bytes())
    content["base_model_name_or_path"] = str(base.folder())
    config.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _merge(base: Base, source: Path, to: Path) -> None:
    import torch
    from peft import PeftModel

    from tuneway_service.trainers.hf.models import load_plain, load_tokenizer, write_whole

    # merged with full precision, written with the base's
    model = load_plain(base.folder(), torch.float32)
    kind = getattr(torch, str(base.dtype), torch.float32)
    model = PeftModel.from_pretrained(model, str(source)).merge_and_unload().to(kind)
    write_whole(model, load_tokenizer(base), to)
