"""The operations of the service: each with the `openai` package's types of what it takes and what it replies.

What the types don't say stands in `limits`, from OpenAI's reference. What the service refuses although OpenAI takes it
stands in `here`, each with the sentence of the documentation that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from openai import pagination, types
from openai.types import (
    chat,
    completion_create_params,
    file_create_params,
    file_list_params,
    fine_tuning,
    upload_complete_params,
    upload_create_params,
    webhooks,
)
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.fine_tuning import (
    alpha,
    checkpoints,
    job_create_params,
    job_list_events_params,
    job_list_params,
    jobs,
)
from openai.types.uploads import UploadPart
from openai.types.webhooks import (
    webhook_create_params,
    webhook_list_params,
    webhook_rotate_secret_params,
    webhook_test_params,
    webhook_update_params,
)
from support.openai_types import NOTHING, Schema, or_null, schema_of, with_more

DIFFERENCES = {
    "models": "Only the models that `GET /v1/models` lists can be named.",
    "names": "Names of files, models and endpoints have 1 to 512 characters.",
    "projects": "At most 100 projects are allowed to use a checkpoint in one request.",
    "methods": "The block of another method than the job's `type` must be absent or null.",
    "webhooks": "Endpoints receive the three events of fine-tuning jobs, and no others.",
    "graders": "A Python grader needs `--allow-python-graders`, and `cosine` isn't there: it needs an embedding model.",
    "multi": "The graders of a multi grader are an object by name, as in OpenAI's guide.",
    "chat": "Conversations are text, and options that this service can't follow are refused.",
}


PATIENCE = ""


@dataclass(frozen=True)
class TypedOperation:
    """One operation, with its types.

    Args:
        call: Method and path; "<job>" and the like stand for what the test has ready.
        takes: The schema of the body, the form or the query.
        where: "json", "form" or "query".
        gives: The type of the reply; None if it is the content of a file.
        limits: What the types of `takes` don't say.
        here: What is refused here, and the word of the difference; of `PATIENCE`, what only the tests leave out.
        ready: What is created anew for each call.
        pieces: The type of the pieces, where the reply may be a stream.
    """

    call: str
    gives: Any = field(repr=False)
    takes: Schema = field(default_factory=lambda: NOTHING, repr=False)
    where: str = field(default="json", repr=False)
    limits: Mapping[str, Schema] = field(default_factory=dict, repr=False)
    here: Mapping[str, tuple[Schema, str]] = field(default_factory=dict, repr=False)
    ready: Callable[..., dict[str, str]] | None = field(default=None, repr=False)
    pieces: Any = field(default=None, repr=False)

    def __str__(self) -> str:
        return self.call

    @property
    def allowed(self) -> Schema:
        """What OpenAI may take: the types with their limits. Whether null counts as absent isn't known everywhere."""
        return or_null(with_more(self.takes, self.limits))

    @property
    def reachable(self) -> Schema:
        """What OpenAI may take, with ids and models that are there: so that more than the first name is looked at."""
        there = {place: words for place, (words, why) in self.here.items() if why in ("models", PATIENCE)}
        return with_more(self.allowed, there)

    @property
    def taken(self) -> Schema:
        """What this service takes for certain."""
        return with_more(with_more(self.takes, self.limits), {place: words for place, (words, _) in self.here.items()})


def one_of(*texts: Any) -> Schema:
    """The schema of a few values."""
    return {"enum": list(texts)}


NAME = {"minLength": 1, "maxLength": 512}
MODEL = one_of("gpt-4o-mini", "bytes"), "models"
PAGE = {"type": "integer", "minimum": 1, "maximum": 100}


def page(kind: Any, *, newest: str, **limits: Schema) -> dict[str, Any]:
    """The query of a list: `newest` is an id that is in it."""
    return {
        "takes": schema_of(kind),
        "where": "query",
        "limits": {"limit": PAGE} | limits,
        "here": {"after": (one_of(newest), "models")},
    }


# --- Jobs ---

