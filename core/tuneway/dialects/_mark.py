"""The option `mark`, for all services with OpenAI's wire: where a job has the mark by which a retry finds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tuneway._escape import excerpt
from tuneway.dialects._base import Dialect, ServiceOption
from tuneway.errors import InvalidSpec
from tuneway.flows import Carrier, Marks, Suffix

MARK = ServiceOption("mark", 'where a job has the mark by which a retry finds it: "metadata" or "suffix"')

CARRIERS: Mapping[str, Carrier] = {"metadata": Marks(only=True), "suffix": Suffix()}


def with_mark(dialect: Dialect, options: Mapping[str, str]) -> Dialect:
    """Give the dialect with the carrier that the option `mark` names.

    Without the option, marks are in the metadata, and in the suffix as well once the service has dropped them.
    """
    word = options.get(MARK.name)
    if word is None:
        return dialect
    if word not in CARRIERS:
        raise InvalidSpec(
            f'service_options: mark can\'t be {excerpt(word)}: it is "metadata" or "suffix"', field="service_options"
        )
    return replace(dialect, carrier=CARRIERS[word])
