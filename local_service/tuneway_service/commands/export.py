"""`export`: write a model of the local service as a folder for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuneway.cli._output import Output
from tuneway.cli._steps import JobArgument, job_id_in
from tuneway.errors import MissingExtra
from tuneway_service.model_formats import ModelFormat, WeightKind


def export(
    job: JobArgument,
    *,
    to: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write; it must not exist yet.")],
    data_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The service's data directory; by default in your data folder.")
    ] = None,
    job_storage: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The service's job storage, if it was started with one.")
    ] = None,
    form: Annotated[
        ModelFormat,
        typer.Option(
            "--format", help="transformers (also for vLLM), gguf (llama.cpp), or ollama: GGUF with a Modelfile."
        ),
    ] = "transformers",
    quantize: Annotated[WeightKind, typer.Option(help="How GGUF stores the weights: f16, or fewer bits.")] = "f16",
    merged: Annotated[
        bool, typer.Option("--merged", help="The whole model with the adapter merged, instead of the adapter alone.")
    ] = False,
    checkpoint: Annotated[
        int | None, typer.Option(min=1, metavar="STEP", help="A checkpoint instead of the finished model.")
    ] = None,
    output: Output,
) -> None:
    """Write a model of the local service as a folder that other programs load.

    These are Transformers and vLLM, llama.cpp, and Ollama. It reads the data directory, whether the service is
    running or not. For Transformers an adapter needs its base model, which isn't copied; as GGUF the folder has an
    adapter and its base. With --merged it is one model.

    Examples:
        tuneway export ftjob-abc123 --to my-adapter
        tuneway export ftjob-abc123 --to my-model --merged
        vllm serve ./my-model
        tuneway export ftjob-abc123 --to for-ollama --format ollama --merged --quantize q8_0
        cd for-ollama && ollama create my-model
    """
    job_id = job_id_in(job)
    try:
        from tuneway_service.settings import Settings, default_data_dir
        from tuneway_service.trainers.hf.export import export_model, find_model

        jobs_dir = Settings(data_dir=data_dir or default_data_dir(), job_storage=job_storage).jobs_dir
        holds = export_model(find_model(jobs_dir, job_id, checkpoint), to, merged=merged, form=form, quantize=quantize)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"exporting needs {error.name}, which isn't installed", extra="train") from None
    if output.json:
        output.record({"job_id": job, "folder": str(to), "holds": holds})
    else:
        output.result(str(to))
        output.note(f"It holds {holds}.")