METADATA = {
    "maxProperties": 16,
    "propertyNames": {"maxLength": 64},
    "additionalProperties": {"type": "string", "maxLength": 512},
}
KNOBS: dict[str, Schema] = {
    "batch_size": {"minimum": 1, "maximum": 256},
    "learning_rate_multiplier": {"exclusiveMinimum": 0},
    "n_epochs": {"minimum": 1, "maximum": 50},
}
BETA = {"beta": {"exclusiveMinimum": 0, "maximum": 2}}
CREATE_JOB = schema_of(job_create_params.JobCreateParams)
JOB_LIMITS: dict[str, Schema] = {
    "model": {"type": "string"},
    "metadata": METADATA,
    "seed": {"minimum": 0, "maximum": 2**31 - 1},
    "suffix": {"minLength": 1, "maxLength": 64},
    "integrations": {"maxItems": 5},
    "integrations[].wandb.project": {"minLength": 1},
    "integrations[].wandb.tags": {"maxItems": 50},
    "integrations[].wandb.tags[]": {"maxLength": 64},
    **{f"hyperparameters.{name}": words for name, words in KNOBS.items()},
    **{f"method.supervised.hyperparameters.{name}": words for name, words in KNOBS.items()},
    **{f"method.dpo.hyperparameters.{name}": words for name, words in (KNOBS | BETA).items()},
    # the guide has it, the package's types don't
    "method.reinforcement": {"additionalProperties": True},
}
_METHOD = with_more(CREATE_JOB, JOB_LIMITS)["properties"]["method"]
METHODS: Schema = {
    "anyOf": [
        {
            "type": "object",
            "properties": {"type": {"const": kind}, kind: _METHOD["properties"][kind]},
            "required": ["type"],
            "additionalProperties": False,
        }
        for kind in ("supervised", "dpo")
    ]
}
JOBS = [
    TypedOperation(
        "POST /fine_tuning/jobs",
        fine_tuning.FineTuningJob,
        CREATE_JOB,
        limits=JOB_LIMITS,
        here={
            "model": MODEL,
            "training_file": (one_of("<training>"), "models"),
            "validation_file": (one_of("<validation>", None), "models"),
            "method": (METHODS, "methods"),
        },
    ),
    TypedOperation(
        "GET /fine_tuning/jobs",
        pagination.SyncCursorPage[fine_tuning.FineTuningJob],
        **page(job_list_params.JobListParams, newest="<job>", metadata={"maxProperties": 16}),
    ),
    TypedOperation("GET /fine_tuning/jobs/<job>", fine_tuning.FineTuningJob),
    TypedOperation(
        "POST /fine_tuning/jobs/<job>/cancel", fine_tuning.FineTuningJob, ready=lambda world: world.new_job()
    ),
    TypedOperation(
        "POST /fine_tuning/jobs/<job>/pause", fine_tuning.FineTuningJob, ready=lambda world: world.new_job()
    ),
    TypedOperation(
        "POST /fine_tuning/jobs/<job>/resume",
        fine_tuning.FineTuningJob,
        ready=lambda world: world.new_job(paused=True),
    ),
    TypedOperation(
        "GET /fine_tuning/jobs/<job>/events",
        pagination.SyncCursorPage[fine_tuning.FineTuningJobEvent],
        **page(job_list_events_params.JobListEventsParams, newest="<event>"),
    ),
    TypedOperation(
        "GET /fine_tuning/jobs/<job>/checkpoints",
        pagination.SyncCursorPage[jobs.FineTuningJobCheckpoint],
        **page(jobs.checkpoint_list_params.CheckpointListParams, newest="<checkpoint>"),
    ),
    TypedOperation(
        "POST /fine_tuning/checkpoints/<model>/permissions",
        pagination.SyncPage[checkpoints.PermissionCreateResponse],
        schema_of(checkpoints.permission_create_params.PermissionCreateParams),
        limits={"project_ids": {"minItems": 1}},
        here={
            "project_ids": ({"maxItems": 100}, "projects"),
            "project_ids[]": ({"type": "string", **NAME}, "names"),
        },
    ),
    TypedOperation(
        "GET /fine_tuning/checkpoints/<model>/permissions",
        checkpoints.PermissionRetrieveResponse,
        **page(checkpoints.permission_list_params.PermissionListParams, newest="<permission>"),
    ),
    TypedOperation(
        "DELETE /fine_tuning/checkpoints/<model>/permissions/<permission>",
        checkpoints.PermissionDeleteResponse,
        ready=lambda world: world.new_permission(),
    ),
]

# --- Files, uploads, models ---

