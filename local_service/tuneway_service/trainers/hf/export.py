"""Export a trained model as a folder for other programs: Transformers, PEFT, vLLM; llama.cpp and Ollama."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tuneway.errors import InvalidInput
from tuneway_service.trainers.hf import smol
from tuneway_service.trainers.hf.base import Base, find_base
from tuneway_service.trainers.hf.facts import ADAPTER, PREFIX, model_card, read_facts

if TYPE_CHECKING:
    from tuneway_service.model_formats import ModelFormat, WeightKind


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


def export_model(
    source: Path, to: Path, *, merged: bool = False, form: ModelFormat = "transformers", quantize: WeightKind = "f16"
) -> str:
    """Write an exported model as a folder of its own; returns a short description of what was written.

    Args:
        source: The result of `find_model`.
        to: A folder that doesn't exist, or is empty.
        merged: Merge an adapter into the weights of its base, so that the folder needs nothing else.
        form: The format: "transformers" (also read by vLLM), "gguf" (llama.cpp), or "ollama" (GGUF with a Modelfile).
        quantize: How GGUF stores weights, such as "q8_0".
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
    try:
        if form == "transformers":
            written = _for_transformers(source, unfinished, base, merged=merged)
        else:
            written = _as_gguf(source, unfinished, base, merged=merged, quantize=quantize, ollama=form == "ollama")
        (unfinished / "README.md").write_text(model_card(facts), encoding="utf-8")
        if to.exists():
            to.rmdir()
        unfinished.rename(to)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return written


def _for_transformers(source: Path, to: Path, base: Base, *, merged: bool) -> str:
    if not (source / ADAPTER).exists():
        shutil.copytree(source, to)
        return "all weights"
    if merged:
        _merge(base, source, to)
        return "all weights, with the adapter merged"
    shutil.copytree(source, to)
    _name_base(to / ADAPTER, base)
    return f"an adapter of {base.folder()}"


def _as_gguf(source: Path, to: Path, base: Base, *, merged: bool, quantize: WeightKind, ollama: bool) -> str:
    from tuneway_service.trainers.hf.gguf_files import modelfile, tokenizer_and_stops, write_adapter, write_whole

    to.mkdir(parents=True)
    model, adapter = "model.gguf", None
    if (source / ADAPTER).exists() and not merged:
        model, adapter = "base.gguf", "adapter.gguf"
        _write_base(base, to / model, quantize)
        write_adapter(source, base.folder(), to / adapter)
        written = f"an adapter and its base, {base.title}"
    elif (source / ADAPTER).exists():
        with tempfile.TemporaryDirectory(prefix="merged-", dir=to.parent) as whole:
            _merge(base, source, Path(whole))
            write_whole(Path(whole), to / model, quantize, name=base.title)
        written = "all weights, with the adapter merged"
    else:
        write_whole(source, to / model, quantize, name=base.title)
        written = "all weights"
    if ollama:
        text = modelfile(*tokenizer_and_stops(base.folder()), model=model, adapter=adapter)
        (to / "Modelfile").write_text(text, encoding="utf-8")
    return written


def _write_base(base: Base, path: Path, quantize: WeightKind) -> None:
    """The base as GGUF: as it came, if it came so."""
    from tuneway_service.trainers.hf.gguf_files import write_whole

    if base.name == smol.NAME:
        shutil.copyfile(smol.find_weights(), path)
    else:
        write_whole(base.folder(), path, quantize, name=base.title)


def _name_base(config: Path, base: Base) -> None:
    """Set the path of the base model on this machine."""
    content = json.loads(config.read_bytes())
    content["base_model_name_or_path"] = str(base.folder())
    config.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _merge(base: Base, source: Path, to: Path) -> None:
    import torch
    from peft import PeftModel

    from tuneway_service.trainers.hf.models import load_plain, load_tokenizer, peft_s_own_warnings_ignored, write_whole

    # merged with full precision, written with the base's
    model = load_plain(base.folder(), torch.float32)
    kind = getattr(torch, str(base.dtype), torch.float32)
    with peft_s_own_warnings_ignored():
        model = PeftModel.from_pretrained(model, str(source))
    model = model.merge_and_unload().to(kind)
    write_whole(model, load_tokenizer(base), to)
