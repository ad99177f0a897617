"""One small pure function per API operation: it builds a request and knows how to read the reply.

No I/O happens here, and no decision: what to do with an error is a flow's business (`tuneway.flows`),
what a service's URLs and headers look like is a dialect's (`tuneway.dialects`).
"""

from tuneway.calls import files, graders, jobs, models, permissions, uploads
from tuneway.calls._http import Call, FilePart, Form, Request, Response, Source, segment
from tuneway.calls._refusals import pause_asked, refusal

__all__ = [
    "Call",
    "FilePart",
    "Form",
    "Request",
    "Response",
    "Source",
    "files",
    "graders",
    "jobs",
    "models",
    "pause_asked",
    "permissions",
    "refusal",
    "segment",
    "uploads",
]