SECONDS: dict[str, Schema] = {"expires_after.seconds": {"minimum": 3600, "maximum": 2_592_000}}
FILES = [
    TypedOperation(
        "POST /files",
        types.FileObject,
        schema_of(file_create_params.FileCreateParams, without=("file",)) | {"required": ["purpose"]},
        where="form",
        limits=SECONDS,
    ),
    TypedOperation(
        "GET /files",
        pagination.SyncCursorPage[types.FileObject],
        **page(file_list_params.FileListParams, newest="<training>", limit=PAGE | {"maximum": 10_000}),
    ),
    TypedOperation("GET /files/<training>", types.FileObject),
    TypedOperation("GET /files/<training>/content", None),
    TypedOperation("DELETE /files/<file>", types.FileDeleted, ready=lambda world: world.new_file()),
    TypedOperation(
        "POST /uploads",
        types.Upload,
        schema_of(upload_create_params.UploadCreateParams),
        limits=SECONDS | {"bytes": {"minimum": 1, "maximum": 8 * 2**30}},
        here={"filename": ({"type": "string", **NAME}, "names"), "mime_type": ({"type": "string", **NAME}, "names")},
    ),
    TypedOperation(
        "POST /uploads/<upload>/parts",
        UploadPart,
        where="form",
        ready=lambda world: world.new_upload(),
    ),
    TypedOperation(
        "POST /uploads/<upload>/complete",
        types.Upload,
        schema_of(upload_complete_params.UploadCompleteParams),
        limits={"part_ids": {"minItems": 1}},
        here={
            "part_ids": ({"type": "array", "items": one_of("<part>"), "minItems": 1, "maxItems": 1}, "models"),
            "md5": (one_of("<md5>"), "models"),
        },
        ready=lambda world: world.new_upload(part=True),
    ),
    TypedOperation("POST /uploads/<upload>/cancel", types.Upload, ready=lambda world: world.new_upload()),
    TypedOperation("GET /models", pagination.SyncPage[types.Model]),
    TypedOperation("GET /models/<model>", types.Model),
    TypedOperation("DELETE /models/<old_model>", types.ModelDeleted, ready=lambda world: world.new_model()),
]

# --- Graders ---

TEXT = {"type": "string", "maxLength": 40}


def _object(**fields: Schema) -> Schema:
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


SIMILAR = ("fuzzy_match", "bleu", "gleu", "meteor", "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l")
STRING_CHECK = _object(
    type={"const": "string_check"},
    name={"type": "string", **NAME},
    input=TEXT,
    reference=TEXT,
    operation=one_of("eq", "ne", "like", "ilike"),
)
GRADERS: Schema = {
    "anyOf": [
        STRING_CHECK,
        _object(
            type={"const": "text_similarity"},
            name={"type": "string", **NAME},
            input=one_of("{{sample.output_text}}", "a b", "ü"),
            reference=one_of("{{ item.answer }}", "a"),
            evaluation_metric=one_of(*SIMILAR),
        ),
        _object(
            type={"const": "score_model"},
            name={"type": "string", **NAME},
            model=MODEL[0],
            input={
                "type": "array",
                "minItems": 1,
                "items": _object(role=one_of("user", "system", "developer"), content=TEXT),
            },
        ),
        _object(
            type={"const": "multi"},
            name={"type": "string", **NAME},
            graders=_object(a=STRING_CHECK, b=STRING_CHECK),
            calculate_output=one_of("a", "(a + b) / 2", "max(a, b) - 1"),
        ),
    ]
}


def grading(kind: Any) -> dict[str, Any]:
    """What is graded with which grader. The graders of a multi grader are one in the types, several in the guide."""
    takes = schema_of(kind)
    multi = next(one for one in takes["properties"]["grader"]["anyOf"] if "graders" in one["properties"])
    inner = multi["properties"]["graders"]
    by_name = {"type": "object", "additionalProperties": inner}
    return {
        "takes": takes,
        "limits": {"grader.graders": {"anyOf": [inner, by_name]}},
        "here": {"grader": (GRADERS, "graders")},
    }


RUN = grading(alpha.grader_run_params.GraderRunParams)
ITEM: Schema = {"type": "object", "properties": {"answer": TEXT}, "required": ["answer"]}
GRADING = [
    TypedOperation(
        "POST /fine_tuning/alpha/graders/validate",
        alpha.GraderValidateResponse,
        **grading(alpha.grader_validate_params.GraderValidateParams),
    ),
    TypedOperation(
        "POST /fine_tuning/alpha/graders/run",
        alpha.GraderRunResponse,
        RUN["takes"],
        limits=RUN["limits"] | {"item": {"type": "object"}},
        here=RUN["here"] | {"item": (ITEM, "graders")},
    ),
]

# --- Chat ---

