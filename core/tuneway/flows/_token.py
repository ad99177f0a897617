"""The resume token: the whole state of a wait, small enough for any engine to store."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tuneway.errors import InvalidInput


class WaitToken(BaseModel):
    """What a wait needs to go on in another process. It contains no secret.

    An earlier version of Tuneway keeps fields that a later one has added.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        hide_input_in_errors=True, extra="allow", frozen=True, defer_build=True
    )

    v: int = 1
    job_id: str = Field(min_length=1)
    deadline: float | None = Field(default=None, allow_inf_nan=False)
    last_event: str | None = None
    last_event_at: float | None = Field(default=None, allow_inf_nan=False)

    def dump(self) -> str:
        """Write the token as JSON, with its fields in a fixed order."""
        return self.model_dump_json(exclude_none=True)

    @classmethod
    def load(cls, text: str | bytes) -> Self:
        """Read a token from JSON."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(map(str, problem["loc"])) or "it"
            raise InvalidInput(f"not a resume token: {place}: {problem['msg']}") from None
