"""What a service can do. What it can't is refused before anything is sent, by the field's name and the service's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from tuneway._escape import excerpt
from tuneway.errors import InvalidSpec
from tuneway.models import TrainingSpec

METHODS = frozenset({"supervised", "dpo", "reinforcement"})
ABSOLUTE_RATE = (
    'Give the rate itself: method={"type": "supervised", "hyperparameters": {"learning_rate": …}}. A multiplier isn\'t '
    "turned into a rate: nobody but the service knows the rate that it would multiply."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """The service's own price for a job.

    Args:
        usd: The price in dollars; None if the service gives none.
        why: Why the service gives no price, or wouldn't start the job, in its own words.
    """

    usd: float | None
    why: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """What a service offers. The defaults are OpenAI's.

    Args:
        methods: The training methods.
        pause: Whether a job can be paused.
        resume: Whether a job that was paused, or has stopped, can be resumed.
        events: Whether the service lists a job's events.
        checkpoints: Whether the service lists a job's checkpoints.
        metadata: Whether a job can have pairs of the user's own.
        seed: Whether a job can have a seed.
        integrations: The integrations that a job can have.
        suffix: The most characters that the user's own suffix may have; 0 if a job has none.
        rate: How the learning rate is given: as a multiplier of the service's own rate, or as the rate itself; either
            of them where it isn't known.
        chat: Whether a tuned model answers at once, or only after the user has deployed it.
        quote: Whether the service says what a job will cost before it is created.
        row_keys: The keys that a row of each format may have, where the service refuses data with others.
    """

    methods: frozenset[str] = METHODS
    pause: bool = True
    resume: bool = True
    events: bool = True
    checkpoints: bool = True
    metadata: bool = True
    seed: bool = True
    integrations: frozenset[str] = frozenset({"wandb"})
    suffix: int = 64
    rate: Literal["multiplier", "absolute", "either"] = "multiplier"
    chat: Literal["at once", "after deploying"] = "at once"
    quote: bool = False
    row_keys: Mapping[str, frozenset[str]] | None = None

    def as_json(self) -> dict[str, Any]:
        """What is offered, as JSON."""
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: _plain(value) for name, value in plain.items()}

    def budget(self, max_usd: float | None) -> float | None:
        """The budget of a recipe that `submit` has to hold against the service's own price.

        It is None where the service gives no price: there the budget was held against the estimate when the data was
        checked.
        """
        return max_usd if self.quote else None

    def check(self, training: TrainingSpec, *, service: str) -> None:
        """Refuse what the service doesn't offer.

        Args:
            training: A recipe or a job specification.
            service: The name of the service.

        Raises:
            InvalidSpec: The service doesn't offer a field, or its value; `.field` says which.
        """
        for field, why, hint in self._problems(training):
            raise InvalidSpec(f"{field}: {service} {why}", field=field, hint=hint)

    def check_action(self, action: Literal["pause", "resume"], *, service: str) -> None:
        """Refuse an action on a job that the service doesn't offer.

        Raises:
            InvalidSpec: The service doesn't offer it.
        """
        if not getattr(self, action):
            raise InvalidSpec(f"{service} can't {action} a job", field=action)

    def _problems(self, training: TrainingSpec) -> Iterator[tuple[str, str, str | None]]:
        """The fields that the service doesn't offer, each with the reason and what to do."""
        given = {name: value for name, value in training.training_to_wire().items() if value is not None}
        method = _mapping(given.get("method"))
        kind = method.get("type", "supervised")
        if kind not in self.methods:
            yield "method", f"doesn't offer {excerpt(kind)}", f"It offers {', '.join(sorted(self.methods))}."
        if given.get("metadata") and not self.metadata:
            yield "metadata", "keeps no metadata of a job", "Leave it out; the registry can keep such facts."
        if "seed" in given and not self.seed:
            yield "seed", "takes no seed", "Leave it out."
        suffix = given.get("suffix")
        if isinstance(suffix, str) and len(suffix) > self.suffix:
            room = f"takes a suffix of at most {self.suffix} characters" if self.suffix else "takes no suffix"
            yield "suffix", room, "Shorten it: nothing is cut." if self.suffix else "Leave it out."
        for one in given.get("integrations") or ():
            if _mapping(one).get("type") not in self.integrations:
                yield "integrations", f"doesn't offer {excerpt(_mapping(one).get('type'))}", "Leave it out."
        yield from self._rates(_mapping(method.get(kind)).get("hyperparameters"), given.get("hyperparameters"))

    def _rates(self, *hyperparameters: object) -> Iterator[tuple[str, str, str | None]]:
        """A learning rate that is given in the other way."""
        for given in map(_mapping, hyperparameters):
            multiplier, rate = given.get("learning_rate_multiplier"), given.get("learning_rate")
            if self.rate == "absolute" and multiplier not in (None, "auto"):
                why = f"takes the learning rate itself, and no multiplier such as {excerpt(multiplier)}"
                yield "learning_rate_multiplier", why, ABSOLUTE_RATE
            if self.rate == "multiplier" and rate not in (None, "auto"):
                why = f"takes a multiplier of its own learning rate, and not the rate itself such as {excerpt(rate)}"
                yield "learning_rate", why, "Give learning_rate_multiplier, or leave it out."


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return sorted(value) if isinstance(value, frozenset) else value


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