ANSWER: dict[str, Schema] = {
    "temperature": {"minimum": 0, "maximum": 2},
    "top_p": {"minimum": 0, "maximum": 1},
    "frequency_penalty": {"minimum": -2, "maximum": 2},
    "presence_penalty": {"minimum": -2, "maximum": 2},
    "n": {"minimum": 1, "maximum": 128},
    "max_tokens": {"minimum": 1},
    "stop": {"maxItems": 4},
    "model": {"type": "string"},
}
FEWER: dict[str, tuple[Schema, str]] = {
    "model": MODEL,
    "n": (one_of(1, 2, None), PATIENCE),
    "max_tokens": (one_of(1, 5), PATIENCE),
    "stop": (one_of("a", ["a"], ["a", "b", "c", "d"], None), "chat"),
    "seed": ({"minimum": 0, "maximum": 2**31 - 1}, "chat"),
}
SAID: Schema = {
    "type": "array",
    "minItems": 1,
    "items": _object(role=one_of("system", "developer", "user", "assistant"), content=TEXT),
}
PROMPT = one_of("a", "Ü", ["a", "b"])


def _only(schema: Schema, fields: tuple[str, ...]) -> dict[str, tuple[Schema, str]]:
    """Nothing but these fields."""
    return {name: ({"not": {}}, "chat") for name in schema["properties"] if name not in fields}


def talking(kind: Any, gives: Any, pieces: Any) -> TypedOperation:
    """Chat, or the older completions."""
    takes = with_more(schema_of(kind), {"stream": one_of(True, False, None)})
    chats = "messages" in takes["properties"]
    limits = ANSWER | ({"messages": {"minItems": 1}} if chats else {"prompt": {"minItems": 1}})
    here: dict[str, tuple[Schema, str]] = {"messages": (SAID, "chat")} if chats else {"prompt": (PROMPT, "chat")}
    few = dict(FEWER)
    if chats:
        # the two can't be set together
        limits = limits | {"max_completion_tokens": {"minimum": 1}}
        few["max_completion_tokens"] = few.pop("max_tokens")
    return TypedOperation(
        "POST /chat/completions" if chats else "POST /completions",
        gives,
        takes,
        limits=limits,
        here=few | here | _only(takes, (*here, *few, "temperature", "stream")),
        pieces=pieces,
    )


TALKING = [
    talking(chat_create_params.CompletionCreateParamsNonStreaming, chat.ChatCompletion, chat.ChatCompletionChunk),
    talking(completion_create_params.CompletionCreateParamsNonStreaming, types.Completion, types.Completion),
]

# --- Webhooks ---

EVENTS: Schema = {
    "type": "array",
    "minItems": 1,
    "items": one_of(*(f"fine_tuning.job.{end}" for end in ("succeeded", "failed", "cancelled"))),
}
URL = one_of("<url>"), "models"
ENDPOINTS = [
    TypedOperation(
        "POST /webhook_endpoints",
        webhooks.WebhookEndpointWithSecret,
        schema_of(webhook_create_params.WebhookCreateParams),
        limits={"event_types": {"minItems": 1}},
        here={"name": ({"type": "string", **NAME}, "names"), "url": URL, "event_types": (EVENTS, "webhooks")},
    ),
    TypedOperation(
        "GET /webhook_endpoints",
        pagination.SyncCursorPage[webhooks.WebhookEndpoint],
        **page(webhook_list_params.WebhookListParams, newest="<endpoint>"),
    ),
    TypedOperation("GET /webhook_endpoints/<endpoint>", webhooks.WebhookEndpoint),
    TypedOperation(
        "POST /webhook_endpoints/<endpoint>",
        webhooks.WebhookEndpoint,
        schema_of(webhook_update_params.WebhookUpdateParams),
        limits={"event_types": {"minItems": 1}},
        here={"name": ({"type": "string", **NAME}, "names"), "url": URL, "event_types": (EVENTS, "webhooks")},
    ),
    TypedOperation(
        "DELETE /webhook_endpoints/<endpoint>",
        webhooks.DeletedWebhookEndpoint,
        ready=lambda world: world.new_endpoint(),
    ),
    TypedOperation(
        "POST /webhook_endpoints/<endpoint>/rotate_secret",
        webhooks.WebhookEndpointWithSecret,
        schema_of(webhook_rotate_secret_params.WebhookRotateSecretParams),
    ),
    TypedOperation(
        "POST /webhook_endpoints/<endpoint>/test",
        webhooks.WebhookEndpointTestResult,
        schema_of(webhook_test_params.WebhookTestParams),
        here={"event_type": (EVENTS["items"], "webhooks")},
    ),
    TypedOperation("GET /webhook_event_types", webhooks.WebhookEventTypeList),
]

OPERATIONS = [*JOBS, *FILES, *GRADING, *TALKING, *ENDPOINTS]
