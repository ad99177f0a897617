"""One small pure function for each API operation. It returns the request and the function that reads the reply.

This package does no I/O and decides nothing. Flows (`tuneway.flows`) decide what to do with an error; dialects
(`tuneway.dialects`) know a service's URLs and headers.
"""

from tuneway.calls import files, graders, jobs, models, permissions, uploads
from tuneway.calls._http import Call, FilePart, Form, Request, Response, Source, is_page, segment
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
    "is_page",
    "jobs",
    "models",
    "pause_asked",
    "permissions",
    "refusal",
    "segment",
    "uploads",
]
